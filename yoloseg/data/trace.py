"""A mask's outline along the edges of its pixels, as polygons that fill to the same mask again."""

from __future__ import annotations

import cv2
import numpy as np

# Steps along the four sides of a pixel, the object on the right: right, down, left, up (dx, dy).
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def trace(mask: np.ndarray, tolerance: float = 0.0) -> list[np.ndarray]:
    """Polygons float32 [n, 2] (x, y) in pixels, one for each part of a mask bool [H, W].

    Parts are 4-connected. Corners lie on the corners of pixels; holes are joined to their outline by bridges
    of no width. tolerance: pixels by which an outline may be simplified; 0 keeps the mask exactly. Raises
    nothing: an empty mask has no polygon.
    """
    if not mask.any():
        return []
    ys, xs = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    top, left = int(ys[0]), int(xs[0])
    part = np.pad(mask[top : ys[-1] + 1, left : xs[-1] + 1].astype(np.uint8), 1)
    _, labels = cv2.connectedComponents(part, connectivity=4)
    outlines: dict[int, list[np.ndarray]] = {}
    holes: list[tuple[int, np.ndarray]] = []
    for loop, owner in _loops(part, labels):
        points = loop - 1 + (left, top)
        if tolerance > 0:
            simple = cv2.approxPolyDP(points.astype(np.float32)[:, None], tolerance, closed=True)[:, 0]
            points = simple if len(simple) >= 3 else points
        if _signed_area(loop) > 0:
            outlines[owner] = [points]
        else:
            holes.append((owner, points))
    for owner, points in holes:
        outlines[owner].append(points)
    return [joined(loops).astype(np.float32) for loops in outlines.values()]


def joined(loops: list[np.ndarray]) -> np.ndarray:
    """Several closed outlines [n, 2] as one: bridges go from the first to each other one and back, so that
    what they enclose together, by the even-odd rule, stays the same."""
    first, *others = loops
    for other in others:
        here = int(((first - other[0]) ** 2).sum(1).argmin())
        first = np.concatenate([first[: here + 1], other, other[:1], first[here:]])
    return first


def _loops(part: np.ndarray, labels: np.ndarray):
    """Closed walks int [n, 2] along the pixels' sides, corners only, and the label of the object on their
    right. Where two pixels touch at a corner the walk turns right: it stays with its pixel."""
    edges: dict[tuple[int, int, int], int] = {}  # corner x, y and direction of a side -> label
    neighbours = ((-1, 0), (0, 1), (1, 0), (0, -1))  # row, column beyond the top, right, bottom, left side
    starts = ((0, 0), (1, 0), (1, 1), (0, 1))  # x, y of the corner of a pixel where its side begins
    rows, columns = np.nonzero(part)
    for direction in range(4):
        dy, dx = neighbours[direction]
        free = part[rows + dy, columns + dx] == 0
        x, y = columns[free] + starts[direction][0], rows[free] + starts[direction][1]
        owners = labels[rows[free], columns[free]]
        sides = zip(x.tolist(), y.tolist(), owners.tolist(), strict=True)
        edges |= {(corner_x, corner_y, direction): owner for corner_x, corner_y, owner in sides}
    left = set(edges)
    while left:
        start = next(iter(left))
        (x, y, direction), last, corners = start, None, []
        while last is None or (x, y, direction) != start:
            left.remove((x, y, direction))
            if direction != last:
                corners.append((x, y))
            last = direction
            x, y = x + _STEPS[direction][0], y + _STEPS[direction][1]
            turns = ((direction + 1) % 4, direction, (direction - 1) % 4)
            direction = next(turn for turn in turns if (x, y, turn) in edges)
        if last == start[2]:  # the walk began in the middle of a side
            corners = corners[1:]
        yield np.array(corners), edges[start]


def _signed_area(loop: np.ndarray) -> float:
    """Positive for a walk with its inside on the right, y down."""
    x, y = loop[:, 0].astype(float), loop[:, 1].astype(float)
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2
