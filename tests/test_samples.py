import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pixels import distance_to_outline, pixel_centres, point_in_polygon, random_mask, random_polygon, seeds
from pycocotools import mask as coco_mask

from yoloseg.data.geometry import invert, transform_points
from yoloseg.data.instances import Instance
from yoloseg.data.letterbox import PADDING, letterbox_matrix
from yoloseg.data.records import Annotation, Record
from yoloseg.data.samples import Flip, Sample, read_instances, read_sample
from yoloseg.errors import DataError

SIDES = st.integers(4, 90)
IMGSZ = st.tuples(st.integers(1, 3), st.integers(1, 3)).map(lambda n: (32 * n[0], 32 * n[1]))
ALWAYS, NEVER = Flip(1.0), Flip(0.0)


def record_of(image, *segmentations, **labels):
    annotations = tuple(Annotation(0, one, (0, 0, 1, 1), 1.0, **labels) for one in segmentations)
    return Record(1, lambda: image, *image.shape[:2], annotations)


def rle(mask):
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def moved_back(sample, record, flips):
    """Where the centre of every pixel of the sample lies in the original picture: (x, y), float64 [h, w]."""
    height, width = sample.image.shape[:2]
    x, y = pixel_centres(height, width)
    if flips % 2:
        x = width - x
    back = invert(letterbox_matrix(record.height, record.width, (height, width)))
    points = transform_points(back, np.stack([x, y], -1).reshape(-1, 2))
    return points[:, 0].reshape(height, width), points[:, 1].reshape(height, width)


@settings(max_examples=50, deadline=None)
@given(SIDES, SIDES, IMGSZ, st.integers(0, 3), seeds())
def test_picture_mask_and_box_agree_for_polygons(height, width, imgsz, flips, seed):
    rng = np.random.default_rng(seed)
    polygon = random_polygon(rng, height, width)
    # a picture painted pixel by pixel: the share of each that the polygon covers, 8 x 8 points a pixel
    x, y = pixel_centres(height * 8, width * 8)
    painted = point_in_polygon(x / 8, y / 8, polygon).reshape(height, 8, width, 8).mean((1, 3))
    image = np.rint(painted * 255).astype(np.uint8)[:, :, None].repeat(3, 2)
    record = record_of(image, (polygon,))
    sample = read_sample(record, imgsz)
    for _ in range(flips):
        sample = ALWAYS(sample, rng)
    mask = sample.instances[0].rasterise(*imgsz) == 1

    x, y = moved_back(sample, record, flips)
    scale = letterbox_matrix(height, width, imgsz)[0, 0]
    distance = distance_to_outline(x, y, polygon)
    picture = (x > 0) & (y > 0) & (x < width) & (y < height)
    # mask: exactly the brute-force pixels; picture: the same but for the blur of a pixel at the outline
    clear = distance * scale > 0.3
    border = np.minimum(np.minimum(np.abs(x), np.abs(x - width)), np.minimum(np.abs(y), np.abs(y - height)))
    clear &= border * scale > 0.3
    assert np.array_equal(mask[clear], (point_in_polygon(x, y, polygon) & picture)[clear])
    clear = picture & (distance > 1.5 * max(1.0, 1 / scale))
    clear &= (np.minimum(x, width - x) * scale > 1) & (np.minimum(y, height - y) * scale > 1)
    assert np.array_equal(sample.image[:, :, 0][clear] > 127, mask[clear])
    # box: no pixel outside (that it is no larger than it must be: test_instances)
    x0, y0, x1, y1 = sample.instances[0].box(*imgsz)
    x, y = pixel_centres(*imgsz)
    outside = (x < x0 - 0.3) | (x > x1 + 0.3) | (y < y0 - 0.3) | (y > y1 + 0.3)
    assert not mask[outside].any()


