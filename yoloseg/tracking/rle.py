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

    Runs go down the columns, so that moving changes only the length of the first and of the last run: two of
    the numbers in the compressed text, where each is written as its difference to one that stays.
    """
    height, width = rle["size"]
    left, top, w, h = coco_mask.toBbox(rle).tolist()
    x = int(min(max(round(x), -left), width - left - w))
    y = int(min(max(round(y), -top), height - top - h))
    further = x * height + y
    if not w or not further:
        return rle
    counts = rle["counts"]
    ends = np.flatnonzero((np.frombuffer(counts, np.uint8) - 48) & 32 == 0) + 1  # of each number
    if len(ends) % 2 == 0:  # the last run is inside the mask: one of length 0 comes after it
        runs = np.append(decompress_counts(counts), 0).tolist()
        counts = coco_mask.frPyObjects({"size": rle["size"], "counts": runs}, height, width)["counts"]
        ends = np.flatnonzero((np.frombuffer(counts, np.uint8) - 48) & 32 == 0) + 1
    first, last = int(ends[0]), int(ends[-2])
    moved = (
        _number(_value(counts[:first]) + further),
        counts[first:last],
        _number(_value(counts[last:]) - further),
    )
    return {"size": rle["size"], "counts": b"".join(moved)}


def _value(text: bytes) -> int:
    """A number of compressed counts: groups of 5 bits from the low end; bit 6 says that more follow, the last
    group's bit 5 is the sign (cocoapi `rleFrString`)."""
    value = 0
    for place, byte in enumerate(text):
        value |= (byte - 48 & 31) << 5 * place
    return value - (1 << 5 * len(text)) if text[-1] - 48 & 16 else value


def _number(value: int) -> bytes:
    """The other way."""
    text = bytearray()
    while True:
        group, value = value & 31, value >> 5
        more = value != (-1 if group & 16 else 0)
        text.append(group + 32 * more + 48)
        if not more:
            return bytes(text)
