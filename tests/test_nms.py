"""Suppression by fixed point equals the greedy loop, box for box."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from yoloseg.modeling.nms import suppress, top


def greedy(boxes, scores, threshold):
    """One picture: what a plain loop over boxes of falling score keeps."""
    kept = []
    for i in range(len(boxes)):
        if scores[i] <= 0:
            continue
        for j in kept:
            sides = np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(boxes[i, :2], boxes[j, :2])
            overlap = np.prod(np.maximum(sides, 0))
            areas = [np.prod(np.maximum(boxes[k, 2:] - boxes[k, :2], 0)) for k in (i, j)]
            if overlap / max(sum(areas) - overlap, 1e-6) > threshold:
                break
        else:
            kept.append(i)
    return np.isin(np.arange(len(boxes)), kept).astype(np.float32)


def keep(boxes, scores, threshold):
    boxes, scores = np.asarray(boxes, np.float32), np.asarray(scores, np.float32)
    return ops.convert_to_numpy(suppress(boxes, scores, threshold))


# Whole numbers: IoUs are exact fractions, so that both sides agree about ties with the threshold.
corner, side = st.integers(0, 12), st.integers(0, 8)
box = st.tuples(corner, corner, side, side).map(lambda v: (v[0], v[1], v[0] + v[2], v[1] + v[3]))
SLOTS = 24  # one shape, so that JAX compiles once
score = st.sampled_from([0.0, 0.1, 0.1, 0.5, 0.9])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(box, min_size=2 * SLOTS, max_size=2 * SLOTS),
    st.lists(score, min_size=2 * SLOTS, max_size=2 * SLOTS),
    st.sampled_from([0.0, 0.28, 0.51, 0.72]),
)
def test_equals_the_greedy_loop(boxes, scores, threshold):
    boxes = np.array(boxes, np.float32).reshape(2, SLOTS, 4)
    scores = -np.sort(-np.array(scores, np.float32).reshape(2, SLOTS), axis=1)
    found = keep(boxes, scores, threshold)
    for image in range(2):
        np.testing.assert_array_equal(found[image], greedy(boxes[image], scores[image], threshold))


@pytest.mark.parametrize("count", [2, 3, 50, 101])
def test_a_long_chain(count):
    """Each box overlaps only its neighbours: every second one stays; the fixed point takes count rounds."""
    left = 5.0 * np.arange(count)
    boxes = np.stack([left, 0 * left, left + 10, 0 * left + 10], axis=1)
    found = keep(boxes[None], np.linspace(1, 0.5, count)[None], 0.3)
    np.testing.assert_array_equal(found[0], np.arange(count) % 2 == 0)


def test_chains_of_random_boxes_of_many_sizes():
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 60, (3, 200, 4)).astype(np.float32)
    boxes[..., 2:] = boxes[..., :2] + rng.uniform(5, 40, (3, 200, 2))
    scores = -np.sort(-rng.uniform(0, 1, (3, 200)).astype(np.float32), axis=1)
    found = keep(boxes, scores, 0.5)
    for image in range(3):
        expected = greedy(boxes[image].astype(float), scores[image], 0.5)
        np.testing.assert_array_equal(found[image], expected)
        assert 1 < expected.sum() < 200


def test_equal_boxes_of_equal_score_keep_the_first():
    found = keep([[[0, 0, 9, 9]] * 5], [[0.5] * 5], 0.5)
    np.testing.assert_array_equal(found, [[1, 0, 0, 0, 0]])


def test_overlap_of_exactly_the_threshold_stays():
    boxes = [[[0, 0, 4, 4], [0, 0, 4, 2]]]  # IoU one half
    np.testing.assert_array_equal(keep(boxes, [[0.9, 0.8]], 0.5), [[1, 1]])
    np.testing.assert_array_equal(keep(boxes, [[0.9, 0.8]], 0.49), [[1, 0]])


def test_empty_slots_neither_stay_nor_suppress():
    boxes = [[[0, 0, 4, 4], [0, 0, 4, 4]], [[0, 0, 4, 4], [0, 0, 4, 4]]]
    np.testing.assert_array_equal(keep(boxes, [[0.9, 0], [0, 0]], 0.5), [[1, 0], [0, 0]])
    # a box that a filter has set to 0 in the middle, as `propose` does between its stages
    boxes = [[[0, 0, 4, 4], [0, 0, 4, 4], [20, 20, 30, 30]]]
    np.testing.assert_array_equal(keep(boxes, [[0, 0.5, 0.4]], 0.5), [[0, 1, 1]])


def test_a_single_box():
    np.testing.assert_array_equal(keep([[[0, 0, 4, 4]]], [[0.3]], 0.5), [[1]])
    np.testing.assert_array_equal(keep([[[0, 0, 4, 4]]], [[0.0]], 0.5), [[0]])


def test_top_sorts_everything_alike():
    candidates = {
        "scores": np.array([[0.1, 0.9, 0.5], [0.7, 0.2, 0.3]], np.float32),
        "boxes": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "classes": np.array([[1, 2, 3], [4, 5, 6]], np.int32),
    }
    found = {name: ops.convert_to_numpy(values) for name, values in top(candidates, 2).items()}
    np.testing.assert_allclose(found["scores"], [[0.9, 0.5], [0.7, 0.3]])
    np.testing.assert_array_equal(found["classes"], [[2, 3], [4, 6]])
    np.testing.assert_array_equal(found["boxes"][1], [[12, 13, 14, 15], [20, 21, 22, 23]])
    assert ops.convert_to_numpy(top(candidates, 9)["scores"]).shape == (2, 3)
