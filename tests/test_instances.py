import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pixels import distance_to_outline, pixel_centres, point_in_polygon, random_mask, random_polygon, seeds
from pycocotools import mask as coco_mask

from yoloseg.data import instances
from yoloseg.data.geometry import horizontal_flip, invert, similarity, transform_points
from yoloseg.data.instances import Instance
from yoloseg.data.letterbox import letterbox_matrix
from yoloseg.data.records import Annotation

SHAPES = st.tuples(st.integers(3, 60), st.integers(3, 60))
SQUARE = np.array([[2, 3], [12, 3], [12, 9], [2, 9]], np.float32)


def any_matrix(rng):
    """Scale, mirror, turn, shear, shift."""
    matrix = np.eye(2, 3)
    matrix[:, :2] = rng.uniform(-1.5, 1.5, (2, 2)) + np.eye(2)
    matrix[:, 2] = rng.uniform(-30, 30, 2)
    return matrix


def upright_matrix(rng):
    """A letterbox, perhaps flipped, perhaps moved over the border."""
    matrix = letterbox_matrix(40, 30, (int(rng.integers(8, 90)), int(rng.integers(8, 90))))
    if rng.random() < 0.5:
        matrix = horizontal_flip(30) @ np.vstack([matrix, [0, 0, 1]])
    matrix[:, 2] += rng.uniform(-10, 10, 2)
    return matrix


def brute_force_extents(polygon, height, width):
    """(low, high) from points strewn densely over the edges, and the corners inside; None for none."""
    along = np.linspace(0, 1, 2001)[:, None, None]
    points = (polygon * (1 - along) + np.roll(polygon, -1, axis=0) * along).reshape(-1, 2)
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], float)
    corners = corners[point_in_polygon(corners[:, 0], corners[:, 1], polygon)]
    points = points[((points >= 0) & (points <= [width, height])).all(1)]
    points = np.concatenate([points, corners])
    return (points.min(0), points.max(0)) if len(points) else None


def test_box_of_a_polygon_inside_across_and_outside():
    one = Instance(0, polygons=(SQUARE,))
    assert one.box(20, 20).tolist() == [2, 3, 12, 9]
    assert one.box(20, 20).dtype == np.float32
    assert one.box(7, 10).tolist() == [2, 3, 10, 7]
    assert one.transform(np.array([[1.0, 0, -50], [0, 1, 0]])).box(20, 20).tolist() == [0, 0, 0, 0]
    around = Instance(0, polygons=(SQUARE * 100 - 500,))
    assert around.box(20, 30).tolist() == [0, 0, 30, 20]


def test_box_of_a_concave_polygon_does_not_reach_over_its_gap():
    # two prongs to the left, the upper one leaves the picture above, the lower one ends at the left border
    fork = [[30, -20], [-5, -20], [-5, -10], [20, -10], [20, 20], [-5, 20], [-5, 25], [30, 25]]
    fork = np.array(fork, np.float32)
    assert Instance(0, polygons=(fork,)).box(40, 40).tolist() == [0, 0, 30, 25]
    only_lower = fork - [0, 8]
    cut = Instance(0, polygons=(only_lower[[0, 3, 4, 5, 6, 7]],)).box(40, 40)
    assert cut.tolist() == [0, 0, 30, 17]


def test_parts_are_united():
    other = SQUARE + [8, 4]
    one = Instance(0, polygons=(SQUARE, other))
    mask = one.rasterise(20, 30)
    expected = np.zeros((20, 30), np.uint8)
    expected[3:9, 2:12] = 1
    expected[7:13, 10:20] = 1
    assert np.array_equal(mask, expected)
    assert one.box(20, 30).tolist() == [2, 3, 20, 13]
    crop = one.crop(np.array([2, 3, 20, 13]), 90)
    assert crop.max() == 255 and abs(crop.mean() / 255 - expected.sum() / 180) < 0.01
    assert (crop[40:50, 45:48] > 250).all()  # the second outline does not cut into the first


def test_rle_keeps_a_tight_bitmap_and_labels():
    mask = np.zeros((50, 70), np.uint8)
    mask[10:20, 30:33] = 1
    rle = coco_mask.encode(np.asfortranarray(mask))
    one = Instance.from_annotation(Annotation(4, rle, (30, 10, 33, 20), 30.0, crowd=True, track_id=7))
    assert one.bitmap.shape == (10, 3) and (one.class_index, one.crowd, one.track_id) == (4, True, 7)
    assert one.box(50, 70).tolist() == [30, 10, 33, 20]
    assert np.array_equal(one.rasterise(50, 70), mask)


def test_empty_mask():
    one = Instance.from_mask(np.zeros((5, 6), bool), 0)
    assert one.box(5, 6).tolist() == [0, 0, 0, 0]
    assert one.rasterise(5, 6).sum() == 0 and one.crop(np.array([0, 0, 3, 3]), 8).sum() == 0


def test_loose_bitmap_is_refused():
    with pytest.raises(ValueError, match="tight"):
        Instance(0, bitmap=np.eye(4, dtype=np.uint8)[:, :3])


