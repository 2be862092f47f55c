"""The built-in data: determinism, occlusion, tracks, class and size statistics."""

import hashlib
import pickle
from collections import defaultdict

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from yoloseg.data.shapes import CLIPS, FRAMES, LEAST_VISIBLE_PIXELS, load_shapes
from yoloseg.data.shapes_render import coverage, make_look, render_labels
from yoloseg.data.shapes_scene import CLASSES, make_scene, outline
from yoloseg.errors import UsageError

# class, size and centre of the objects of train clip 0, farthest first
GOLDEN = [
    ("star", 72.543, 66.43, 119.057, 195.753),
    ("ring", 91.832, 83.516, 282.709, 35.249),
    ("star", 48.447, 45.581, 192.338, 136.407),
    ("cross", 53.894, 53.198, 34.425, 238.507),
    ("triangle", 49.919, 49.214, 63.534, 240.0),
    ("heart", 59.799, 59.2, 283.805, 168.379),
    ("disc", 29.509, 25.595, 115.401, 9.64),
    ("disc", 84.88, 81.405, 131.189, 0.0),
    ("box", 27.105, 21.252, 15.946, 10.427),
    ("disc", 16.494, 14.739, 174.028, 92.515),
]


@pytest.fixture(scope="module")
def train():
    return load_shapes("train")


def fingerprint(record) -> str:
    digest = hashlib.sha256(record.read_image().tobytes())
    for a in record.annotations:
        digest.update(a.segmentation["counts"] + repr((a.class_index, a.track_id, a.box, a.area)).encode())
    return digest.hexdigest()


def test_same_bytes_in_any_order_and_in_a_fresh_cache():
    first = load_shapes("val", clips=4, frames=3)
    forward = [fingerprint(r) for r in first.records]
    make_look.cache_clear()
    make_scene.cache_clear()
    second = load_shapes("val", clips=4, frames=3)
    order = np.random.default_rng(0).permutation(len(second))
    backward = {int(i): fingerprint(second.records[i]) for i in order}
    assert forward == [backward[i] for i in range(len(second))]
    assert len(set(forward)) == len(forward)
    travelled = pickle.loads(pickle.dumps(second.records[5]))
    assert fingerprint(travelled) == forward[5]


def test_known_geometry_of_the_first_objects():
    """The values the random streams gave when this was written: data made today is the data made then."""
    things = make_scene(0, "train", 0, 240, 320).objects
    got = [(CLASSES[o.class_index].name, *np.round(o.size, 3), *np.round(o.centre, 3)) for o in things]
    assert got == GOLDEN


def test_more_clips_or_frames_extend_the_same_data():
    many = load_shapes("train", clips=3, frames=4)
    few = load_shapes("train", clips=2, frames=2)
    by_frame = {r.frame_of: r for r in many.records}
    for record in few.records:
        assert fingerprint(record) == fingerprint(by_frame[record.frame_of])


def test_splits_and_seeds_share_no_clip(train):
    def clips(dataset):
        return {tuple(o.size + o.centre for o in scene(r).objects) for r in dataset.records}

    def scene(record):
        s = record.source
        return make_scene(s.seed, s.split, s.clip, s.height, s.width)

    sets = [clips(train), clips(load_shapes("val")), clips(load_shapes("test"))]
    sets.append(clips(load_shapes("train", clips=30, frames=1, seed=1)))
    assert [len(s) for s in sets] == [CLIPS["train"], CLIPS["val"], CLIPS["test"], 30]
    assert len(set.union(*sets)) == sum(map(len, sets))


