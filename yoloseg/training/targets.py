"""Which anchor learns which object. Boxes are float32 xyxy in pixels of the network input; shapes are static
but for B.

Ground truth of a batch: boxes [B, G, 4], classes int32 [B, G] (>= 0 an object, -1 an empty slot, -2 a crowd
region).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from yoloseg.modeling.boxes import area, intersection, pairwise_iou
from yoloseg.training.recipes import Recipe

# Objects are seen at least this large when they are matched to anchors and cells.
MIN_SIDE = 1.0
# Objects whose scores with all anchors are held at a time: a crowd of 500 would need gigabytes.
PAIRED = 16


@dataclass(frozen=True)
class Assignment:
    """Foreground anchors of one level, as N candidates a picture.

    index: int32 [B, N] into the level's H * W * A anchors, or None when N is that number and candidates are
    in order.
    matched: int32 [B, N], the object (0..G-1) of each candidate. positive: float32 [B, N], 1 for foreground.
    class_positive: float32 [B, N], 1 where the candidate learns the class. ignore: float32 [B, H * W * A], 1
    for anchors that are neither foreground nor background.
    """

    index: Any
    matched: Any
    positive: Any
    class_positive: Any
    ignore: Any


def corners(anchors: np.ndarray) -> np.ndarray:
    """Centre x, centre y, width, height -> xyxy."""
    return np.concatenate([anchors[:, :2] - anchors[:, 2:] / 2, anchors[:, :2] + anchors[:, 2:] / 2], -1)


def grown(boxes):
    """Boxes with sides of at least MIN_SIDE, same centre: a zero-size box still has a shape and an IoU."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = ops.maximum(boxes[..., 2:] - boxes[..., :2], MIN_SIDE) / 2
    return ops.concatenate([centre - half, centre + half], -1)


def crowd_ignore(anchor_xyxy: np.ndarray, boxes, classes):
    """float32 [B, N]: 1 for anchors at least half of which lie in a crowd region."""
    crowd = ops.cast(ops.equal(classes, -2), "float32")

    def covered():
        def share(part):
            overlap = intersection(anchor_xyxy[None, :, None], boxes[:, None, part])
            return overlap / area(anchor_xyxy)[:, None] * crowd[:, None, part]

        return ops.cast(largest(share, boxes.shape[1])[0] >= 0.5, "float32")

    nothing = ops.zeros_like(boxes[:, :1, 0]) * np.zeros((1, len(anchor_xyxy)), np.float32)
    return ops.cond(ops.any(crowd > 0), covered, lambda: nothing)


def assign_by_iou(
    anchors: np.ndarray, grid: tuple[int, int], boxes, classes, level: int, recipe: Recipe, level_best=None
) -> Assignment:
    """The report's code: the object with the largest IoU, foreground and background thresholds scaled per
    level.

    anchors: [H * W * A, 4] centre x, y, width, height; grid: (H, W). level_best: bool [B, G, A], True at an
    object's best-fitting anchor over all levels, which at its centre's cell is foreground whatever its IoU,
    so that no object is left without one (Faster R-CNN, arXiv 1506.01497, section 3.1.2, has such a rule);
    not given, objects that no anchor fits are not learned.
    """
    scale = recipe.level_scale[level]
    boxes = grown(boxes)
    real = ops.cast(classes >= 0, "float32")
    best, matched = largest_iou(anchors, boxes, real)                                     # [B, N]
    positive = ops.cast(best >= recipe.foreground * scale, "float32")
    if level_best is not None:
        owner = at_centre(anchors, grid, boxes, ops.logical_and(level_best, classes[..., None] >= 0))
        matched = ops.where(owner >= 0, owner, matched)
        positive = ops.maximum(positive, ops.cast(owner >= 0, "float32"))
    between = ops.cast(best >= recipe.background * scale, "float32") * (1.0 - positive)
    ignore = ops.maximum(between, crowd_ignore(corners(anchors), boxes, classes) * (1.0 - positive))
    class_positive = positive
    if recipe.classes_at == "centroid":
        # The class is encoded at the centroid only: by all anchors of that cell, whatever their IoU.
        centre = (boxes[..., :2] + boxes[..., 2:]) / 2                                    # [B, G, 2]
        stride = 2 * anchors[0, :2]

        def here(part):
            """0 for an object whose centroid is elsewhere, else 1 + IoU: [B, N, G]."""
            offset = ops.abs(anchors[None, :, None, :2] - centre[:, None, part])          # [B, N, G, 2]
            inside = ops.cast(ops.all(offset <= stride / 2, axis=-1), "float32") * real[:, None, part]
            return inside * (1.0 + pairwise_iou(corners(anchors), boxes[:, part]))

        score, nearest = largest(here, boxes.shape[1])
        class_positive = ops.cast(score > 0, "float32")
        matched = ops.where(positive > 0, matched, nearest)
    return Assignment(None, matched, positive, class_positive, ignore)


def largest_iou(anchors: np.ndarray, boxes, real):
    """Of the objects with real (float32 [B, G]) 1: the largest IoU with each anchor, float32 [B, N], and
    whose it is, int32 [B, N]; 0 where there is none."""

    def overlap(part):
        return pairwise_iou(corners(anchors), boxes[:, part]) * real[:, None, part]

    return largest(overlap, boxes.shape[1])


