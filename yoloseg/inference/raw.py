"""What a raw file leaves out, in NumPy alone: decoding, suppression, ROIAlign. Copy this file at will.

A file exported with `--raw` gives what the network says of every cell, and runs the mask subnet apart
(signature `masks`); `postprocess` is what lies between. The numbers it needs are in the file's metadata.
"""

from collections.abc import Callable

import numpy as np

LEVELS = ("P2", "P3", "P4", "P5")
STRIDES = (4, 8, 16, 32)
BINS = 14  # of a ROI and axis; two samples each


def postprocess(
    outputs: dict[str, np.ndarray],
    document: dict,
    subnet: Callable[[list[np.ndarray]], np.ndarray],
    region: tuple[float, float, float, float],
    threshold: float | None = None,
) -> dict[str, np.ndarray]:
    """The instances of one frame.

    outputs: "P2_boxes" to "P5_embedding", float32 [1, H, W, C], of the signature serving_default. document:
    the file's metadata. subnet: four ROI cuts float32 [D, 14, 14, E], P2 to P5, D = its max_detections ->
    mask probabilities [D, 28, 28], the signature `masks`. region: xyxy in pixels of the network input, what
    of it is picture and not padding. threshold: least score; that of the document if not given.

    Returns boxes float32 [N, 4] xyxy in pixels of the network input, scores [N], falling, classes int [N],
    masks float32 [N, 28, 28].
    """
    slots = document["max_detections"]
    threshold = document["score_threshold"] if threshold is None else threshold
    each = max(document["candidates"], slots)  # older files tell fewer
    found = []
    for level, stride, anchors in zip(LEVELS, STRIDES, document["anchors"], strict=True):
        values = {name[3:]: value for name, value in outputs.items() if name.startswith(level)}
        best = _candidates(values, anchors, stride, each, region, document)
        if document["two_stage_nms"]:
            best = best[suppress(best[:, :4], document["nms_iou"])]
        found.append(best)
    found = np.concatenate(found)
    found = found[np.argsort(-found[:, 4], kind="stable")][: document.get("candidates_of_all_levels")]
    found = found[suppress(found[:, :4], document["nms_iou"])][:slots]
    found = found[found[:, 4] >= max(threshold, 1e-9)]
    boxes = np.zeros((slots, 4), np.float32)
    boxes[: len(found)] = found[:, :4]
    cuts = [
        roi_align(outputs[f"{level}_embedding"][0], boxes, stride)
        for level, stride in zip(LEVELS, STRIDES, strict=True)
    ]
    return {
        "boxes": found[:, :4].astype(np.float32),
        "scores": found[:, 4].astype(np.float32),
        "classes": found[:, 5].astype(int),
        "masks": subnet(cuts)[: len(found)] if len(found) else np.zeros((0, 28, 28), np.float32),
    }


def _candidates(values, anchors, stride, count, region, document) -> np.ndarray:
    """[N, 6] boxes, score and class of a level's best, by falling score; inconsistent boxes are left out."""
    per_cell, (height, width) = len(anchors), values["boxes"].shape[1:3]
    scores = 1 / (1 + np.exp(-np.clip(values["objectness"].reshape(-1), -80, 80)))
    classes = np.zeros(len(scores), int)
    if "classes" in values:
        logits = values["classes"].reshape(-1, len(document["classes"]))
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        likeliest, share = logits.argmax(axis=1), 1 / powers.sum(axis=1)
        if not document["classes_per_anchor"]:
            likeliest, share = np.repeat(likeliest, per_cell), np.repeat(share, per_cell)
        classes, scores = likeliest, scores * share
    index = np.argsort(-scores, kind="stable")[:count]
    cell = index // per_cell
    centres = (np.stack([cell % width, cell // width], axis=1) + 0.5) * stride
    sides = np.asarray(anchors, np.float32)[index % per_cell]
    deltas = values["boxes"].reshape(-1, 4)[index]
    centres = centres + deltas[:, :2] * sides
    half = np.exp(np.clip(deltas[:, 2:], -4, 4)) * sides / 2
    boxes = np.concatenate([centres - half, centres + half], axis=1)
    boxes = np.minimum(np.maximum(boxes, np.tile(region[:2], 2)), np.tile(region[2:], 2))
    small, large = np.sort(boxes[:, 2:] - boxes[:, :2], axis=1).T
    kept = (small >= 5e-4 * stride * min(height, width)) & (small >= 1e-3 * large)
    return np.column_stack([boxes, scores[index], classes[index]])[kept]


def suppress(boxes: np.ndarray, iou: float) -> np.ndarray:
    """Greedy non-maximum suppression: indices of the boxes [N, 4], by falling score, that are kept."""
    kept = []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        kept.append(i)
        sides = np.minimum(boxes[i, 2:], boxes[i + 1 :, 2:]) - np.maximum(boxes[i, :2], boxes[i + 1 :, :2])
        overlap = np.maximum(sides, 0).prod(axis=1)
        alive[i + 1 :] &= overlap <= iou * np.maximum(areas[i] + areas[i + 1 :] - overlap, 1e-6)
    return np.array(kept, int)


def roi_align(features: np.ndarray, boxes: np.ndarray, stride: int) -> np.ndarray:
    """features [H, W, C], boxes [N, 4] in pixels of the network input -> float32 [N, 14, 14, C]."""
    height, width, _ = features.shape
    rows = _samples(boxes[:, 1] / stride, boxes[:, 3] / stride, height)
    columns = _samples(boxes[:, 0] / stride, boxes[:, 2] / stride, width)
    return np.einsum("nih,hwc,njw->nijc", rows, features, columns, optimize=True).astype(np.float32)


def _samples(low: np.ndarray, high: np.ndarray, size: int) -> np.ndarray:
    """[N, 14, size]: how much of each cell is in each bin, bilinear at two samples a bin."""
    points = low[:, None] + (high - low)[:, None] * (np.arange(2 * BINS) + 0.5) / (2 * BINS) - 0.5
    points = np.clip(points, 0, size - 1)
    weights = np.maximum(1 - np.abs(points[..., None] - np.arange(size)), 0)
    return weights.reshape(len(low), BINS, 2, size).mean(axis=2)
