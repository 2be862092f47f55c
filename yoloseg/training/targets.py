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

from yoloseg.modeling.boxes import area, intersection, iou, pairwise_iou
from yoloseg.training.recipes import Recipe

# Objects are seen at least this large when they are matched to anchors and cells.
MIN_SIDE = 1.0
# Objects whose scores with all anchors are held at a time: a crowd of 500 would need gigabytes.
PAIRED = 16
# Boxes smaller than a cell may overlap with no anchor: then their shape decides which are their own.
MISFIT = 0.01
NEVER = -1e9


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
    anchors: np.ndarray, grid: tuple[int, int], boxes, classes, level: int, recipe: Recipe, own=None
) -> Assignment:
    """The report's code: the object with the largest IoU, foreground and background thresholds scaled per
    level.

    anchors: [H * W * A, 4] centre x, y, width, height; grid: (H, W). own: what `own_anchors` gives for the
    level; those anchors are foreground whatever their IoU. Not given, objects that no anchor fits are not
    learned.
    """
    scale = recipe.level_scale[level]
    boxes = grown(boxes)
    real = ops.cast(classes >= 0, "float32")
    best, matched = largest_iou(anchors, boxes, real)                                     # [B, N]
    positive = ops.cast(best >= recipe.foreground * scale, "float32")
    if own is not None:
        owner, first = own
        matched = ops.where(ops.logical_or(first, (owner >= 0) & (positive == 0)), owner, matched)
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


def own_anchors(anchors: list[np.ndarray], grids, boxes, classes, count: int) -> list:
    """The `count` anchors over all levels that fit an object best, of those at the cell of its centre and at
    the two nearest neighbours: those of largest IoU less MISFIT times the largest factor between the sides.
    Faster R-CNN (arXiv 1506.01497, section 3.1.2) gives each object one, by IoU alone.

    anchors and grids: of every level, as `assign_by_iou` takes them. For every level (owner, first): int32
    [B, N], the object whose anchor it is, -1 where it is nobody's, and bool [B, N], True where it fits that
    object best of all. Of several objects that want an anchor it is of the one that ranks it higher among its
    own, then of the last; the others get none in its place.
    """
    boxes, real = grown(boxes), classes >= 0
    scores, indices, offset = [], [], 0
    for level, grid in zip(anchors, grids, strict=True):
        per_cell = len(level) // (grid[0] * grid[1])
        index, inside = near_centre(grid, 2 * level[0, :2], per_cell, boxes)              # [B, G, A, 3]
        overlap = iou(ops.take(corners(level), index, axis=0), boxes[:, :, None, None])
        score = overlap - MISFIT * shape_misfit(level[:per_cell, 2:], boxes)[..., None]
        shape = (-1, boxes.shape[1], per_cell * 3)
        scores.append(ops.reshape(ops.where(inside & real[..., None, None], score, NEVER), shape))
        indices.append(ops.reshape(index, shape) + offset)
        offset += len(level)
    count = min(count, sum(score.shape[-1] for score in scores))
    score, which = ops.top_k(ops.concatenate(scores, -1), count)                          # [B, G, count]
    index = ops.take_along_axis(ops.concatenate(indices, -1), which, axis=-1)
    index = ops.where(score > NEVER, index, offset)
    # Of several claims the one that counts is the largest number: rank before object.
    objects = boxes.shape[1]
    claim = np.arange(count - 1, -1, -1, dtype="int32") * objects + np.arange(objects, dtype="int32")[:, None]
    batch = ops.shape(index)[0]
    segment = index + ops.arange(batch, dtype="int32")[:, None, None] * (offset + 1)
    claims = ops.reshape(ops.zeros_like(segment) + claim, (-1,))
    claims = ops.segment_max(claims, ops.reshape(segment, (-1,)), batch * (offset + 1))
    claims = ops.reshape(claims, (-1, offset + 1))[:, :offset]
    owner = ops.where(claims >= 0, claims % objects, -1)  # an empty segment holds the lowest number
    first = claims >= (count - 1) * objects
    ends = np.cumsum([len(level) for level in anchors])[:-1].tolist()
    return list(zip(ops.split(owner, ends, axis=1), ops.split(first, ends, axis=1), strict=True))


def near_centre(grid: tuple[int, int], stride, per_cell: int, boxes):
    """int32 [B, G, A, 3] into the anchors of a level: those at the cell of an object's centre, at its
    neighbour in x and in y, whichever is nearer; and bool, whether the grid has that cell."""
    height, width = grid
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
    index = flat[:, :, None, :] + np.arange(per_cell, dtype="int32")[:, None]
    return index, ops.logical_and(inside[:, :, None, :], np.ones((per_cell, 1), bool))


def assign_by_shape(
    anchors: np.ndarray, grid: tuple[int, int], boxes, classes, level_best, recipe: Recipe
) -> Assignment:
    """Every anchor whose sides are within a factor of `shape_ratio`, at the centre's cell and its two nearest
    neighbours.

    level_best: bool [B, G, A], True at an object's best-fitting anchor over all levels: it is foreground even
    beyond the ratio, so that no object is left without an anchor.
    """
    per_cell = len(anchors) // (grid[0] * grid[1])
    boxes = grown(boxes)
    fits = ops.logical_or(shape_misfit(anchors[:per_cell, 2:], boxes) < recipe.shape_ratio, level_best)
    fits = ops.logical_and(fits, (classes >= 0)[..., None])                               # [B, G, A]
    index, inside = near_centre(grid, 2 * anchors[0, :2], per_cell, boxes)                # [B, G, A, 3]
    positive = ops.cast(ops.logical_and(fits[..., None], inside), "float32")
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