def test_records_are_consistent(train):
    assert len(train) == CLIPS["train"] * FRAMES["train"]
    assert train.category_ids == tuple(range(1, len(CLASSES) + 1))
    assert [r.image_id for r in train.records] == list(range(1, len(train) + 1))
    ids = [a.annotation_id for r in train.records for a in r.annotations]
    assert ids == list(range(1, len(ids) + 1))
    for record in train.records[::40]:
        picture = record.read_image()
        assert picture.shape == (record.height, record.width, 3) and picture.dtype == np.uint8
        assert picture.std() > 5
        seen = np.zeros((record.height, record.width), int)
        for a in record.annotations:
            mask = coco_mask.decode(a.segmentation)
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            assert a.box == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            assert a.area == mask.sum() >= LEAST_VISIBLE_PIXELS
            assert not a.crowd
            seen += mask
        assert seen.max() <= 1, "visible masks overlap"


def test_nearer_objects_hide_farther_ones():
    """Masks against a brute-force painting of one object after the other; some objects must lose pixels."""
    hidden = 0
    for clip in range(12):
        scene = make_scene(0, "val", clip, 240, 320)
        labels = render_labels(scene, 2)
        taken = np.zeros((240, 320), bool)
        for k in reversed(range(len(scene.objects))):
            whole = np.zeros((240, 320), bool)
            found = coverage(scene.objects[k].contours(2, 240, 320), 240, 320)
            if found is not None:
                x0, y0, alpha = found
                whole[y0 : y0 + alpha.shape[0], x0 : x0 + alpha.shape[1]] = alpha >= 128
            np.testing.assert_array_equal(labels == k + 1, whole & ~taken)
            hidden += (whole & taken).sum() > 50
            taken |= whole
    assert hidden >= 8


def test_picture_shows_the_object_where_the_mask_is():
    """Pixels inside masks differ from the clip's background much more than pixels outside."""
    record = load_shapes("val", clips=3, frames=1).records[2]
    source = record.source
    scene = make_scene(source.seed, source.split, source.clip, 240, 320)
    look = make_look(scene)
    x, y = (round(24 * (1 + np.sin(phase))) for _, phase in look.pan)
    plain = look.background[y : y + 240, x : x + 320].astype(int)
    change = np.abs(record.read_image().astype(int) - plain).mean(axis=2)
    objects = render_labels(scene, 0) > 0
    assert np.median(change[objects]) > 4 * np.median(change[~objects])


@pytest.mark.parametrize("frames", [12])
def test_tracks_are_one_object_that_moves_a_little(frames):
    dataset = load_shapes("test", clips=10, frames=frames)
    tracks = defaultdict(dict)
    for record in dataset.records:
        clip, number = record.frame_of
        assert len({a.track_id for a in record.annotations}) == len(record.annotations)
        for a in record.annotations:
            tracks[a.track_id][number] = (clip, a)
    moves = []
    for seen in tracks.values():
        assert len({clip for clip, _ in seen.values()}) == 1
        assert len({a.class_index for _, a in seen.values()}) == 1
        for number, (_, a) in seen.items():
            if number + 1 in seen:
                b = seen[number + 1][1]
                if min(a.area, b.area) > 0.9 * max(a.area, b.area):  # not just being covered
                    centre_a = np.add(a.box[:2], a.box[2:]) / 2
                    moves.append(np.linalg.norm(np.add(b.box[:2], b.box[2:]) / 2 - centre_a))
    assert len(moves) > 300
    assert 0.5 < np.median(moves) < 6
    assert np.quantile(moves, 0.99) < 12


def test_objects_turn_grow_leave_and_bounce():
    scenes = [make_scene(0, "train", clip, 240, 320) for clip in range(30)]
    poses = np.array([[o.pose(t, 240, 320) for t in range(80)] for s in scenes for o in s.objects])
    centres, axes = poses[:, :, :, 2], poses[:, :, :, 0]
    steps = np.linalg.norm(np.diff(centres, axis=1), axis=2)
    assert steps.max() <= 6 + 1e-9
    lengths = np.linalg.norm(axes, axis=2)
    assert np.median(lengths.max(axis=1) / lengths.min(axis=1)) > 1.05
    angles = np.abs(np.unwrap(np.arctan2(axes[:, :, 1], axes[:, :, 0]), axis=1)[:, -1])
    assert np.median(angles) > 1
    outside = ((centres < 0) | (centres > (320, 240))).any(axis=2)
    assert 0.05 < outside.any(axis=1).mean() < 0.5
    assert (outside.any(axis=1) & ~outside[:, -1]).any(), "nothing ever returns"