@settings(max_examples=50, deadline=None)
@given(SIDES, SIDES, IMGSZ, st.integers(0, 3), seeds())
def test_picture_mask_and_box_agree_for_bitmaps(height, width, imgsz, flips, seed):
    rng = np.random.default_rng(seed)
    original = random_mask(rng, height, width)
    record = record_of((original * 255)[:, :, None].repeat(3, 2), rle(original))
    sample = read_sample(record, imgsz)
    for _ in range(flips):
        sample = ALWAYS(sample, rng)
    mask = sample.instances[0].rasterise(*imgsz) == 1

    x, y = moved_back(sample, record, flips)
    picture = (x > 0) & (y > 0) & (x < width) & (y < height)
    found = (
        original[np.floor(y).astype(int).clip(0, height - 1), np.floor(x).astype(int).clip(0, width - 1)] == 1
    )
    between = np.minimum(np.abs(x - np.rint(x)), np.abs(y - np.rint(y))) < 2e-2
    assert np.array_equal(mask[~between], (found & picture)[~between])
    scale = letterbox_matrix(height, width, imgsz)[0, 0]
    # the picture shows the same where the original is of one colour around
    around = np.ones((2 * int(1 + 1 / scale) + 1,) * 2, np.uint8)
    plain = cv2.dilate(original, around) == cv2.erode(original, around)
    clear = plain[np.floor(y).astype(int).clip(0, height - 1), np.floor(x).astype(int).clip(0, width - 1)]
    clear &= picture & (np.minimum(x, width - x) * scale > 1) & (np.minimum(y, height - y) * scale > 1)
    assert np.array_equal(sample.image[:, :, 0][clear] > 127, mask[clear])
    rows, columns = np.flatnonzero(original.any(1)), np.flatnonzero(original.any(0))
    corners = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], float)
    low, high = transform_points(letterbox_matrix(height, width, imgsz), corners)
    if flips % 2:
        low[0], high[0] = imgsz[1] - high[0], imgsz[1] - low[0]
    expected = np.concatenate([low, high]).clip(0, [imgsz[1], imgsz[0]] * 2)
    assert np.allclose(sample.instances[0].box(*imgsz), expected, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(SIDES, SIDES, IMGSZ, seeds())
def test_two_flips_are_none(height, width, imgsz, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    sample = read_sample(record_of(image, (random_polygon(rng, height, width),)), imgsz)
    twice = ALWAYS(ALWAYS(sample, rng), rng)
    assert np.array_equal(twice.image, sample.image)
    assert np.allclose(twice.instances[0].matrix, sample.instances[0].matrix)
    once = ALWAYS(sample, rng)
    assert np.array_equal(once.image, sample.image[:, ::-1])
    box, mirrored = sample.instances[0].box(*imgsz), once.instances[0].box(*imgsz)
    if box.any():
        assert np.allclose(
            mirrored[[2, 1, 0, 3]], [imgsz[1] - box[0], box[1], imgsz[1] - box[2], box[3]], atol=1e-3
        )


def test_flip_probability_and_untouched_input():
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    image.flags.writeable = False
    sample = Sample(image)
    rng = np.random.default_rng(0)
    assert NEVER(sample, rng) is sample
    count = sum(Flip()(sample, rng) is not sample for _ in range(400))
    assert 160 < count < 240


def test_labels_survive():
    image = np.zeros((20, 20, 3), np.uint8)
    mask = np.zeros((20, 20))
    mask[5:9, 5:9] = 1
    sample = read_sample(record_of(image, rle(mask), crowd=True, track_id=3), (32, 32))
    one = ALWAYS(sample, np.random.default_rng(0)).instances[0]
    assert (one.class_index, one.crowd, one.track_id) == (0, True, 3) and sample.image_id == 1


def test_vanished_instances_are_left_out():
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    shown = Instance(0, polygons=(square * 2 + 5,))
    thin = Instance(1, polygons=(square * [0.9, 9] + 5,))
    outside = Instance(2, polygons=(square * 5 + 100,))
    cut_to_less = Instance(3, polygons=(square * 5 - [4.1, 0],))
    cut_to_more = Instance(4, polygons=(square * 5 - [3.9, 0],))
    touching = Instance(5, polygons=(square * 5 - [5, 0],))
    sample = Sample(
        np.zeros((32, 32, 3), np.uint8), (shown, thin, outside, cut_to_less, cut_to_more, touching)
    )
    found = sample.visible()
    assert [one.class_index for one, _ in found] == [0, 4]
    assert np.allclose(found[1][1], [0, 0, 1.1, 5], atol=1e-5)


def test_background_picture():
    sample = read_sample(Record(1, lambda: np.zeros((8, 16, 3), np.uint8), 8, 16), (32, 32))
    assert sample.instances == () and (sample.image[0] == PADDING).all() and (sample.image[16] == 0).all()


@pytest.mark.parametrize(
    "image", [np.zeros((8, 9, 3), np.uint8), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32)]
)
def test_picture_that_is_not_what_the_record_says(image):
    with pytest.raises(DataError, match="image 5: the picture is .* width and height"):
        read_sample(Record(5, lambda: image, 8, 8), (32, 32))


def test_errors_name_the_picture_and_the_annotation(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no more")
    with pytest.raises(DataError, match="broken.jpg"):
        read_sample(Record(1, broken, 8, 8), (32, 32))
    with pytest.raises(DataError, match="image 7.*out of film"):

        def source():
            raise RuntimeError("out of film")

        read_sample(Record(7, source, 8, 8), (32, 32))
    annotation = Annotation(0, rle(np.ones((4, 4))), (0, 0, 4, 4), 16.0, annotation_id=11)
    with pytest.raises(DataError, match="image 7: annotation 11: its RLE is of size"):
        read_instances(Record(7, lambda: None, 8, 8, (annotation,)))
    garbage = Annotation(0, {"size": [8, 8], "counts": 3}, (0, 0, 4, 4), 16.0, annotation_id=12)
    with pytest.raises(DataError, match="annotation 12: its mask cannot be decoded"):
        read_instances(Record(7, lambda: None, 8, 8, (garbage,)))


def test_outlines_beyond_the_picture_end_at_it():
    """Not in the padding, where nothing is to be seen; and one wrong corner does not lose the object."""
    record = record_of(
        np.zeros((40, 80, 3), np.uint8),
        (np.array([[10, 20], [30, 20], [30, 60], [10, 60]], np.float32),),
        (np.array([[10, 10], [9500, 12], [50, 30], [10, 30]], np.float32),),
        (np.array([[90, 10], [99, 10], [99, 30]], np.float32),),
    )
    sample = read_sample(record, (64, 64))  # at 0.8, the picture between rows 16 and 48
    low, far, away = sample.instances
    assert low.box(64, 64) == pytest.approx([8, 32, 24, 48]) and low.rasterise(64, 64)[48:].sum() == 0
    assert low.crop(low.box(64, 64), 28).mean() > 250
    assert far.box(64, 64)[[0, 2]] == pytest.approx([8, 64]) and away.box(64, 64).tolist() == [0, 0, 0, 0]
    assert [one for one, _ in sample.visible()] == [low, far]
    assert low.corners()[1] == pytest.approx([24, 48])