def largest(score, count: int):
    """The largest of the scores [B, N, G] of `count` objects, at least one, and whose it is, int32 [B, N],
    the first of several. score: of a slice of the objects, never of more than PAIRED."""
    best = matched = None
    for first in range(0, count, PAIRED):
        values = score(slice(first, first + PAIRED))
        value, index = ops.max(values, axis=-1), ops.cast(ops.argmax(values, axis=-1), "int32") + first
        matched = index if best is None else ops.where(value > best, index, matched)
        best = value if best is None else ops.maximum(value, best)
    return best, matched


def at_centre(anchors: np.ndarray, grid: tuple[int, int], boxes, level_best):
    """int32 [B, N]: the object (the last of several) in the cell of whose centre an anchor is that has the
    shape `level_best` chose for it; -1 for other anchors."""
    (height, width), count = grid, len(anchors)
    stride = 2 * anchors[0, :2]
    cell = ops.floor((boxes[..., :2] + boxes[..., 2:]) / 2 / stride)                      # [B, G, 2]
    cell = ops.cast(ops.clip(cell, 0, np.array([width - 1, height - 1], np.float32)), "int32")
    per_cell = count // (height * width)
    index = (cell[..., 1] * width + cell[..., 0])[..., None] * per_cell + np.arange(per_cell, dtype="int32")
    index = ops.where(level_best, index, count)                                           # [B, G, A]
    batch = ops.shape(index)[0]
    index = index + ops.arange(batch, dtype="int32")[:, None, None] * (count + 1)
    objects = ops.zeros_like(index) + np.arange(index.shape[1], dtype="int32")[:, None]
    owner = ops.segment_max(ops.reshape(objects, (-1,)), ops.reshape(index, (-1,)), batch * (count + 1))
    owner = ops.reshape(owner, (-1, count + 1))[:, :count]
    return ops.maximum(owner, -1)  # an empty segment holds the lowest number


def assign_by_shape(
    anchors: np.ndarray, grid: tuple[int, int], boxes, classes, level_best, recipe: Recipe
) -> Assignment:
    """Every anchor whose sides are within a factor of `shape_ratio`, at the centre's cell and its two nearest
    neighbours.

    level_best: bool [B, G, A], True at an object's best-fitting anchor over all levels: it is foreground even
    beyond the ratio, so that no object is left without an anchor.
    """
    height, width = grid
    per_cell = len(anchors) // (height * width)
    stride = 2 * anchors[0, :2]
    boxes = grown(boxes)
    real = classes >= 0
    fits = ops.logical_or(shape_misfit(anchors[:per_cell, 2:], boxes) < recipe.shape_ratio, level_best)
    fits = ops.logical_and(fits, real[..., None])                                         # [B, G, A]
    cell = (boxes[..., :2] + boxes[..., 2:]) / 2 / stride                                 # [B, G, 2] in cells
    x, y = ops.clip(cell[..., 0], 0, width - 1e-3), ops.clip(cell[..., 1], 0, height - 1e-3)
    column, row = ops.floor(x), ops.floor(y)
    beside_x = column + ops.where(x - column < 0.5, -1.0, 1.0)
    beside_y = row + ops.where(y - row < 0.5, -1.0, 1.0)
    columns = ops.stack([column, beside_x, column], -1)                                   # [B, G, 3]
    rows = ops.stack([row, row, beside_y], -1)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    flat = ops.clip(rows, 0, height - 1) * width + ops.clip(columns, 0, width - 1)
    flat = ops.cast(flat, "int32") * per_cell
    index = flat[:, :, None, :] + np.arange(per_cell, dtype="int32")[:, None]             # [B, G, A, 3]
    positive = ops.cast(ops.logical_and(fits[..., None], inside[:, :, None, :]), "float32")
    count = boxes.shape[1] * per_cell * 3
    objects = np.arange(boxes.shape[1], dtype="int32").repeat(per_cell * 3)
    matched = ops.zeros_like(ops.reshape(index, (-1, count))) + objects
    positive = ops.reshape(positive, (-1, count))
    class_positive = positive
    if recipe.classes_at == "centroid":
        class_positive = positive * np.tile(np.array([1, 0, 0], np.float32), count // 3)
    ignore = crowd_ignore(corners(anchors), boxes, classes)
    return Assignment(ops.reshape(index, (-1, count)), matched, positive, class_positive, ignore)


def shape_misfit(anchors: np.ndarray, boxes):
    """[A, 2] sides against [B, G, 4] boxes -> [B, G, A]: the largest factor between their sides, >= 1."""
    sides = (boxes[..., 2:] - boxes[..., :2])[:, :, None]
    return ops.max(ops.maximum(sides / anchors, anchors / sides), axis=-1)


def best_anchor(anchors: list[np.ndarray], boxes):
    """For every object its best-fitting anchor over all levels: a list of bool [B, G, A], one a level."""
    misfit = ops.concatenate([shape_misfit(level, grown(boxes)) for level in anchors], axis=-1)
    best = ops.equal(ops.argmin(misfit, axis=-1)[..., None], np.arange(misfit.shape[-1]))
    counts = np.cumsum([len(level) for level in anchors])[:-1].tolist()
    return ops.split(best, counts, axis=-1)


def match_proposals(proposals, scores, boxes, classes, threshold: float = 0.5):
    """Objects that proposals show: the one with the largest IoU, if that is >= threshold.

    proposals [B, P, 4], scores [B, P] (0 = empty slot). Returns matched int32 [B, P] and valid float32
    [B, P].
    """
    real = ops.cast(classes >= 0, "float32")
    overlap = pairwise_iou(proposals, boxes) * real[:, None]
    valid = ops.cast(ops.max(overlap, axis=-1) >= threshold, "float32") * ops.cast(scores > 0, "float32")
    return ops.cast(ops.argmax(overlap, axis=-1), "int32"), valid

