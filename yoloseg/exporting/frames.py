"""Letterboxing inside the graph: `yoloseg.data.letterbox` in keras.ops, for frames of one size or of any.

A pixel of the network input is a weighted sum of a few pixels of the frame along each axis: the mean of the
area it covers where the frame shrinks, two neighbours where it grows. Each axis is a handful of gathers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from yoloseg.data.letterbox import PADDING


class Placement(NamedTuple):
    """Where N frames lie in the network input, float32 tensors. region: [N, 4] xyxy, what of the input is
    frame and not padding, as `yoloseg.data.letterbox.picture_region`. scale: [N, 1, 4], input pixels for a
    frame pixel across and down, twice. shift: [N, 1, 4], left and top of the frame, twice. limit: [N, 1, 4],
    width and height of the frame in its own pixels, twice."""

    region: Any
    scale: Any
    shift: Any
    limit: Any

    def to_frame(self, boxes):
        """Boxes [N, D, 4] xyxy from pixels of the network input to those of the frame, within it."""
        return ops.minimum(ops.maximum((boxes - self.shift) / self.scale, 0.0), self.limit)

    @classmethod
    def of(cls, region, scale, shift, limit) -> Placement:
        """N = 1. region: four numbers or scalar tensors; the others: two, across and down."""
        twice = [_tensor(*pair, *pair)[None, None] for pair in (scale, shift, limit)]
        return cls(_tensor(*region)[None], *twice)


def letterbox_frames(frames, imgsz: tuple[int, int], padding: float = PADDING):
    """uint8 [B, H, W, 3] RGB -> float32 [B, h, w, 3] of whole numbers 0..255, and the Placement (N = 1).

    padding: grey around the frame, 0..255. H and W may be unknown when the graph is made.
    """
    known = frames.shape[1] is not None and frames.shape[2] is not None
    if known:
        xp, (height, width) = np, frames.shape[1:3]
    else:
        xp, (height, width) = ops, (ops.cast(side, "float64") for side in ops.shape(frames)[1:3])
    scale = xp.minimum(imgsz[0] / height, imgsz[1] / width)
    fitted = [xp.maximum(xp.round(side * scale), 1.0) for side in (height, width)]
    extents = [xp.minimum(new, side * scale) for new, side in zip(fitted, (height, width), strict=True)]
    top, left = (xp.floor((target - side) / 2) for target, side in zip(imgsz, fitted, strict=True))
    region = left, top, left + extents[1], top + extents[0]
    place = Placement.of(region, (scale, scale), (left, top), (width, height))
    if known and (height, width) == tuple(imgsz):
        return ops.cast(frames, "float32"), place
    vanishing = xp.minimum(*(xp.round(side * scale) for side in (height, width))) < 1
    tall, wide = (xp.where(vanishing, fitted[i] / side, scale) for i, side in enumerate((height, width)))
    vertical = _Axis(xp, height, imgsz[0], top, fitted[0], tall)
    horizontal = _Axis(xp, width, imgsz[1], left, fitted[1], wide)
    images = horizontal.resample(vertical.resample(frames, 1), 2)
    images = ops.floor(images + 0.5)  # half up, as OpenCV
    inside = ops.cast(vertical.inside, "float32")[:, None] * ops.cast(horizontal.inside, "float32")
    return ops.where(inside[None, :, :, None] > 0, images, float(padding)), place


def _tensor(*values):
    return ops.stack([ops.cast(value, "float32") for value in values])


class _Axis:
    """One axis of a frame, `size` pixels, resampled to `cells` of which `extent` from `start` on show it."""

    def __init__(self, xp, size, cells: int, start, extent, scale):
        position = xp.arange(cells, dtype="float64") - start
        self.xp, self.size = xp, size
        self.inside = xp.logical_and(position >= 0, position < extent)
        self.shrinks = scale < 1
        self.low, self.high = position / scale, xp.minimum((position + 1) / scale, size)
        self.centre = xp.clip((position + 0.5) / scale - 0.5, 0.0, size - 1.0)
        self.first = xp.floor(xp.where(self.shrinks, self.low, self.centre))
        self.taps = xp.where(self.shrinks, xp.ceil(1 / scale) + 1, 2)

    def tap(self, k):
        """Which pixel is the k-th for every cell, int32 [cells], and its weight, float32 [cells]."""
        xp, pixel = self.xp, self.first + k
        covered = xp.minimum(self.high, pixel + 1) - xp.maximum(self.low, pixel)
        covered = xp.maximum(covered, 0.0) / xp.maximum(self.high - self.low, 1e-9)
        near = xp.maximum(1 - xp.abs(self.centre - pixel), 0.0)
        weight = xp.where(self.inside, xp.where(self.shrinks, covered, near), 0.0)
        pixel = xp.clip(pixel, 0.0, self.size - 1.0)
        return ops.cast(pixel, "int32"), ops.cast(weight, "float32")

    def resample(self, frames, axis: int):
        """[B, H, W, 3] -> float32 with `cells` in place of one side."""

        def add(k, total):
            pixel, weight = self.tap(k)
            part = ops.cast(ops.take(frames, pixel, axis=axis), "float32")
            return total + part * ops.reshape(weight, (-1,) + (1,) * (3 - axis))

        if self.xp is np:
            total = 0.0
            for k in range(int(self.taps)):
                total = add(float(k), total)
            return total
        start = ops.zeros_like(ops.cast(ops.take(frames, self.tap(0.0)[0], axis=axis), "float32"))
        taps = ops.cast(self.taps, "int32")
        return ops.fori_loop(0, taps, lambda k, total: add(ops.cast(k, "float64"), total), start)
