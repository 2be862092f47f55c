"""Slow, independent, per-pixel versions of the geometry, and random outlines, for the property tests."""

import numpy as np
from hypothesis import strategies as st


def point_in_polygon(x, y, polygon):
    """bool array: even-odd rule, one edge after the other. x, y: arrays of one shape."""
    inside = np.zeros(np.shape(x), bool)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    return inside


def distance_to_outline(x, y, polygon):
    """float array: distance of points to the nearest edge."""
    nearest = np.full(np.shape(x), np.inf)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        length = (bx - ax) ** 2 + (by - ay) ** 2
        along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0, 1) if length else 0.0
        nearest = np.minimum(nearest, np.hypot(ax + along * (bx - ax) - x, ay + along * (by - ay) - y))
    return nearest


def pixel_centres(height, width):
    """(x, y) of the centres, float64 [height, width] each."""
    return np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)


def area_weights(size, new_size, scale):
    """float64 [new_size, size]: which share of each old pixel makes up a new one when a line is scaled."""
    weights = np.zeros((new_size, size))
    for new in range(new_size):
        low, high = new / scale, (new + 1) / scale
        for old in range(size):
            weights[new, old] = max(0.0, min(high, old + 1) - max(low, old))
    return weights / weights.sum(1, keepdims=True)


def linear_weights(size, new_size, scale):
    """The same for bilinear interpolation, borders repeated."""
    weights = np.zeros((new_size, size))
    for new in range(new_size):
        at = (new + 0.5) / scale - 0.5
        low = int(np.floor(at))
        weights[new, np.clip(low, 0, size - 1)] += 1 - (at - low)
        weights[new, np.clip(low + 1, 0, size - 1)] += at - low
    return weights


def seeds():
    return st.integers(0, 2**32 - 1)


def random_polygon(rng, height, width, reach=1.2):
    """float32 [n, 2]: any polygon, or a tiny one, around a picture; may cross itself and the border."""
    corners = int(rng.integers(3, 9))
    centre = rng.uniform(0, [width, height])
    extent = np.array([width, height]) * reach if rng.random() < 0.6 else rng.uniform(0.5, 6, 2)
    return (centre + rng.uniform(-0.5, 0.5, (corners, 2)) * extent).astype(np.float32)


def random_mask(rng, height, width):
    """uint8 [height, width] of 0 and 1: one blob or specks, anything from a pixel to the whole picture."""
    x, y = pixel_centres(height, width)
    x, y = (x - rng.uniform(0, width)) / rng.uniform(0.5, width), (y - rng.uniform(0, height)) / height
    mask = np.hypot(x, y) < rng.uniform(0.05, 0.6)
    if rng.random() < 0.3:
        mask &= rng.random((height, width)) < 0.5
    mask[rng.integers(height), rng.integers(width)] = True
    return mask.astype(np.uint8)
