import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pixels import pixel_centres, point_in_polygon, seeds

from yoloseg.data.augment import Affine, Augmentation, Colour, Erase, place
from yoloseg.data.copy_paste import CopyPaste, behind, choose_place, fit_to_paste
from yoloseg.data.geometry import similarity
from yoloseg.data.instances import Instance
from yoloseg.data.letterbox import PADDING
from yoloseg.data.records import Annotation, Record
from yoloseg.data.samples import Flip, Sample, read_sample

COLOURS = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250]], np.uint8)  # of class 0, 1, 2
GROUND = 60
SIZE = (96, 128)


def painted_set(rng, pictures=5):
    """Letterboxed samples whose every object is a convex blob painted in the colour of its class."""
    samples = []
    for number in range(pictures):
        height, width = (int(v) for v in rng.integers(60, 160, 2))
        image = np.full((height, width, 3), GROUND, np.uint8)
        taken = np.zeros((height, width), bool)
        annotations = []
        x, y = pixel_centres(height, width)
        for _ in range(int(rng.integers(0, 4))):
            radius = rng.uniform(8, 22, 2)
            centre = rng.uniform(radius, [width - radius[0], height - radius[1]])
            angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
            polygon = (centre + radius * np.stack([np.cos(angles), np.sin(angles)], 1)).astype(np.float32)
            inside = point_in_polygon(x, y, polygon)
            if (inside & taken).any() or inside.sum() < 150:
                continue
            kind = int(rng.integers(3))
            image[inside] = COLOURS[kind]
            taken |= cv2.dilate(inside.astype(np.uint8), np.ones((7, 7))) > 0
            segmentation = (polygon,)
            annotations.append(Annotation(kind, segmentation, (0, 0, 1, 1), 1.0))
        record = Record(number, lambda image=image: image, height, width, tuple(annotations))
        samples.append(read_sample(record, SIZE))
    return samples


def shown_class(image):
    """int [h, w]: the class whose colour a pixel has, -1 for ground and padding, -2 for mixtures."""
    distance = np.abs(image[:, :, None].astype(int) - COLOURS).max(-1)
    kind = np.where(distance.min(-1) < 30, distance.argmin(-1), -2)
    grey = image[:, :, 0].astype(int)
    plain = (np.ptp(image.astype(int), -1) < 8) & (grey > GROUND - 8) & (grey < PADDING + 8)
    return np.where(plain, -1, kind)


def uniform(labels):
    """bool [h, w]: where the 5 x 5 pixels around have one label."""
    labels, around = labels.astype(np.float32), np.ones((5, 5))
    return cv2.dilate(labels, around) == cv2.erode(labels, around)


def check_agreement(sample):
    """Picture, masks, boxes and classes tell the same story, but for two pixels along the outlines."""
    height, width = sample.image.shape[:2]
    kinds = shown_class(sample.image)
    told = np.full((height, width), -1)
    for one in sample.instances:
        mask = one.rasterise(height, width)
        told[mask > 0] = one.class_index
        if mask.any():
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            x0, y0, x1, y1 = one.box(height, width)
            assert x0 <= columns[0] + 0.8 and y0 <= rows[0] + 0.8
            assert x1 >= columns[-1] + 0.2 and y1 >= rows[-1] + 0.2
            assert 0 <= x0 and 0 <= y0 and x1 <= width and y1 <= height
    clear = (kinds != -2) & uniform(kinds) & uniform(told)
    assert clear.mean() > 0.3
    assert np.array_equal(kinds[clear], told[clear])


def chain_of(flags, rng):
    transforms = [
        CopyPaste(1.0),
        Affine((0.6, 1.4), 0.2, 20.0, 0.0),
        Affine((0.6, 1.4), 0.2, 8.0, 1.0),
        Flip(1.0),
        Affine((0.3, 0.55), 0.2, 20.0, 0.0),
    ]
    return [transforms[i] for i in flags]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=3), seeds())
def test_pictures_masks_boxes_and_classes_agree(flags, seed):
    rng = np.random.default_rng(seed)
    samples = painted_set(rng)
    sample = samples[0]
    for transform in chain_of(flags, rng):
        sample = transform(sample, rng, samples)
    assert sample.image.shape == (*SIZE, 3) and sample.image.dtype == np.uint8
    check_agreement(sample)


