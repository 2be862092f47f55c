"""COCO's compressed RLE as the tracker uses it: overlaps of many with many, and moved by whole pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from yoloseg.data.coco_masks import decompress_counts


def rle_iou(first: Sequence[dict], second: Sequence[dict]) -> np.ndarray:
    """float64 [M, N]: IoU of every mask of `first` with every one of `second`, exact; 0 for empty masks.

    RLE dicts {"size": [H, W], "counts": bytes}, all of one size. Pairs whose boxes do not meet cost nothing;
    measured against matrix products at an eighth of the size and windows of pixels, this is the fastest
    (tests/benchmarks/association.py).
    """
    if not first or not second:
        return np.zeros((len(first), len(second)))
    return np.asarray(coco_mask.iou(list(first), list(second), [0] * len(second)))


def moved_rle(rle: dict, x: float, y: float) -> dict:
    """The mask moved by (x, y), rounded to whole pixels and held back where it would leave the frame.

    Runs go down the columns, so that moving changes only the length of the first and of the last run.
    """
    height, width = rle["size"]
    left, top, w, h = coco_mask.toBbox(rle).tolist()
    if not w or not h:
        return rle
    x = int(np.clip(round(x), -left, width - left - w))
    y = int(np.clip(round(y), -top, height - top - h))
    if x == 0 and y == 0:
        return rle
    counts = decompress_counts(rle["counts"])
    if len(counts) % 2 == 0:  # ends inside the mask
        counts = np.append(counts, 0)
    counts[0] += x * height + y
    counts[-1] -= x * height + y
    if counts[-1] == 0:
        counts = counts[:-1]
    return coco_mask.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
