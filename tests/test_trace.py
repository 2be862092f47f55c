"""Outlines of masks: filled again, by pycocotools and by OpenCV's rule, they give the mask."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as mask_utils

from yoloseg.data.trace import joined, trace


def filled(polygons, height, width):
    """By pycocotools, a polygon at a time."""
    canvas = np.zeros((height, width), bool)
    for polygon in polygons:
        rle = mask_utils.frPyObjects([polygon.astype(float).ravel().tolist()], height, width)
        canvas |= mask_utils.decode(rle)[..., 0] > 0
    return canvas


def crossings(polygon, height, width):
    """bool [H, W]: pixel centres with an odd number of the polygon's sides to their left, by counting."""
    inside = np.zeros((height, width), bool)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        if y0 != y1:
            spans = (y0 > y) != (y1 > y)
            inside ^= spans & (x0 + (y - y0) / (y1 - y0) * (x1 - x0) < x)
    return inside


masks = hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.booleans())


@settings(max_examples=200, deadline=None)
@given(masks)
def test_outlines_hold_the_mask_exactly(mask):
    polygons = trace(mask)
    height, width = mask.shape
    found = np.zeros_like(mask)
    for polygon in polygons:
        own = crossings(polygon, height, width)
        assert not (found & own).any()  # parts are apart
        found |= own
    np.testing.assert_array_equal(found, mask)


def test_a_ring_and_an_island_in_it():
    mask = np.zeros((20, 30), bool)
    mask[2:18, 3:25] = True
    mask[5:15, 6:20] = False
    mask[8:11, 9:12] = True
    ring, island = sorted(trace(mask), key=len, reverse=True)
    assert len(ring) == 4 + 4 + 2 and len(island) == 4
    np.testing.assert_array_equal(filled([ring, island], 20, 30), mask)
    assert sorted(map(tuple, island.tolist())) == [(9, 8), (9, 11), (12, 8), (12, 11)]


def test_pixels_that_touch_at_a_corner_are_two():
    mask = np.eye(3, dtype=bool)
    assert [len(polygon) for polygon in trace(mask)] == [4, 4, 4]
    assert trace(np.zeros((3, 3), bool)) == []


def test_simplified_outlines_stay_near():
    y, x = np.mgrid[:200, :200]
    disc = (x - 100) ** 2 + (y - 90) ** 2 < 70**2
    exact, simple = trace(disc)[0], trace(disc, tolerance=1.0)[0]
    assert len(simple) < 0.25 * len(exact)
    found = crossings(simple, 200, 200)
    assert (found & disc).sum() / (found | disc).sum() > 0.98


def test_joined_parts_enclose_what_they_did():
    square = np.array([[1, 1], [5, 1], [5, 5], [1, 5]], float)
    one = joined([square, square + 10, square + (10, 0)])
    expected = np.zeros((20, 20), bool)
    for y, x in ((1, 1), (11, 11), (1, 11)):
        expected[y : y + 4, x : x + 4] = True
    np.testing.assert_array_equal(crossings(one, 20, 20), expected)
    np.testing.assert_array_equal(filled([one], 20, 20), expected)