def test_crop_of_a_box_without_area_is_empty():
    assert Instance(0, polygons=(SQUARE,)).crop(np.array([5, 5, 5, 9]), 8).sum() == 0


def test_crop_of_the_own_box_is_full_for_a_rectangle():
    crop = Instance(0, polygons=(SQUARE,)).crop(SQUARE[[0, 2]].ravel(), 56)
    assert (crop[1:-1, 1:-1] == 255).all() and crop.min() >= 190
    crop = Instance.from_mask(np.ones((6, 9)), 0).crop(np.array([0, 0, 9, 6]), 56)
    assert (crop == 255).all()


@settings(max_examples=60, deadline=None)
@given(SHAPES, seeds())
def test_polygon_box_is_the_brute_force_box(shape, seed):
    rng = np.random.default_rng(seed)
    polygon = random_polygon(rng, *shape, reach=2)
    one = Instance(0, polygons=(polygon,)).transform(any_matrix(rng))
    outline = one.outlines()[0]
    box = one.box(*shape)
    expected = brute_force_extents(outline, *shape)
    step = np.abs(outline - np.roll(outline, -1, axis=0)).max() / 2000
    if expected is None:
        assert (box[2:] - box[:2] <= 2 * step + 1e-4).any()
    else:
        assert np.abs(box - np.concatenate(expected)).max() <= 2 * step + 1e-4


@settings(max_examples=60, deadline=None)
@given(SHAPES, seeds())
def test_polygon_pixels_are_the_brute_force_pixels(shape, seed):
    rng = np.random.default_rng(seed)
    one = Instance(0, polygons=(random_polygon(rng, *shape),)).transform(upright_matrix(rng))
    outline = one.outlines()[0]
    x, y = pixel_centres(*shape)
    expected = point_in_polygon(x, y, outline)
    clear = distance_to_outline(x, y, outline) > 0.3  # pycocotools rounds outlines to a fifth of a pixel
    assert np.array_equal(one.rasterise(*shape)[clear], expected[clear])


@settings(max_examples=40, deadline=None)
@given(SHAPES, seeds())
def test_polygon_pixels_are_pycocotools_pixels(shape, seed):
    rng = np.random.default_rng(seed)
    polygons = tuple(random_polygon(rng, *shape, reach=0.8).clip(0, shape[::-1]) for _ in range(2))
    parts = coco_mask.frPyObjects([p.astype(float).ravel() for p in polygons], *shape)
    expected = coco_mask.decode(coco_mask.merge(parts))
    assert np.array_equal(Instance(0, polygons=polygons).rasterise(*shape), expected)


@settings(max_examples=60, deadline=None)
@given(SHAPES, SHAPES, st.booleans(), seeds())
def test_what_is_read_without_opencv_is_the_same(source, shape, upright, seed):
    rng = np.random.default_rng(seed)
    mask, matrix = random_mask(rng, *source), upright_matrix(rng) if upright else any_matrix(rng)
    expected = instances._sample_bitmap(mask, matrix, *shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instances, "OPENCV_SIDE", 0)
        found = instances._sample_bitmap(mask, matrix, *shape)
    x, y = pixel_centres(*shape)
    at = transform_points(invert(matrix), np.stack([x, y], -1).reshape(-1, 2))
    edge = np.abs(at - np.rint(at)).min(1) < 2e-2
    np.testing.assert_array_equal(found.ravel()[~edge], expected.ravel()[~edge])


def test_an_object_longer_than_opencv_takes():
    mask = np.zeros((6, 40_000), np.uint8)
    mask[2:5, 100:39_900] = 1
    one = Instance.from_mask(mask, 0)
    assert np.array_equal(one.rasterise(6, 40_000), mask)
    shares = one.crop(np.array([0, 0, 40_000, 6.0]), 4)[:, 1:3] / 255
    np.testing.assert_allclose(shares.mean(1), [0, 2 / 3, 1, 1 / 3], atol=0.1)  # four samples a cell's side
    small = one.transform(np.array([[0.01, 0, 0], [0, 1, 0]])).rasterise(6, 400)
    np.testing.assert_array_equal(small, mask[:, 50::100])


