"""Boxes: cells and anchors, encoding and decoding, IoU. float32, xyxy, pixels of the network input."""

from __future__ import annotations

import math

import numpy as np
from keras import ops

# exp() of a delta beyond this is no box any more: exp(4) = 55 times the anchor.
MAX_LOG_SCALE = 4.0


def anchor_boxes(anchors, stride: int, height: int, width: int) -> np.ndarray:
    """Anchors of one level centred on every cell.

    anchors: [A, 2] width, height in pixels. height, width: cells of the level.
    Returns float32 [height * width * A, 4] as centre x, centre y, width, height; anchors vary fastest, then
    columns.
    """
    anchors = np.asarray(anchors, np.float32)
    cy, cx = np.meshgrid((np.arange(height) + 0.5) * stride, (np.arange(width) + 0.5) * stride, indexing="ij")
    centres = np.stack([cx, cy], -1).reshape(-1, 1, 2)
    boxes = np.concatenate(np.broadcast_arrays(centres, anchors[None]), -1)
    return boxes.reshape(-1, 4).astype(np.float32)


def anchors_at(index, anchors, stride: int, width: int):
    """Rows `index` of `anchor_boxes`, computed: exported files need not hold the table.

    index: int [...] of cells x anchors. anchors: [A, 2]; width: cells of a row. Returns float32 [..., 4].
    """
    count = len(anchors)
    cell = index // count
    column, row = ops.cast(cell % width, "float32"), ops.cast(cell // width, "float32")
    sides = ops.take(np.asarray(anchors, np.float32), index % count, axis=0)
    return ops.concatenate([(column[..., None] + 0.5) * stride, (row[..., None] + 0.5) * stride, sides], -1)


def encode(boxes, anchors):
    """Deltas (x - x_a) / w_a, (y - y_a) / h_a, log(w / w_a), log(h / h_a).

    boxes: [..., 4] xyxy with positive sides. anchors: [..., 4] centre x, y, width, height. Returns [..., 4].
    """
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 1e-3)
    shift = (centre - anchors[..., :2]) / anchors[..., 2:]
    return ops.concatenate([shift, ops.log(sides / anchors[..., 2:])], -1)


def decode(deltas, anchors):
    """Inverse of `encode`; log scales are clipped to +-4, so that no box overflows. Returns [..., 4] xyxy."""
    deltas = ops.cast(deltas, "float32")
    centre = deltas[..., :2] * anchors[..., 2:] + anchors[..., :2]
    half = ops.exp(ops.clip(deltas[..., 2:], -MAX_LOG_SCALE, MAX_LOG_SCALE)) * anchors[..., 2:] / 2
    return ops.concatenate([centre - half, centre + half], -1)


def area(boxes):
    """[..., 4] xyxy -> [...], zero for boxes turned inside out."""
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def intersection(a, b):
    """Areas of overlap; a [..., 4] and b [..., 4] xyxy broadcast against each other."""
    # an axis at a time: arrays whose last axis is 2 long are five times slower
    width = ops.minimum(a[..., 2], b[..., 2]) - ops.maximum(a[..., 0], b[..., 0])
    height = ops.minimum(a[..., 3], b[..., 3]) - ops.maximum(a[..., 1], b[..., 1])
    return ops.maximum(width, 0.0) * ops.maximum(height, 0.0)


def iou(a, b):
    """Intersection over union; a and b broadcast. Two empty boxes have IoU 0, never NaN."""
    overlap = intersection(a, b)
    return overlap / ops.maximum(area(a) + area(b) - overlap, 1e-6)


def pairwise_iou(a, b):
    """[..., M, 4] and [..., N, 4] xyxy -> [..., M, N]."""
    return iou(ops.expand_dims(a, -2), ops.expand_dims(b, -3))


def ciou(a, b):
    """Complete IoU (Zheng et al., arXiv 1911.08287, section 3.2), elementwise; finite, with finite gradients.

    a, b: [..., 4] xyxy. Returns [...] in (-1.5, 1]. The trade-off alpha carries no gradient, as in the paper.
    """
    # an axis at a time, as in `intersection`; unstacked, for the gradient of a slice is an array of zeros
    a_left, a_top, a_right, a_bottom = ops.unstack(a, axis=-1)
    b_left, b_top, b_right, b_bottom = ops.unstack(b, axis=-1)
    a_width, a_height = ops.maximum(a_right - a_left, 0.0), ops.maximum(a_bottom - a_top, 0.0)
    b_width, b_height = ops.maximum(b_right - b_left, 0.0), ops.maximum(b_bottom - b_top, 0.0)
    width = ops.maximum(ops.minimum(a_right, b_right) - ops.maximum(a_left, b_left), 0.0)
    height = ops.maximum(ops.minimum(a_bottom, b_bottom) - ops.maximum(a_top, b_top), 0.0)
    overlap = width * height
    overlap = overlap / ops.maximum(a_width * a_height + b_width * b_height - overlap, 1e-6)
    hull_width = ops.maximum(a_right, b_right) - ops.minimum(a_left, b_left)
    hull_height = ops.maximum(a_bottom, b_bottom) - ops.minimum(a_top, b_top)
    diagonal = ops.square(hull_width) + ops.square(hull_height) + 1e-6
    apart = ops.square(a_left + a_right - b_left - b_right) + ops.square(a_top + a_bottom - b_top - b_bottom)
    angle_a = ops.arctan(ops.maximum(a_width, 1e-3) / ops.maximum(a_height, 1e-3))
    angle_b = ops.arctan(ops.maximum(b_width, 1e-3) / ops.maximum(b_height, 1e-3))
    aspect = ops.square(angle_a - angle_b) * (4 / math.pi**2)
    alpha = ops.stop_gradient(aspect / (1 - overlap + aspect + 1e-6))
    return overlap - apart / 4 / diagonal - alpha * aspect


def clip_boxes(boxes, region):
    """Boxes [..., 4] cut at the border of a region [..., 4] that broadcasts with them; both xyxy."""
    low, high = region[..., :2], region[..., 2:]
    low, high = ops.concatenate([low, low], -1), ops.concatenate([high, high], -1)
    return ops.minimum(ops.maximum(boxes, low), high)
