"""ROIs that train the mask subnet: matched proposals, and jittered boxes of the ground truth."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from yoloseg.training.targets import match_proposals

JITTER = 0.15


def sample_rois(found: dict, boxes, classes, levels, count: int, limit, seed: keras.random.SeedGenerator):
    """Chooses `count` ROIs a picture. Nothing here carries a gradient.

    found: "boxes" [B, P, 4] and "scores" [B, P] of proposals, "levels" int32 [B, P]; boxes [B, G, 4], classes
    [B, G] ground truth; levels int32 [B, G], the level of each object's best anchor; limit: (height, width)
    of the input.
    The first half of the slots takes matched proposals (IoU >= 0.5) in random order; slots without one, and
    the other half, take a random object's box with every side moved by up to 15 % of its length.
    Returns rois [B, R, 4], matched int32 [B, R], levels int32 [B, R], valid float32 [B, R] (0 only without
    objects).
    """
    batch, objects = ops.shape(boxes)[0], boxes.shape[1]
    real = ops.cast(classes >= 0, "float32")
    # Jittered objects, one for every slot.
    draw = keras.random.uniform((batch, count, objects), seed=seed) + real[:, None]
    matched = ops.cast(ops.argmax(draw, axis=-1), "int32")
    rois = ops.take_along_axis(boxes, matched[..., None], axis=1)
    sides = ops.tile(rois[..., 2:] - rois[..., :2], (1, 1, 2))
    rois = rois + sides * keras.random.uniform((batch, count, 4), -JITTER, JITTER, seed=seed)
    roi_levels = ops.take_along_axis(levels, matched, axis=1)
    valid = ops.take_along_axis(real, matched, axis=1)
    # Proposals that match, in the first half.
    half = min(count // 2, found["boxes"].shape[1])
    shown, fits = match_proposals(found["boxes"], found["scores"], boxes, classes)
    order = keras.random.uniform((batch, found["boxes"].shape[1]), seed=seed) + fits
    chosen, index = ops.top_k(order, half)
    use = ops.cast(chosen >= 1.0, "int32")

    def first_half(proposed, jittered):
        at, flag = (index[..., None], use[..., None]) if len(proposed.shape) == 3 else (index, use)
        picked, flag = ops.take_along_axis(proposed, at, axis=1), ops.cast(flag, proposed.dtype)
        return ops.concatenate([picked * flag + jittered[:, :half] * (1 - flag), jittered[:, half:]], axis=1)

    rois = first_half(found["boxes"], rois)
    height, width = limit
    border = np.array([width, height], np.float32)
    low = ops.clip(rois[..., :2], 0.0, border - 1.0)
    high = ops.maximum(ops.clip(rois[..., 2:], 0.0, border), low + 1.0)
    rois = ops.stop_gradient(ops.concatenate([low, high], -1))
    return rois, first_half(shown, matched), first_half(found["levels"], roi_levels), valid