@settings(max_examples=60, deadline=None)
@given(SHAPES, SHAPES, st.booleans(), seeds())
def test_bitmap_pixels_and_box_are_the_brute_force_ones(source, shape, upright, seed):
    rng = np.random.default_rng(seed)
    mask = random_mask(rng, *source)
    one = Instance.from_mask(mask, 0).transform(upright_matrix(rng) if upright else any_matrix(rng))
    shift = Instance.from_mask(mask, 0).matrix[:, 2]
    back = invert(one.matrix)
    x, y = pixel_centres(*shape)
    at = transform_points(back, np.stack([x, y], -1).reshape(-1, 2)) + shift
    j, i = np.floor(at).astype(int).T
    inside = (i >= 0) & (j >= 0) & (i < source[0]) & (j < source[1])
    expected = np.zeros(len(at), bool)
    expected[inside] = mask[i[inside], j[inside]] == 1
    edge = np.abs(at - np.rint(at)).min(1) < 2e-2  # OpenCV rounds positions to 1/1024 of a pixel
    found = one.rasterise(*shape)
    assert np.array_equal(found.ravel()[~edge], expected[~edge])
    # the box, from the squares of the mask's pixels cut into 8 x 8 points each
    rows, columns = np.nonzero(mask)
    fine = (np.arange(9) / 8).reshape(-1)
    points = np.stack(
        [(columns[:, None, None] + fine[None, None, :] - shift[0]).repeat(9, 1),
         (rows[:, None, None] + fine[None, :, None] - shift[1]).repeat(9, 2)], -1
    ).reshape(-1, 2)  # fmt: skip
    points = transform_points(one.matrix, points)
    points = points[((points >= 0) & (points <= shape[::-1])).all(1)]
    box = one.box(*shape)
    step = np.abs(one.matrix[:, :2]).sum() / 8
    if len(points):
        assert np.abs(box - np.concatenate([points.min(0), points.max(0)])).max() <= step + 1e-3
    else:
        assert (box[2:] - box[:2] <= 2 * step + 1e-3).any()


@settings(max_examples=40, deadline=None)
@given(SHAPES, seeds())
@example((8, 16), 55)  # an edge that leaves through the right border, along which OpenCV would paint
def test_polygon_crop_is_the_brute_force_coverage(shape, seed):
    rng = np.random.default_rng(seed)
    one = Instance(0, polygons=(random_polygon(rng, *shape),)).transform(upright_matrix(rng))
    box = one.box(*shape)
    if min(box[2:] - box[:2]) < 1:
        return
    size, fine = 14, 8
    x, y = pixel_centres(size * fine, size * fine)
    scale = (box[2:] - box[:2]) / (size * fine)
    outline = (one.outlines()[0] - box[:2]) / scale
    inside = point_in_polygon(x, y, outline).reshape(size, fine, size, fine).mean((1, 3))
    found = one.crop(box, size) / 255
    x, y = pixel_centres(size, size)
    clear = distance_to_outline(x, y, outline / fine) > 1.1  # cells no edge comes near
    assert np.abs(found - inside)[clear].max(initial=0) < 0.005
    assert np.abs(found - inside).max() < 0.55 and np.abs(found - inside).mean() < 0.04


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.booleans(), seeds())
def test_bitmap_crop_is_the_brute_force_coverage(shape, upright, seed):
    rng = np.random.default_rng(seed)
    mask = random_mask(rng, *shape)
    one = Instance.from_mask(mask, 0)
    shift = one.matrix[:, 2]
    one = one.transform(upright_matrix(rng) if upright else any_matrix(rng))
    box = one.box(*shape)
    if min(box[2:] - box[:2]) < 1:
        return
    size, fine = 14, 4
    x, y = pixel_centres(size * fine, size * fine)
    points = np.stack([x, y], -1).reshape(-1, 2) * (box[2:] - box[:2]) / (size * fine) + box[:2]
    read = []  # OpenCV counts in 1024ths of a pixel: a sample so near to two pixels may be of either
    for side in np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)]) * 2 / 1024:
        j, i = np.floor(transform_points(invert(one.matrix), points) + shift + side).astype(int).T
        inside = (i >= 0) & (j >= 0) & (i < shape[0]) & (j < shape[1])
        read.append(np.where(inside, mask[i.clip(0, shape[0] - 1), j.clip(0, shape[1] - 1)], 0))
    low, high = (
        value.reshape(size, fine, size, fine).mean((1, 3)) for value in (np.min(read, 0), np.max(read, 0))
    )
    found = one.crop(box, size) / 255
    assert (found > low - 0.005).all() and (found < high + 0.005).all()


def test_crops_of_round_things_have_the_right_area_at_every_size():
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    for radius in (0.8, 3.0, 30.0, 400.0):
        circle = np.stack([np.cos(angle), np.sin(angle)], 1) * radius + 500.3
        one = Instance(0, polygons=(circle.astype(np.float32),))
        crop = one.crop(one.box(1000, 1000), 28)
        assert abs(crop.mean() / 255 - np.pi / 4) < 0.01


def test_corners_of_a_turned_bitmap_are_of_its_object():
    """A band from corner to corner of its frame, turned so that it lies level."""
    x, y = pixel_centres(100, 100)
    one = Instance.from_mask(np.abs(x - y) < 7, 0)
    level = similarity(1.0, 45.0, np.array([50.0, 50.0]), np.array([100.0, 100.0]))
    if np.ptp(one.transform(level).box(200, 200)[[1, 3]]) > 50:  # the other way round
        level = similarity(1.0, -45.0, np.array([50.0, 50.0]), np.array([100.0, 100.0]))
    turned = one.transform(level)
    low, high = turned.corners()
    box = turned.box(200, 200)
    assert np.allclose([*low, *high], box, atol=1e-3) and high[1] - low[1] < 13
    empty = Instance.from_mask(np.zeros((4, 4)), 0).transform(level)
    assert empty.box(9, 9).tolist() == [0, 0, 0, 0] and (empty.corners()[1] - empty.corners()[0] == 0).all()
