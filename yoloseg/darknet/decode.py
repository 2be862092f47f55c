"""Outputs of the network -> boxes as Darknet has them: decoding, and suppression per class.

In NumPy, on the few candidates above the threshold. Source: YOLOv3 (arXiv 1804.02767), section 2.1;
`scale_x_y` and DIoU suppression: YOLOv4 (arXiv 2004.10934), section 3.4; `new_coords`: Scaled-YOLOv4
(arXiv 2011.08036).
"""

from __future__ import annotations

import numpy as np

from yoloseg.darknet.plan import Yolo

NMS_IOU = 0.45  # Darknet's `detector test` has it built in
LARGEST_SIDE = 20.0  # of what the network says of a side: no box overflows


def candidates(output: np.ndarray, head: Yolo, imgsz: tuple[int, int], threshold: float) -> tuple:
    """What one head sees in one picture with a score of at least `threshold`, and above 0.

    output: float32 [h, w, A * (5 + K)], channels anchor-major, each x, y, width, height, objectness, K
    classes. imgsz: (height, width) of the network input. Returns boxes float32 [N, 4] xyxy in fractions of
    the network input (not cut at its border), scores float32 [N] = objectness x class probability, class ids
    int [N]; a box is there once for each class.
    """
    rows, columns, _ = output.shape
    cells = output.reshape(rows, columns, len(head.anchors), 5 + head.classes)
    squash = (lambda x: x) if head.new_coords else sigmoid
    threshold = max(threshold, 1e-9)
    objectness = squash(cells[..., 4])
    cell = np.nonzero(objectness >= threshold)  # the score is no larger
    scores = objectness[cell][:, None] * squash(cells[cell][:, 5:])
    box, class_ids = np.nonzero(scores >= threshold)
    y, x, anchor = (index[box] for index in cell)
    values = cells[y, x, anchor]
    centre = squash(values[:, :2]) * head.scale - (head.scale - 1) / 2 + np.stack([x, y], 1)
    centre = centre / (columns, rows)
    sides = np.asarray(head.anchors)[anchor] / imgsz[::-1]
    scale = np.minimum(values[:, 2:4], LARGEST_SIDE)
    sides = sides * (np.square(scale * 2) if head.new_coords else np.exp(scale))
    boxes = np.concatenate([centre - sides / 2, centre + sides / 2], 1)
    return boxes.astype(np.float32), scores[box, class_ids], class_ids


def suppress(
    boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, nms_kind: str, beta: float, limit: int
) -> np.ndarray:
    """Indices of the best `limit` boxes that greedy suppression per class keeps, by falling score.

    boxes: [N, 4] xyxy; scores, class_ids: [N]. A box goes when a kept one of its class and a larger score
    overlaps it by more than NMS_IOU. Overlap: IoU; with nms_kind "diounms" IoU - (d / c)^beta, d and c the
    squared distance of the centres and squared diagonal of the hull.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    for number in np.unique(class_ids):
        left = order[class_ids[order] == number]
        for _ in range(limit):
            if not len(left):
                break
            first, left = left[0], left[1:]
            kept.append(first)
            left = left[overlaps(boxes[first], boxes[left], nms_kind, beta) <= NMS_IOU]
    kept = np.array(kept, int)
    return kept[np.argsort(-scores[kept], kind="stable")][:limit]


def overlaps(box: np.ndarray, others: np.ndarray, nms_kind: str, beta: float) -> np.ndarray:
    """[4] and [N, 4] xyxy -> [N], as `suppress` says."""
    inner = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.prod(np.maximum(inner, 0), 1)
    areas = np.prod(others[:, 2:] - others[:, :2], 1) + np.prod(box[2:] - box[:2])
    overlap = common / np.maximum(areas - common, 1e-12)
    if nms_kind != "diounms":
        return overlap
    hull = np.maximum(box[2:], others[:, 2:]) - np.minimum(box[:2], others[:, :2])
    distance = np.square((box[:2] + box[2:] - others[:, :2] - others[:, 2:]) / 2).sum(1)
    return overlap - (distance / np.maximum(np.square(hull).sum(1), 1e-12)) ** beta


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), which does not overflow."""
    return (1 / (1 + np.exp(-np.maximum(x, -80.0)))).astype(np.float32)
