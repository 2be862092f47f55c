"""`yoloseg.darknet.decode` in keras.ops and static shapes, for batches: what exported files compute.

Sources: as there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from keras import ops

from yoloseg.darknet.decode import LARGEST_SIDE, NMS_IOU
from yoloseg.darknet.plan import Yolo
from yoloseg.modeling.boxes import area, intersection
from yoloseg.modeling.nms import suppress_pairs, top

CANDIDATES = 1000  # boxes, once for each class, that suppression sees


def find_boxes(
    outputs: Sequence, heads: Sequence[Yolo], imgsz: tuple[int, int], threshold: float, limit: int
) -> dict:
    """The best `limit` boxes that suppression per class keeps of the best CANDIDATES, by falling score.

    outputs: float32 [B, h, w, A * (5 + K)] of each head. imgsz: (height, width) of the network input.
    Returns scores float32 [B, D], at least `threshold`, which is above 0, or 0 in empty slots; boxes float32
    [B, D, 4] xyxy in fractions of the network input, not cut at its border; classes int32 [B, D]. D is
    `limit`, or the number of all boxes, once for each class, where that is less.
    """
    decoded = [decode(output, head, imgsz) for output, head in zip(outputs, heads, strict=True)]
    boxes, scores = (ops.concatenate(parts, axis=1) for parts in zip(*decoded, strict=True))
    found = best_pairs(boxes, scores, CANDIDATES)
    found["scores"] = ops.where(found["scores"] >= threshold, found["scores"], 0.0)
    return suppress(found, heads[-1].nms_kind, heads[-1].beta_nms, limit)


def decode(output, head: Yolo, imgsz: tuple[int, int]) -> tuple:
    """All that one head says: boxes float32 [B, N, 4] as in `find_boxes`, and scores float32 [B, N, K],
    objectness x class probability. Anchors vary fastest, then columns."""
    rows, columns = output.shape[1:3]
    cells = ops.reshape(output, (-1, rows * columns, len(head.anchors), 5 + head.classes))
    squash = (lambda x: x) if head.new_coords else ops.sigmoid
    y, x = np.indices((rows, columns), "float32").reshape(2, -1, 1)
    centre = squash(cells[..., :2]) * head.scale - (head.scale - 1) / 2 + np.stack([x, y], -1)
    centre = centre / np.array([columns, rows], "float32")
    scale = ops.minimum(cells[..., 2:4], LARGEST_SIDE)
    scale = ops.square(scale * 2) if head.new_coords else ops.exp(scale)
    half = scale * (np.array(head.anchors, "float32") / np.array(imgsz[::-1], "float32") / 2)
    boxes = ops.concatenate([centre - half, centre + half], -1)
    scores = squash(cells[..., 4:5]) * squash(cells[..., 5:])
    count = rows * columns * len(head.anchors)
    return ops.reshape(boxes, (-1, count, 4)), ops.reshape(scores, (-1, count, head.classes))


def best_pairs(boxes, scores, limit: int) -> dict:
    """The best `limit` pairs of a box and a class, by falling score: scores [B, M], boxes [B, M, 4], classes
    int32 [B, M]. Exact: they lie in the `limit` boxes whose best class has the largest scores.

    boxes: [B, N, 4]; scores: [B, N, K].
    """
    kinds = scores.shape[-1]
    _, box = ops.top_k(ops.max(scores, axis=-1), min(limit, boxes.shape[1]))
    boxes, scores = take_rows(boxes, box), take_rows(scores, box)
    pairs = boxes.shape[1] * kinds
    scores, pair = ops.top_k(ops.reshape(scores, (-1, pairs)), min(limit, pairs))
    return {"scores": scores, "boxes": take_rows(boxes, pair // kinds), "classes": pair % kinds}


def take_rows(values, index):
    """[B, N, C] and int32 [B, M] -> [B, M, C]. Rows are gathered whole; `take_along_axis` takes numbers."""
    count, channels = values.shape[1:]
    start = ops.arange(ops.shape(values)[0], dtype="int32") * count
    rows = ops.take(ops.reshape(values, (-1, channels)), index + start[:, None], axis=0)
    return ops.reshape(rows, (-1, index.shape[1], channels))


def suppress(found: dict, nms_kind: str, beta: float, limit: int) -> dict:
    """The best `limit` that greedy suppression per class keeps, as `yoloseg.darknet.decode.suppress`.

    found: of `best_pairs`; a score of 0 is an empty slot. Returns the same with `limit` slots, at most N.
    """
    overlap, classes = overlaps(found["boxes"], nms_kind, beta), found["classes"]
    same = ops.equal(classes[:, :, None], classes[:, None])
    keep = suppress_pairs(ops.where(same, overlap, 0.0), found["scores"], NMS_IOU)
    return top(found | {"scores": found["scores"] * keep}, limit)


def overlaps(boxes, nms_kind: str, beta: float):
    """[B, N, 4] xyxy -> [B, N, N], as `suppress` compares them."""
    one, other = boxes[:, :, None], boxes[:, None]
    common = intersection(one, other)
    overlap = common / ops.maximum(area(one) + area(other) - common, 1e-12)
    if nms_kind != "diounms":
        return overlap
    distance = hull = 0.0
    for low, high in ((0, 2), (1, 3)):
        apart = one[..., low] + one[..., high] - other[..., low] - other[..., high]
        side = ops.maximum(one[..., high], other[..., high]) - ops.minimum(one[..., low], other[..., low])
        distance, hull = distance + ops.square(apart / 2), hull + ops.square(side)
    return overlap - (distance / ops.maximum(hull, 1e-12)) ** beta
