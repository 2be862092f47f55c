"""Affine maps as float64 [2, 3] matrices, and polygons cut by the picture.

Coordinates are continuous (x, y): the centre of the pixel in row i, column j is (j + 0.5, i + 0.5).
"""

from __future__ import annotations

import cv2
import numpy as np


def compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The map that does `first`, then `second`."""
    matrix = second[:, :2] @ first
    matrix[:, 2] += second[:, 2]
    return matrix


def invert(matrix: np.ndarray) -> np.ndarray:
    """The map back. Raises numpy.linalg.LinAlgError when `matrix` flattens the plane."""
    inverse = np.linalg.inv(matrix[:, :2])
    return np.hstack([inverse, -inverse @ matrix[:, 2:]])


def transform_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """float64 [n, 2] (x, y) of points [n, 2] (x, y)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def box_to_square(box: np.ndarray, size: float) -> np.ndarray:
    """The map that takes box (x0, y0, x1, y1), sides > 0, onto (0, 0, size, size)."""
    x0, y0, x1, y1 = (float(v) for v in box)
    sx, sy = size / (x1 - x0), size / (y1 - y0)
    return np.array([[sx, 0.0, -x0 * sx], [0.0, sy, -y0 * sy]])


def similarity(factor: float, angle: float, anchor: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The map that scales by `factor`, turns by `angle` degrees and takes `anchor` [2] (x, y) to `target`."""
    turn = np.deg2rad(angle)
    linear = factor * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.hstack([linear, (np.asarray(target) - linear @ anchor)[:, None]])


def opencv_matrix(matrix: np.ndarray) -> np.ndarray:
    """`matrix` as OpenCV wants it: there the centre of the first pixel is (0, 0), not (0.5, 0.5)."""
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2].sum(1) / 2 - 0.5
    return shifted


def averaged(picture: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The picture [h, w, ...] and the matrix [2, 3] to warp it by; halved first where `matrix` shrinks it to
    less than 0.6 of its sides: bilinear sampling alone would make fine texture flicker."""
    shrink = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if shrink >= 0.6 or min(picture.shape[:2]) <= 2:
        return picture, matrix
    half = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return half, compose(matrix, np.array([[2.0, 0, 0], [0, 2.0, 0]]))  # 2 with odd sides, too


def horizontal_flip(width: int) -> np.ndarray:
    """The map that mirrors a picture of `width` pixels left to right."""
    return np.array([[-1.0, 0.0, width], [0.0, 1.0, 0.0]])


def extents_inside(points: np.ndarray, height: float, width: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Extents of the part of one polygon that lies in the picture (0, 0, width, height).

    points: float64 [n, 2], n >= 3, closed by itself, filled by the even-odd rule, concave or not.
    Returns (low [2], high [2]), or None where polygon and picture are apart. The extreme points of the common
    part lie on edges of the polygon or are corners of the picture inside it, so no polygon need be clipped.
    """
    limit = np.array([width, height], np.float64)
    low, high = points.min(0), points.max(0)
    if (low >= 0).all() and (high <= limit).all():
        return low, high
    if (high < 0).any() or (low > limit).any():
        return None
    corners = picture_corners(height, width)
    edges = cut_segments(points, np.roll(points, -1, axis=0), limit)
    touched = np.concatenate([*edges, corners[_inside_polygon(corners, points)]])
    return (touched.min(0), touched.max(0)) if len(touched) else None


def picture_corners(height: float, width: float) -> np.ndarray:
    """float64 [4, 2]."""
    return np.array([[0.0, 0.0], [width, 0.0], [0.0, height], [width, height]])


def cut_segments(start: np.ndarray, end: np.ndarray, limit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Segments start [n, 2] to end [n, 2] cut to the picture from (0, 0) to limit [2].

    Returns starts [m, 2] and ends [m, 2] of the m <= n that meet the picture (Liang and Barsky's method).
    """
    step = end - start
    flat = step == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        at_zero, at_limit = -start / step, (limit - start) / step
    between = (start >= 0) & (start <= limit)
    enter = np.where(flat, np.where(between, 0.0, np.inf), np.minimum(at_zero, at_limit))
    leave = np.where(flat, np.where(between, 1.0, -np.inf), np.maximum(at_zero, at_limit))
    enter, leave = enter.max(1).clip(0), leave.min(1).clip(None, 1)
    met = enter <= leave
    start, step = start[met], step[met]
    return tuple((start + at[met, None] * step).clip(0, limit) for at in (enter, leave))


def _inside_polygon(queries: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """bool [m]: which of queries [m, 2] lie inside polygon [n, 2] by the even-odd rule."""
    x, y = queries[:, :1], queries[:, 1:]
    (ax, ay), (bx, by) = polygon.T, np.roll(polygon, -1, axis=0).T
    crosses = (ay > y) != (by > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = ax + (y - ay) / (by - ay) * (bx - ax)
    return (crosses & (x < at)).sum(1) % 2 == 1