def test_classes_are_long_tailed(train):
    def shares(dataset):
        counts = np.zeros(len(CLASSES))
        for track, class_index in {
            (a.track_id, a.class_index) for r in dataset.records for a in r.annotations
        }:
            assert track >= 1
            counts[class_index] += 1
        return counts / counts.sum()

    np.testing.assert_allclose(shares(train), [c.frequency for c in CLASSES], atol=0.03)
    assert shares(train)[0] > 8 * shares(train)[-1]
    for split in ("val", "test"):
        assert (shares(load_shapes(split)) > 0).all(), "a class that is never seen cannot be measured"


def test_sizes_fill_all_three_coco_bands(train):
    areas = np.array([a.area for r in train.records for a in r.annotations])
    shares = np.histogram(areas, [0, 32**2, 96**2, 320 * 240])[0] / len(areas)
    assert (shares > (0.3, 0.3, 0.03)).all(), shares
    assert areas.max() > 0.25 * 320 * 240
    per_class = [
        np.median([a.area for r in train.records for a in r.annotations if a.class_index == k])
        for k in range(len(CLASSES))
    ]
    assert max(per_class) > 2.5 * min(per_class)


def test_coverage_is_exact_to_a_rim():
    """Area of a drawn disc is pi r^2, its centre is where it was put, and parts outside the frame are cut."""
    for radius in (6.0, 20.0, 60.0):
        x0, y0, alpha = coverage([outline("disc")[0] * radius + (100.3, 90.6)], 200, 200)
        weight = alpha / 255
        polygon_area = 24 * radius**2 * np.sin(2 * np.pi / 48)
        assert weight.sum() == pytest.approx(polygon_area, abs=0.3 * 2 * np.pi * radius)
        y, x = np.mgrid[y0 : y0 + alpha.shape[0], x0 : x0 + alpha.shape[1]] + 0.5
        assert (weight * x).sum() / weight.sum() == pytest.approx(100.3, abs=0.15)
        assert (weight * y).sum() / weight.sum() == pytest.approx(90.6, abs=0.15)
    x0, y0, alpha = coverage([outline("disc")[0] * 20], 200, 200)
    assert (x0, y0) == (0, 0) and alpha.shape == (20, 20)
    assert coverage([outline("disc")[0] * 20 + (-21, 50)], 200, 200) is None


def test_every_outline_fills_its_box():
    for shape in CLASSES:
        points = np.concatenate(outline(shape.name))
        np.testing.assert_allclose(points.min(axis=0), -1)
        np.testing.assert_allclose(points.max(axis=0), 1)
    with pytest.raises(ValueError, match="hexagon"):
        outline("hexagon")


def test_other_picture_sizes_scale_the_objects():
    small = load_shapes("val", clips=6, frames=1, height=120, width=160)
    large = load_shapes("val", clips=6, frames=1, height=480, width=640)
    area = [sum(a.area for r in d.records for a in r.annotations) for d in (small, large)]
    assert area[1] / area[0] == pytest.approx(16, rel=0.1)
    assert small.read_image(0).shape == (120, 160, 3) and large.read_image(0).shape == (480, 640, 3)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"split": "valid"}, "train, val, test"),
        ({"split": "val", "clips": 0}, "at least one clip"),
        ({"split": "val", "frames": 0}, "at least one clip"),
        ({"split": "val", "height": 32}, "64 or more"),
        ({"split": "val", "seed": -1}, "negative"),
    ],
)
def test_refusals(arguments, words):
    with pytest.raises(UsageError, match=words):
        load_shapes(**arguments)
