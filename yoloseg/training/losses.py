"""Losses of one level and of the masks.

Each comes with whether it had targets, so that an empty one counts for nothing.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from yoloseg.modeling.boxes import ciou, decode, encode
from yoloseg.training.recipes import Recipe
from yoloseg.training.targets import Assignment

LOSSES = ("box", "objectness", "class", "mask")


def sigmoid_cross_entropy(logits, targets):
    """Binary cross-entropy from logits, elementwise, finite for any finite logit."""
    return ops.maximum(logits, 0.0) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))


def smooth_l1(difference):
    """Huber loss with delta 1 (Fast R-CNN, arXiv 1504.08083, eq. 3), elementwise."""
    size = ops.abs(difference)
    return ops.where(size < 1.0, 0.5 * ops.square(difference), size - 0.5)


def masked_mean(values, mask):
    """Mean of `values` where `mask` is 1 (same shape), and 1.0 or 0.0 for whether there was any."""
    count = ops.sum(mask)
    return ops.sum(values * mask) / ops.maximum(count, 1.0), ops.cast(count > 0, "float32")


def pick(values, index):
    """values [B, N, C] at index [B, M] -> [B, M, C]; index None means all in order."""
    return values if index is None else ops.take_along_axis(values, index[..., None], axis=1)


def box_loss(deltas, anchors: np.ndarray, assignment: Assignment, boxes, recipe: Recipe):
    """Mean over foreground candidates, and their IoU-like quality.

    deltas float32 [B, H * W * A, 4]; boxes float32 [B, G, 4]. Returns (loss, had targets, quality float32
    [B, N] in 0..1 without gradient: the CIoU of predicted box and object).
    """
    anchors = anchors[None] if assignment.index is None else ops.take(anchors, assignment.index, axis=0)
    deltas = pick(deltas, assignment.index)
    goal = pick(boxes, assignment.matched)
    quality = ciou(decode(deltas, anchors), goal)
    if recipe.box_loss == "ciou":
        each = 1.0 - quality
    else:
        each = ops.sum(smooth_l1(deltas - encode(goal, anchors)), axis=-1)
    loss, had = masked_mean(each, assignment.positive)
    return loss, had, ops.clip(ops.stop_gradient(quality), 0.0, 1.0)


def objectness_loss(logits, assignment: Assignment, quality, foreground, recipe: Recipe, unknown=None):
    """Cross-entropy over all anchors that are not ignored, summed and divided by `foreground`; each weighted
    by how far its probability is from its target, to the power `recipe.focus` (a weight with a gradient).

    logits float32 [B, H * W * A]; quality float32 [B, N] as `box_loss` returns it; foreground: number of
    foreground candidates of all levels, at least 1. The sum over levels is thus the loss per object, whatever
    the grid. unknown: float32 [B, H * W * A], how likely each anchor is of a class that nothing is known
    about in its picture, or None. A background anchor counts the less, the more it is taken for such an
    object: it may be one that is not annotated.
    """
    value = quality if recipe.objectness_target == "iou" else ops.ones_like(quality)
    value = value * assignment.positive
    count = logits.shape[1]
    if assignment.index is None:
        targets = value
        positive = assignment.positive
    else:
        batch = ops.shape(logits)[0]
        offset = ops.expand_dims(ops.arange(batch, dtype="int32") * count, -1)
        flat = ops.reshape(assignment.index + offset, (-1,))
        both = ops.stack([ops.reshape(value, (-1,)), ops.reshape(assignment.positive, (-1,))], -1)
        both = ops.segment_max(both, flat, num_segments=batch * count)
        both = ops.reshape(ops.maximum(both, 0.0), (-1, count, 2))  # empty segments hold the lowest float
        targets, positive = both[..., 0], both[..., 1]
    weight = 1.0 - assignment.ignore * (1.0 - positive)
    if unknown is not None:
        taken = ops.stop_gradient(ops.sigmoid(logits)) * unknown
        weight = weight * (1.0 - taken * (1.0 - positive))
    if recipe.focus:
        weight = weight * ops.power(ops.abs(targets - ops.sigmoid(logits)) + 1e-6, recipe.focus)
    return ops.sum(sigmoid_cross_entropy(logits, targets) * weight) / foreground


def unknown_share(class_logits, exhaustive, anchors: int):
    """How likely each anchor is, by its class logits, of a class that nothing is known about in its picture:
    float32 [B, anchors] in 0..1, without gradient.

    class_logits float32 [B, anchors, K], or fewer where several anchors share one set, or None for a single
    class; exhaustive float32 [B, K].
    """
    if class_logits is None:
        return ops.repeat(1.0 - exhaustive, anchors, axis=1)
    known = ops.sum(ops.softmax(class_logits, axis=-1) * exhaustive[:, None], axis=-1)
    known = ops.repeat(known, anchors // class_logits.shape[1], axis=1)
    return ops.clip(1.0 - ops.stop_gradient(known), 0.0, 1.0)


def class_shift(counts, strength: float) -> np.ndarray:
    """What is added to the class logits in training: strength x log of each class's share of the objects.

    Logit adjustment (Menon et al., arXiv 2007.07314, section 4.2): the network need not learn that some
    classes are rare, and finds those too. counts: objects a class, [K]; classes without any count as one.
    """
    counts = np.maximum(np.asarray(counts, np.float64), 1.0)
    return (strength * np.log(counts / counts.sum())).astype(np.float32)


def class_loss(
    logits, anchors_per_cell: int, assignment: Assignment, classes, shift=0.0, exhaustive=None
):
    """Softmax cross-entropy of logits + shift, mean over candidates that learn the class.

    logits float32 [B, H * W * A, K], or [B, H * W, K] when one set a cell is shared by its anchors; classes
    [B, G]; shift: float32 [K] as `class_shift` gives it, or 0. exhaustive: float32 [B, K] of a federated set,
    1 for classes of which every object in the picture is annotated: other classes are then left out of the
    softmax, unless it is the object's own (federated loss: arXiv 1908.03195, section 3).
    """
    index, sharing = assignment.index, 1
    if logits.shape[1] * anchors_per_cell == assignment.ignore.shape[1]:
        if index is None:
            sharing = anchors_per_cell
        else:
            index = index // anchors_per_cell
    logits = pick(logits, index) + shift                                                 # [B, M, K]
    goal = ops.maximum(ops.take_along_axis(classes, assignment.matched, axis=1), 0)      # [B, M * sharing]
    own = ops.reshape(goal, (-1, logits.shape[1], sharing))
    chosen = ops.take_along_axis(logits, own, axis=-1)                                   # [B, M, sharing]
    if exhaustive is None:
        total = ops.logsumexp(logits, axis=-1, keepdims=True)
    else:
        total = ops.where(exhaustive[:, None] > 0, logits, -1e4)
        total = ops.logsumexp(total, axis=-1, keepdims=True)
        within = ops.reshape(ops.take_along_axis(exhaustive, goal, axis=1), ops.shape(own))
        total = ops.where(within > 0, total, ops.logaddexp(total, chosen))
    return masked_mean(ops.reshape(total - chosen, ops.shape(goal)), assignment.class_positive)


def mask_losses(logits, targets, valid, levels, num_levels: int):
    """Binary cross-entropy of the masks, mean over the ROIs of each level.

    logits, targets: float32 [B, R, 28, 28]; valid float32 [B, R]; levels int32 [B, R], where each ROI came
    from.
    Returns a list of (loss, had targets), one a level.
    """
    each = ops.mean(sigmoid_cross_entropy(logits, targets), axis=(-2, -1))
    return [masked_mean(each, valid * ops.cast(ops.equal(levels, i), "float32")) for i in range(num_levels)]
