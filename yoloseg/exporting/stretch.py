"""Stretching inside the graph: OpenCV's bilinear resize of uint8 in keras.ops, for frames of one size or any.

A pixel of the network input is a weighted sum of two by two pixels of the frame. All of it is in whole
numbers and is rounded where OpenCV rounds: exact arithmetic would give every eighth value another level.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from yoloseg.exporting.frames import Placement

ONE = 2048  # weights are whole numbers of a 2048th


def stretch_frames(frames, imgsz: tuple[int, int]):
    """uint8 [B, H, W, 3] RGB -> float32 [B, h, w, 3] of whole numbers 0..255, and the Placement (N = 1).

    What `cv2.resize(frame, (w, h), interpolation=cv2.INTER_LINEAR)` gives. H and W may be unknown when the
    graph is made.
    """
    height, width = ops.shape(frames)[1:3]
    sides = [ops.cast(side, "float32") for side in (width, height)]
    scale = [target / side for target, side in zip(imgsz[::-1], sides, strict=True)]
    place = Placement.of((0, 0, *imgsz[::-1]), scale, (0, 0), sides)
    if tuple(frames.shape[1:3]) == tuple(imgsz):
        return ops.cast(frames, "float32"), place
    total = 0
    for row, row_weight in _neighbours(height, imgsz[0]):
        pixels, line = ops.take(frames, row, axis=1), 0
        for column, weight in _neighbours(width, imgsz[1]):
            line = line + ops.cast(ops.take(pixels, column, axis=2), "int32") * weight[:, None]
        # cut to 128ths of a level; with the row's weight, to quarters
        total = total + line // 16 * row_weight[:, None, None] // 65536
    return ops.cast((total + 2) // 4, "float32"), place


def _neighbours(size, cells: int) -> list[tuple]:
    """The pixel before and the one after the centre of each of `cells` pixels, which lie evenly over `size`:
    both as int32 [cells], which it is and its weight."""
    known = isinstance(size, int)
    xp, scale = (np, size / cells) if known else (ops, ops.cast(size, "float64") / cells)
    position = (xp.arange(cells, dtype="float64") + 0.5) * scale - 0.5
    position = ops.cast(position, "float32")
    first = ops.floor(position)
    weight = ops.cast(ops.round((position - first) * ONE), "int32")
    first = ops.cast(first, "int32")
    return [(ops.clip(first + k, 0, size - 1), part) for k, part in enumerate((ONE - weight, weight))]
