"""Greedy association of detections with tracks (YOLOv4+1 report, section 3.1)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Association(NamedTuple):
    """matches: (row, column) pairs by row. new: rows that no column is near to. doubtful: the other rows."""

    matches: list[tuple[int, int]]
    new: list[int]
    doubtful: list[int]


def associate(cost: np.ndarray, gating: float = 0.99, margin: float = 0.01) -> Association:
    """Matches rows (detections of a frame) with columns (tracks), no column twice.

    cost: float [M, N], finite, lower is better: 1 - IoU. M or N may be 0.
    gating: a row whose lowest cost is not below it is new. best friend: of the others, a row is matched with
    the column of its lowest cost if it is that column's lowest, too. lonely best friend: and if the second
    lowest cost of that row, and of that column, are both at least `margin` higher (where there is no second,
    nothing is asked). Rows that fail one of the last two are doubtful.
    0.99 and 0.01 are the report's values. Raises ValueError for a cost that is not a finite matrix.
    """
    cost = np.asarray(cost, np.float64)
    if cost.ndim != 2 or not np.isfinite(cost).all():
        raise ValueError(f"cost must be a finite matrix [detections, tracks], not {cost.dtype} {cost.shape}")
    rows, columns = cost.shape
    if rows == 0 or columns == 0:
        return Association([], list(range(rows)), [])
    best = cost.argmin(axis=1)
    lowest = cost[np.arange(rows), best]
    near = lowest < gating
    friend = cost.argmin(axis=0)[best] == np.arange(rows)
    lonely = (_second(cost) - lowest >= margin) & (_second(cost.T)[best] - lowest >= margin)
    matched = near & friend & lonely
    return Association(
        [(int(row), int(best[row])) for row in np.flatnonzero(matched)],
        np.flatnonzero(~near).tolist(),
        np.flatnonzero(near & ~matched).tolist(),
    )


def _second(cost: np.ndarray) -> np.ndarray:
    """The second lowest cost of each row, infinity where there is one column."""
    if cost.shape[1] < 2:
        return np.full(len(cost), np.inf)
    return np.partition(cost, 1, axis=1)[:, 1]