@settings(max_examples=20, deadline=None)
@given(seeds())
def test_inputs_are_left_alone_and_draws_repeat(seed):
    samples = painted_set(np.random.default_rng(seed))
    before = [(one.image.copy(), one.instances) for one in samples]
    every = Augmentation(0.5, 0.1, 0.5, 0.5, (0.5, 1.5), 0.1, 5.0, 0.5, 0.7, 0.5)

    def run():
        rng, sample = np.random.default_rng(seed), samples[0]
        for transform in every.transforms():
            sample = transform(sample, rng, samples)
        return sample

    first, second = run(), run()
    assert np.array_equal(first.image, second.image) and len(first.instances) == len(second.instances)
    for one, (image, instances) in zip(samples, before, strict=True):
        assert np.array_equal(one.image, image) and one.instances is instances


def test_affine_moves_the_picture_by_the_matrix_it_gives_the_instances():
    square = np.array([[40, 30], [60, 30], [60, 50], [40, 50]], np.float64)
    image = np.full((80, 100, 3), GROUND, np.uint8)
    image[30:50, 40:60] = 250
    sample = Sample(image, (Instance(0, polygons=(square,)),))
    moved = Affine((2.0, 2.0), 0.0, 0.0)(sample, np.random.default_rng(0))
    # twice as large around the centre (50, 40)
    assert np.allclose(moved.instances[0].box(80, 100), [30, 20, 70, 60])
    assert (moved.image[21:59, 31:69] == 250).all() and (moved.image[:19] == GROUND).all()


def test_mosaic_shows_four_pictures_that_meet_without_a_gap():
    samples = [Sample(np.full((64, 64, 3), 10 * (i + 1), np.uint8)) for i in range(4)]
    seen = set()
    for seed in range(40):
        mosaic = Affine((1.0, 1.0), 0.0, 0.0, 1.0)(samples[0], np.random.default_rng(seed), samples)
        values = set(np.unique(mosaic.image).tolist())
        assert max(values) <= 40 and 10 in values  # no grey: at scale 1 each tile is a whole frame
        seen |= values & {10, 20, 30, 40}
    assert seen == {10, 20, 30, 40}


def test_padding_of_a_letterbox_is_not_carried_into_a_mosaic():
    image = np.full((40, 80, 3), 200, np.uint8)
    record = Record(0, lambda: image, 40, 80)
    sample = read_sample(record, (64, 64))
    assert sample.region == (0, 16, 64, 48)
    mosaic = Affine((1.0, 1.0), 0.0, 0.0, 1.0)
    pictures = [mosaic(sample, np.random.default_rng(seed), [sample]).image for seed in range(20)]
    for picture in pictures:
        covered = (picture[:, :, 0] == 200).any(1)  # rows around the meeting point, without a grey line
        rows = np.flatnonzero(covered)
        assert np.array_equal(rows, np.arange(rows[0], rows[-1] + 1))


def test_an_outline_beyond_its_picture_claims_nothing_of_the_neighbour():
    image = np.full((64, 64, 3), GROUND, np.uint8)
    image[20:40, 44:] = COLOURS[1]
    beyond = np.array([[44, 20], [90, 20], [90, 40], [44, 40]], np.float64)
    sample = Sample(image, (Instance(1, polygons=(beyond,)),))
    for seed in range(10):
        mosaic = Affine((0.8, 0.8), 0.0, 0.0, 1.0)(sample, np.random.default_rng(seed), [sample])
        check_agreement(mosaic)


def test_place_is_bilinear_sampling():
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    canvas = np.full((45, 65, 3), 7, np.uint8)
    matrix = similarity(1.2, 10.0, np.array([15.0, 10.0]), np.array([31.3, 22.6]))
    place(canvas, picture, matrix)
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    checked = 0
    for row in range(45):
        for column in range(65):
            x, y, _ = back @ [column + 0.5, row + 0.5, 1] - 0.5
            if not (0.1 < x < 28.9 and 0.1 < y < 18.9):
                continue
            i, j = int(y), int(x)
            fy, fx = y - i, x - j
            near = picture[i : i + 2, j : j + 2].astype(float)
            wanted = (near[0, 0] * (1 - fx) + near[0, 1] * fx) * (1 - fy)
            wanted = wanted + (near[1, 0] * (1 - fx) + near[1, 1] * fx) * fy
            assert np.abs(canvas[row, column] - wanted).max() < 10  # OpenCV's weights have 5 bits
            checked += 1
    assert checked > 300
    assert (canvas[0, 0] == 7).all()


def test_colour_changes_what_it_says():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:] = (200, 100, 50)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[0, 0].astype(int)
    rng = np.random.default_rng(0)
    sample = Sample(image)
    for _ in range(50):
        value = cv2.cvtColor(Colour(0, 0, 0.4)(sample, rng).image, cv2.COLOR_RGB2HSV)[0, 0].astype(int)
        assert abs(value[0] - hsv[0]) <= 2 and 0.59 * hsv[2] <= value[2] <= min(255, 1.41 * hsv[2])
        turned = cv2.cvtColor(Colour(0.05, 0, 0)(sample, rng).image, cv2.COLOR_RGB2HSV)[0, 0].astype(int)
        assert abs((turned[0] - hsv[0] + 90) % 180 - 90) <= 10 and abs(turned[2] - hsv[2]) <= 1
    assert np.array_equal(Colour(0, 0, 0)(sample, rng).image, image)


