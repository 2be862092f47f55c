import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pixels import area_weights, linear_weights

from yoloseg.data.geometry import box_to_square, compose, transform_points
from yoloseg.data.letterbox import PADDING, invert, letterbox, letterbox_matrix

SIDES = st.integers(1, 150)
IMGSZ = st.tuples(st.integers(1, 4), st.integers(1, 4)).map(lambda n: (32 * n[0], 32 * n[1]))


def test_known_values():
    assert letterbox_matrix(480, 640, (416, 416)).tolist() == [[0.65, 0, 0], [0, 0.65, 52]]
    assert letterbox_matrix(640, 480, (416, 416)).tolist() == [[0.65, 0, 52], [0, 0.65, 0]]
    assert letterbox_matrix(480, 640, (480, 640)).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert letterbox_matrix(100, 100, (480, 640)).tolist() == [[4.8, 0, 80], [0, 4.8, 0]]


def test_picture_of_the_right_size_is_unchanged():
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    assert np.array_equal(letterbox(image, (64, 96)), image)


def test_padding_is_grey():
    out = letterbox(np.zeros((10, 40, 3), np.uint8), (32, 64))
    assert out.dtype == np.uint8 and out.shape == (32, 64, 3)
    assert (out[:8] == PADDING).all() and (out[24:] == PADDING).all() and (out[8:24] == 0).all()


@pytest.mark.parametrize("shape", [(1, 4000), (4000, 1), (1, 1), (3, 999)])
def test_extreme_shapes_keep_at_least_a_pixel(shape):
    out = letterbox(np.zeros((*shape, 3), np.uint8), (64, 96))
    assert out.shape == (64, 96, 3) and (out == 0).any()


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, IMGSZ, st.integers(0, 1000))
def test_picture_lies_where_the_matrix_says(height, width, imgsz, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    (scale, _, left), (_, scale_y, top) = letterbox_matrix(height, width, imgsz)
    assert scale == scale_y == min(imgsz[0] / height, imgsz[1] / width)
    assert left == int(left) >= 0 and top == int(top) >= 0
    left, top = int(left), int(top)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    expected = np.full((*imgsz, 3), PADDING, float)
    weights = area_weights if scale < 1 else linear_weights
    shrunk = np.einsum("ik,klc->ilc", weights(height, rows, scale), image.astype(float))
    expected[top : top + rows, left : left + columns] = np.einsum(
        "jl,ilc->ijc", weights(width, columns, scale), shrunk
    )
    out = letterbox(image, imgsz).astype(float)
    if min(height, width) * scale >= 0.5:
        assert np.abs(out - expected).max() <= 2.5  # OpenCV: fixed-point weights


@settings(max_examples=100, deadline=None)
@given(SIDES, SIDES, IMGSZ)
def test_matrix_fits_and_inverts(height, width, imgsz):
    matrix = letterbox_matrix(height, width, imgsz)
    low, high = transform_points(matrix, np.array([[0.0, 0.0], [width, height]]))
    assert (low >= 0).all() and (high <= np.array(imgsz[::-1]) + 1).all()
    assert np.isclose(high - low, imgsz[::-1]).any()
    assert np.allclose(compose(invert(matrix), matrix), np.eye(2, 3), atol=1e-9)
    assert np.allclose(compose(matrix, invert(matrix)), np.eye(2, 3), atol=1e-9)


def test_compose_does_the_second_argument_first():
    rng = np.random.default_rng(0)
    first, second, points = rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), rng.normal(size=(5, 2))
    one_by_one = transform_points(second, transform_points(first, points))
    assert np.allclose(transform_points(compose(second, first), points), one_by_one)


def test_box_to_square():
    corners = np.array([[10.0, 20.0], [30.0, 60.0], [20.0, 40.0]])
    moved = transform_points(box_to_square(np.array([10, 20, 30, 60]), 56), corners)
    assert np.allclose(moved, [[0, 0], [56, 56], [28, 28]])
