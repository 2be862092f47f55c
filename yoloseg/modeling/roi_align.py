"""ROIAlign (Mask R-CNN, arXiv 1703.06870) as two small matrix products, and adaptive feature pooling.

The grid of sampling points of a ROI is a product of a row grid and a column grid, and bilinear weights are
products too: so the mean over a bin's samples is exactly rows [out, H] @ map [H, W, C] @ columns [W, out]. No
gather forward, no scatter backward; it runs on every backend, exports as MatMul, and for boxes within the
picture is the same as the aligned ROIAlign of detectron2.
"""

from __future__ import annotations

import numpy as np
from keras import ops

SAMPLES = 2  # sampling points a bin and axis, as Mask R-CNN


def sampling_matrix(low, high, out: int, size: int, *, zero_outside: bool = False):
    """Weights that resample an axis of `size` cells onto `out` bins from `low` to `high`, two samples a bin.

    low, high: float32 [B, R] in cells (cell i spans i to i + 1). Samples beyond the outermost cell centres
    take the border's value, as ROIAlign does; with `zero_outside`, samples outside 0..size count as zero.
    Returns float32 [B, R, out, size].
    """
    fraction = ((np.arange(out * SAMPLES) + 0.5) / (out * SAMPLES)).astype("float32")
    points = low[..., None] + (high - low)[..., None] * fraction - 0.5                       # [B, R, out * 2]
    nearest = ops.clip(points, 0.0, float(size - 1))
    weights = ops.maximum(1.0 - ops.abs(nearest[..., None] - np.arange(size, dtype="float32")), 0.0)
    if zero_outside:
        inside = ops.logical_and(points > -0.5, points < size - 0.5)
        weights = weights * ops.cast(inside, "float32")[..., None]
    weights = ops.reshape(weights, (-1, ops.shape(low)[1], out, SAMPLES, size))
    return ops.mean(weights, axis=-2)


def roi_align(features, rois, stride: int, out: int = 14):
    """Cuts every ROI from one map.

    features: [B, H, W, C]; H, W and C static. rois: float32 [B, R, 4] xyxy, pixels of the network input.
    Returns [B, R, out, out, C] in the dtype of `features`.
    """
    _, height, width, channels = features.shape
    count = ops.shape(rois)[1]
    cells = rois / stride
    rows = sampling_matrix(cells[..., 1], cells[..., 3], out, height)                      # [B, R, out, H]
    columns = sampling_matrix(cells[..., 0], cells[..., 2], out, width)                    # [B, R, out, W]
    rows, columns = ops.cast(rows, features.dtype), ops.cast(columns, features.dtype)
    flat = ops.reshape(features, (-1, height, width * channels))
    x = ops.matmul(ops.reshape(rows, (-1, count * out, height)), flat)                   # [B, R * out, W * C]
    x = ops.reshape(x, (-1, count, out, width, channels))
    return ops.matmul(columns[:, :, None], x)                                            # [B, R, out, out, C]


def adaptive_feature_pooling(embeddings, rois, strides, out: int = 14):
    """Every ROI cut from all levels (PANet, arXiv 1803.01534, section 3.2).

    embeddings: list of [B, H_i, W_i, E]. Returns a list of [B * R, out, out, E], one a level.
    """
    cuts = []
    for features, stride in zip(embeddings, strides, strict=True):
        cut = roi_align(features, rois, stride, out)
        cuts.append(ops.reshape(cut, (-1, out, out, features.shape[-1])))
    return cuts


def crop_masks(masks, boxes, rois, out: int = 28):
    """Mask targets: what a ROI shows of an instance whose mask is given in the frame of its own box.

    masks: [B, R, M, M] in 0..1, the mask of the instance matched to each ROI, resampled to that instance's
    box. boxes: [B, R, 4] those boxes; rois: [B, R, 4]; both xyxy in the same pixels. Outside its box the mask
    is 0.
    Returns float32 [B, R, out, out] in 0..1.
    """
    size = masks.shape[-1]
    origin = ops.tile(boxes[..., :2], (1, 1, 2))
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 1e-3)
    local = (rois - origin) * (size / ops.tile(sides, (1, 1, 2)))
    rows = sampling_matrix(local[..., 1], local[..., 3], out, size, zero_outside=True)
    columns = sampling_matrix(local[..., 0], local[..., 2], out, size, zero_outside=True)
    x = ops.matmul(rows, ops.cast(masks, "float32"))                                          # [B, R, out, M]
    return ops.matmul(x, ops.transpose(columns, (0, 1, 3, 2)))                              # [B, R, out, out]