def test_erase_fills_one_box_of_the_asked_area():
    sample = Sample(np.full((100, 100, 3), 128, np.uint8))
    for seed in range(20):
        changed = (Erase(1.0)(sample, np.random.default_rng(seed)).image != 128).any(-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        area = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1) / 1e4
        assert 0.01 < area < 0.25 and changed.sum() > 0.95 * area * 1e4
    assert Erase(0.0)(sample, np.random.default_rng(0)) is sample


def blob(kind, x0, y0, x1, y1, **labels):
    polygon = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)
    return Instance(kind, polygons=(polygon,), **labels)


def test_objects_behind_lose_what_is_hidden():
    hidden = np.zeros((50, 50), bool)
    hidden[10:20, 10:20] = True
    apart, half, crowd = blob(0, 30, 30, 40, 40), blob(1, 15, 10, 25, 20), blob(2, 0, 0, 50, 50, crowd=True)
    kept = behind((apart, half, crowd), hidden)
    assert kept[0] is apart and kept[2] is crowd
    assert kept[1].class_index == 1 and np.allclose(kept[1].box(50, 50), [20, 10, 25, 20])
    assert kept[1].rasterise(50, 50).sum() == 50
    assert behind((blob(1, 12, 10, 21, 20),), hidden) is None  # it would show a ninth of itself


def test_objects_are_pasted_where_it_looks_like_home():
    # left half dark, right half bright; the object comes from bright surroundings
    image = np.full((128, 128, 3), 20, np.uint8)
    image[:, 64:] = 220
    sample = Sample(image, (blob(0, 100, 0, 128, 128),), region=(0, 0, 128, 128))
    rng = np.random.default_rng(0)
    places = [choose_place(sample, np.array([220.0] * 3), np.array([20.0, 20.0]), rng) for _ in range(60)]
    assert all(place[0] > 64 for place in places)
    # nor on top of the object that stands there
    assert all(place[0] + 10 <= 108 for place in places)
    assert all(10 <= place[1] <= 118 for place in places)
    assert choose_place(sample, np.array([220.0] * 3), np.array([140.0, 20.0]), rng) is None
    assert choose_place(sample, np.array([255.0, 0, 0]), np.array([20.0, 20.0]), rng) is None
    crowded = Sample(image, (blob(0, 0, 0, 128, 128),))
    assert choose_place(crowded, np.array([220.0] * 3), np.array([20.0, 20.0]), rng) is None


def test_only_whole_objects_of_middling_size_are_pasted():
    donor = Sample(np.zeros((100, 100, 3), np.uint8), region=(0, 20, 100, 80))
    assert fit_to_paste(blob(0, 20, 30, 50, 60), donor)
    assert not fit_to_paste(blob(0, 20, 30, 50, 60, crowd=True), donor)
    assert not fit_to_paste(blob(0, 20, 30, 26, 60), donor)       # too thin
    assert not fit_to_paste(blob(0, 3, 30, 97, 60), donor)        # too large
    assert not fit_to_paste(blob(0, 20, 50, 50, 80), donor)       # cut by the picture's lower edge


@pytest.mark.parametrize("count", [0, 1])
def test_copy_paste_adds_labelled_objects(count):
    rng = np.random.default_rng(3)
    image = np.full((96, 128, 3), GROUND, np.uint8)
    donor_image = image.copy()
    donor_image[30:60, 40:70] = COLOURS[2]
    donor = Sample(donor_image, (blob(2, 40, 30, 70, 60),) * count)
    sample = CopyPaste(1.0, most=1)(Sample(image), rng, [donor])
    assert len(sample.instances) == count
    if count:
        assert sample.instances[0].class_index == 2
        check_agreement(sample)
        assert np.array_equal(image, np.full_like(image, GROUND))


def test_what_changes_nothing_is_not_in_the_chain():
    assert Augmentation(flip=0.0).transforms() == []
    assert [type(one) for one in Augmentation().transforms()] == [Flip]
    full = Augmentation(0.5, 0.1, 0.5, 0.5, (0.5, 1.5), 0.1, 5.0, 0.5, 0.7, 0.5)
    assert [type(one) for one in full.transforms()] == [CopyPaste, Affine, Flip, Colour, Erase]
    late = full.without_mixing().transforms()
    assert [type(one) for one in late] == [Affine, Flip, Colour, Erase] and late[0].mosaic == 0.0
