"""Greedy non-maximum suppression without a loop over boxes, in keras.ops alone: it trains and exports."""

from __future__ import annotations

import numpy as np
from keras import ops

from yoloseg.modeling.boxes import pairwise_iou


def suppress(boxes, scores, iou_threshold: float):
    """Which boxes greedy, class-agnostic NMS keeps. Exact.

    boxes: float32 [B, N, 4] xyxy, sorted by falling score. scores: [B, N]; boxes of score <= 0 are empty
    slots. Returns float32 [B, N], 1 for kept. A box goes when a kept box before it overlaps it by more than
    `iou_threshold`.

    Greedy NMS is the only fixed point of keep_i = not any(keep_j and j < i and IoU_ij > t): box 0 is right
    from the start, and each round makes at least one more box final. It usually ends after a handful of
    rounds, at most N.
    """
    return suppress_pairs(pairwise_iou(boxes, boxes), scores, iou_threshold)


def suppress_pairs(overlaps, scores, threshold: float):
    """`suppress` with the overlap of every pair given: [B, N, N], compared with `threshold`."""
    count = overlaps.shape[1]
    # 0 x scores: otherwise converters store the table of all pairs, N x N, in the file
    position = np.arange(count, dtype="float32") + 0.0 * ops.cast(scores[0], "float32")
    before = position[None, :] < position[:, None]                      # [i, j]: j comes before i
    conflict = ops.logical_and(overlaps > threshold, before)
    conflict = ops.cast(conflict, "float32")
    valid = ops.cast(scores > 0, "float32")

    def settle(keep, _):
        blocked = ops.max(conflict * keep[:, None, :], axis=-1)
        return valid * (1.0 - blocked), keep

    def unsettled(keep, last):
        return ops.any(ops.not_equal(keep, last))

    start = (valid, ops.zeros_like(valid) - 1.0)
    keep, _ = ops.while_loop(unsettled, settle, start, maximum_iterations=count + 1)
    return keep


def top(candidates: dict, k: int) -> dict:
    """The k best by score, sorted. candidates: "scores" [B, N] and others [B, N] or [B, N, C]; N becomes
    min(k, N).
    """
    scores, index = ops.top_k(candidates["scores"], min(k, candidates["scores"].shape[1]))

    def pick(values):
        return ops.take_along_axis(values, index[..., None] if len(values.shape) == 3 else index, axis=1)

    return {name: scores if name == "scores" else pick(values) for name, values in candidates.items()}
