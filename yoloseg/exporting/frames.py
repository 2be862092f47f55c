"""Letterboxing inside the graph: `yoloseg.data.letterbox` in keras.ops, for frames of one size or of any.

A pixel of the network input is a weighted sum of a few pixels of the frame along each axis: the mean of the
area it covers where the frame shrinks, two neighbours where it grows. Each axis is a handful of gathers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from yoloseg.data.letterbox import PADDING


@dataclass(frozen=True)
class Placement:
    """Where a frame lies in the network input: scale, offsets and (height, width) of the scaled frame, all in
    whole pixels but the scale. Python numbers for frames of one size, scalar tensors otherwise."""

    scale: Any
    top: Any
    left: Any
    height: Any
    width: Any
    frame: tuple

    def region(self):
        """float32 [1, 4] xyxy: what of the network input is frame and not padding."""
        corners = (self.left, self.top, self.left + self.width, self.top + self.height)
        return ops.stack([ops.cast(value, "float32") for value in corners])[None]

    def to_frame(self, boxes):
        """Boxes [B, N, 4] xyxy from pixels of the network input to those of the frame, within it."""
        scale = ops.cast(self.scale, "float32")
        shift = ops.stack([ops.cast(value, "float32") for value in (self.left, self.top) * 2])
        height, width = (ops.cast(side, "float32") for side in self.frame)
        limit = ops.stack([width, height] * 2)
        return ops.minimum(ops.maximum((boxes - shift) / scale, 0.0), limit)


def letterbox_frames(frames, imgsz: tuple[int, int]):
    """uint8 [B, H, W, 3] RGB -> float32 [B, h, w, 3] of whole numbers 0..255, and the Placement.

    H and W may be unknown when the graph is made.
    """
    known = frames.shape[1] is not None and frames.shape[2] is not None
    place = _placement(frames, imgsz, known)
    if known and tuple(frames.shape[1:3]) == tuple(imgsz):
        return ops.cast(frames, "float32"), place
    xp = np if known else ops
    vertical = _Axis(xp, place.frame[0], imgsz[0], place.top, place.height, place)
    horizontal = _Axis(xp, place.frame[1], imgsz[1], place.left, place.width, place)
    images = vertical.resample(frames, 1)
    images = ops.floor(horizontal.resample(images, 2) + 0.5)  # half up, as OpenCV
    rows, columns = (ops.convert_to_tensor(axis.inside) for axis in (vertical, horizontal))
    inside = ops.logical_and(rows[:, None], columns[None, :])[None, :, :, None]
    return ops.where(inside, images, float(PADDING)), place


def _placement(frames, imgsz, known) -> Placement:
    """The numbers of `yoloseg.data.letterbox`, in float64."""
    if known:
        height, width = frames.shape[1:3]
        scale = min(imgsz[0] / height, imgsz[1] / width)
        new = [max(1, round(side * scale)) for side in (height, width)]
        offsets = [(target - side) // 2 for target, side in zip(imgsz, new, strict=True)]
        return Placement(scale, offsets[0], offsets[1], new[0], new[1], (height, width))
    height, width = (ops.cast(side, "float64") for side in ops.shape(frames)[1:3])
    scale = ops.minimum(imgsz[0] / height, imgsz[1] / width)
    new = [ops.maximum(ops.round(side * scale), 1.0) for side in (height, width)]
    offsets = [ops.floor((target - side) / 2) for target, side in zip(imgsz, new, strict=True)]
    return Placement(scale, offsets[0], offsets[1], new[0], new[1], (height, width))


class _Axis:
    """One axis of the frame, resampled to `cells` pixels of which `extent` from `start` on show the frame."""

    def __init__(self, xp, size, cells: int, start, extent, place: Placement):
        sides = [xp.round(side * place.scale) for side in place.frame]
        vanishing = xp.minimum(*sides) < 1  # so long a frame that its short side vanishes
        scale = xp.where(vanishing, extent / size, place.scale)
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
