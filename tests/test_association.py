"""The report's greedy association, and overlaps of masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from yoloseg.tracking import associate
from yoloseg.tracking.rle import moved_rle, rle_iou

SIDE = st.integers(0, 6)
COSTS = arrays(np.float64, st.tuples(SIDE, SIDE), elements=st.integers(0, 20).map(lambda n: n / 20))


def literal(cost, gating, margin):
    """The three rules, written out."""
    matches, new, doubtful = [], [], []
    for row in range(len(cost)):
        values = [float(v) for v in cost[row]]
        if not values or not min(values) < gating:
            new.append(row)
            continue
        column = values.index(min(values))
        others_in_row = values[:column] + values[column + 1 :]
        in_column = [float(v) for v in cost[:, column]]
        others_in_column = in_column[:row] + in_column[row + 1 :]
        lowest = values[column]
        best = all(lowest < v for v in in_column[:row]) and all(lowest <= v for v in in_column)
        lonely = all(v - values[column] >= margin for v in others_in_row + others_in_column)
        (matches if best and lonely else doubtful).append((row, column) if best and lonely else row)
    return matches, new, doubtful


@given(COSTS, st.sampled_from([0.99, 0.5, 1.0]), st.sampled_from([0.0, 0.01, 0.05, 0.3]))
def test_rules_are_those_of_the_report(cost, gating, margin):
    found = associate(cost, gating, margin)
    assert tuple(found) == literal(cost, gating, margin)
    rows = [row for row, _ in found.matches] + found.new + found.doubtful
    columns = [column for _, column in found.matches]
    assert sorted(rows) == list(range(len(cost))) and len(set(columns)) == len(columns)


def test_by_hand():
    cost = np.array([[0.1, 0.9, 1.0], [0.8, 0.2, 0.205], [1.0, 1.0, 0.995], [0.6, 1.0, 1.0]])
    matches, new, doubtful = associate(cost)
    assert matches == [(0, 0)]
    assert new == [2]            # its best is not below the gate
    assert doubtful == [1, 3]    # 1: two columns are equally near; 3: its column has a better friend
    assert associate(cost, margin=0.001).matches == [(0, 0), (1, 1)]
    assert associate(np.zeros((2, 0))) == ([], [0, 1], []) and associate(np.zeros((0, 3))) == ([], [], [])
    assert associate([[0.3]]).matches == [(0, 0)]  # nothing else is there to be doubtful about


def test_what_is_no_cost_is_refused():
    for cost in (np.zeros(3), np.array([[np.nan]]), np.array([[np.inf, 0.0]])):
        with pytest.raises(ValueError, match="finite matrix"):
            associate(cost)


MASKS = arrays(bool, (7, 9))


def encoded(mask):
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


@given(st.lists(MASKS, max_size=4), st.lists(MASKS, max_size=4))
def test_iou_is_that_of_the_pixels(first, second):
    found = rle_iou([encoded(mask) for mask in first], [encoded(mask) for mask in second])
    assert found.shape == (len(first), len(second))
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            union = (one | other).sum()
            assert found[i, j] == pytest.approx((one & other).sum() / union if union else 0.0)


@given(MASKS, st.integers(-12, 12), st.integers(-12, 12))
def test_masks_are_moved_by_pixels_and_held_back_at_the_edge(mask, x, y):
    moved = coco_mask.decode(moved_rle(encoded(mask), x, y)) > 0
    expected = np.zeros_like(mask)
    rows, columns = np.nonzero(mask)
    if len(rows):
        x = min(max(x, -columns.min()), 8 - columns.max())
        y = min(max(y, -rows.min()), 6 - rows.max())
        expected[rows + y, columns + x] = True
    np.testing.assert_array_equal(moved, expected)
