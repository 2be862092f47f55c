"""Boxes against plain loops; no NaN from boxes without size."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from yoloseg.modeling import boxes as b

coordinate = st.floats(-500, 500, width=32)
side = st.floats(0.5, 400, width=32)
box = st.tuples(coordinate, coordinate, side, side).map(lambda v: (v[0], v[1], v[0] + v[2], v[1] + v[3]))


def to_numpy(values):
    return ops.convert_to_numpy(values)


def array(rows):
    return np.array(rows, np.float32)


def loop_iou(p, q):
    width = max(0.0, min(p[2], q[2]) - max(p[0], q[0]))
    height = max(0.0, min(p[3], q[3]) - max(p[1], q[1]))
    union = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1]) - width * height
    return width * height / union


def loop_ciou(p, q):
    """Equations 5 to 7 of arXiv 1911.08287, as printed."""
    iou = loop_iou(p, q)
    rho2 = ((p[0] + p[2]) / 2 - (q[0] + q[2]) / 2) ** 2 + ((p[1] + p[3]) / 2 - (q[1] + q[3]) / 2) ** 2
    c2 = (max(p[2], q[2]) - min(p[0], q[0])) ** 2 + (max(p[3], q[3]) - min(p[1], q[1])) ** 2
    angle = math.atan((q[2] - q[0]) / (q[3] - q[1])) - math.atan((p[2] - p[0]) / (p[3] - p[1]))
    v = 4 / math.pi**2 * angle**2
    alpha = v / (1 - iou + v) if v > 0 else 0.0
    return iou - rho2 / c2 - alpha * v


def test_anchor_boxes_in_the_order_of_the_heads():
    """Row by row, cell by cell, anchor by anchor: as a [H, W, A * 4] map is reshaped to [H * W * A, 4]."""
    found = b.anchor_boxes([(10, 20), (30, 5)], 8, 2, 3)
    expected = [
        (8 * (column + 0.5), 8 * (row + 0.5), *anchor)
        for row in range(2)
        for column in range(3)
        for anchor in ((10, 20), (30, 5))
    ]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, array(expected))


def test_encode_is_the_formula_of_the_report():
    deltas = to_numpy(b.encode(array([[10, 20, 30, 80]]), array([[16, 46, 40, 30]])))
    np.testing.assert_allclose(deltas, [[4 / 40, 4 / 30, math.log(20 / 40), math.log(60 / 30)]], rtol=1e-6)


pairs = st.tuples(box, coordinate, coordinate, st.floats(8, 200), st.floats(8, 200))


@settings(max_examples=50, deadline=None)
@given(st.lists(pairs, min_size=4, max_size=4))
def test_decode_inverts_encode(rows):
    boxes, anchors = array([row[0] for row in rows]), array([row[1:] for row in rows])
    ratio = (boxes[:, 2:] - boxes[:, :2]) / anchors[:, 2:]
    back = to_numpy(b.decode(b.encode(boxes, anchors), anchors))
    representable = np.abs(np.log(ratio)).max(axis=1) < b.MAX_LOG_SCALE
    np.testing.assert_allclose(back[representable], boxes[representable], atol=0.02)


def test_decode_never_overflows():
    deltas = array([[0, 0, 1e4, -1e4]])
    x0, y0, x1, y1 = to_numpy(b.decode(deltas, array([[50, 50, 10, 10]])))[0]
    assert x1 - x0 == pytest.approx(10 * math.exp(4), rel=1e-5)
    assert y1 - y0 == pytest.approx(10 * math.exp(-4), rel=1e-3)


@settings(max_examples=50, deadline=None)
@given(st.lists(box, min_size=3, max_size=3), st.lists(box, min_size=2, max_size=2))
def test_iou_and_ciou_against_loops(first, second):
    p, q = array(first), array(second)
    expected = [[loop_iou(x, y) for y in q.astype(float)] for x in p.astype(float)]
    np.testing.assert_allclose(to_numpy(b.pairwise_iou(p, q)), expected, atol=2e-4)
    expected = [[loop_ciou(x, y) for y in q.astype(float)] for x in p.astype(float)]
    np.testing.assert_allclose(to_numpy(b.ciou(p[:, None], q[None])), expected, atol=2e-3)


def test_pairwise_iou_of_a_batch():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 50, (2, 3, 4)).astype(np.float32)
    corners[..., 2:] += corners[..., :2]
    found = to_numpy(b.pairwise_iou(corners, corners[:, :2]))
    assert found.shape == (2, 3, 2)
    assert found[1, 2, 0] == pytest.approx(loop_iou(corners[1, 2], corners[1, 0]), abs=1e-5)
    np.testing.assert_allclose(found[:, [0, 1], [0, 1]], 1, atol=1e-6)


def test_anchors_at_are_rows_of_the_table():
    anchors = [(10.0, 20.0), (30.0, 5.0), (7.0, 7.0)]
    table = b.anchor_boxes(anchors, 8, 5, 7)
    index = np.random.default_rng(0).integers(0, len(table), (2, 40))
    np.testing.assert_array_equal(to_numpy(b.anchors_at(index, anchors, 8, 7)), table[index])


def test_clip_boxes():
    found = to_numpy(b.clip_boxes(array([[-5, -6, 700, 300], [10, 20, 30, 40]]), array([[0, 0, 600, 200]])))
    np.testing.assert_array_equal(found, [[0, 0, 600, 200], [10, 20, 30, 40]])


DEGENERATE = array(
    [
        [5, 5, 5, 5],  # a point
        [5, 5, 5, 50],  # a line
        [9, 9, 3, 3],  # inside out
        [0, 0, 0, 0],
        [0, 0, 1e6, 1e6],
        [0, 0, 1e-20, 1e-20],
        [3, 3, 20, 20],
    ]
)


def test_degenerate_boxes_have_finite_iou():
    found = to_numpy(b.pairwise_iou(DEGENERATE, DEGENERATE))
    assert ((found >= 0) & (found <= 1 + 1e-6)).all()
    assert found[0, 0] == found[2, 2] == found[3, 3] == 0
    assert (to_numpy(b.area(DEGENERATE)) >= 0).all()
    assert np.isfinite(to_numpy(b.encode(DEGENERATE, np.full((7, 4), 10, np.float32)))).all()


def gradient(function, values):
    """d sum(function(values)) / d values on the backend in use."""
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: ops.sum(function(x)))(values))
    tensorflow = pytest.importorskip("tensorflow")
    variable = tensorflow.Variable(values)
    with tensorflow.GradientTape() as tape:
        total = ops.sum(function(variable))
    return tensorflow.convert_to_tensor(tape.gradient(total, variable)).numpy()


@pytest.mark.parametrize("function", [b.iou, b.ciou])
def test_degenerate_boxes_have_finite_gradients(function):
    first, second = np.repeat(DEGENERATE, 7, axis=0), np.tile(DEGENERATE, (7, 1))
    assert np.isfinite(to_numpy(function(first, second))).all()
    assert np.isfinite(gradient(lambda x: function(x, second), first)).all()
    assert np.isfinite(gradient(lambda x: function(first, x), second)).all()


def test_decode_has_finite_gradients():
    deltas = array([[0, 0, 80, -80], [1e3, -1e3, 4, -4]])
    anchors = np.full((2, 4), 20, np.float32)
    assert np.isfinite(gradient(lambda x: b.ciou(b.decode(x, anchors), DEGENERATE[:2]), deltas)).all()
