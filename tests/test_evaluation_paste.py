"""Pasting against a loop over pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from yoloseg.inference.paste import paste_mask, paste_to_rle


def value_at(grid, box, x, y):
    """Bilinear value at the point (x, y): cell centres at (i + 0.5) / m of the box, 0 outside the grid."""
    rows, columns = grid.shape
    u = (x - box[0]) / (box[2] - box[0]) * columns - 0.5
    v = (y - box[1]) / (box[3] - box[1]) * rows - 0.5
    total = 0.0
    for row in (int(np.floor(v)), int(np.floor(v)) + 1):
        for column in (int(np.floor(u)), int(np.floor(u)) + 1):
            if 0 <= row < rows and 0 <= column < columns:
                total += grid[row, column] * (1 - abs(u - column)) * (1 - abs(v - row))
    return total


def check(grid, box, height, width, threshold):
    mask = paste_mask(grid, box, height, width, threshold)
    assert mask.dtype == bool and mask.shape == (height, width)
    for row in range(height):
        for column in range(width):
            x, y = column + 0.5, row + 0.5
            inside = box[0] <= x <= box[2] and box[1] <= y <= box[3]
            value = value_at(grid, box, x, y) if inside else -1.0
            if abs(value - threshold) > 1e-5:
                assert mask[row, column] == (value >= threshold), (row, column, value)
    rle = paste_to_rle(grid, box, height, width, threshold)
    assert isinstance(rle["counts"], str) and rle["size"] == [height, width]
    assert np.array_equal(coco_mask.decode(rle).astype(bool), mask)
    assert coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode() == rle["counts"]


coordinate = st.floats(-12, 32, width=32)
side = st.floats(0.125, 40, width=32)


@settings(max_examples=60, deadline=None)
@given(coordinate, coordinate, side, side, st.integers(0, 10**6), st.sampled_from([0.2, 0.5, 0.8]))
def test_agrees_with_a_loop(x, y, w, h, seed, threshold):
    grid = np.random.default_rng(seed).random((7, 7), np.float32)
    check(grid, np.array([x, y, x + w, y + h], np.float32), 19, 23, threshold)


@pytest.mark.parametrize(
    "box", [(0, 0, 16, 12), (0, 0, 16, 5), (15, 0, 16, 12), (-4, -4, 20, 16), (3, 0, 9, 12)]
)
def test_full_grids_reach_the_edges(box):
    check(np.ones((28, 28), np.float32), np.array(box, np.float32), 12, 16, 0.4)


def test_full_grid_fills_the_box_exactly():
    mask = paste_mask(np.ones((28, 28), np.float32), np.array([3.0, 2.0, 11.0, 9.0]), 20, 20)
    expected = np.zeros((20, 20), bool)
    expected[2:9, 3:11] = True
    assert np.array_equal(mask, expected)


def test_grid_of_the_picture_size_is_the_picture():
    grid = np.random.default_rng(0).random((14, 14), np.float32)
    assert np.array_equal(paste_mask(grid, np.array([0, 0, 14, 14.0]), 14, 14, 0.5), grid >= 0.5)


@pytest.mark.parametrize(
    "box",
    [(5, 5, 5, 9), (9, 5, 5, 9), (40, 40, 50, 50), (-9, -9, -1, -1), (5.6, 2, 6.4, 9), (np.nan, 0, 9, 9)],
)
def test_nothing_to_paste(box):
    grid = np.ones((28, 28), np.float32)
    assert not paste_mask(grid, np.array(box), 20, 20).any()
    assert coco_mask.area(paste_to_rle(grid, np.array(box), 20, 20)) == 0
