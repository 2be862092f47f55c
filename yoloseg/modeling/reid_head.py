"""What an instance looks like, as a vector by which it is known again in another frame."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from yoloseg.modeling.architecture import LEVELS, STRIDES
from yoloseg.modeling.roi_align import roi_align
from yoloseg.modeling.sizes import Size

HIDDEN = 128  # units of the head's layer between
COLOURS = 6  # mean and deviation of red, green and blue
MAPS_SHARE = 0.5  # what all maps together count in a new head, by what the colours do


def pool(maps, strides, rois, masks):
    """Mean and standard deviation of maps over instances.

    maps: [B, H_i, W_i, C_i] each; rois: float32 [B, R, 4] xyxy in pixels of the network input; masks: float32
    [B, R, M, M] in 0..1, each over its box, M even. Returns two of float32 [B * R, sum of C_i], finite for an
    empty mask.
    """
    size = masks.shape[-1] // 2
    weight = ops.mean(ops.reshape(masks, (-1, size, 2, size, 2)), axis=(2, 4))[..., None]
    total = ops.maximum(ops.sum(weight, axis=(1, 2)), 1e-6)
    means, deviations = [], []
    for features, stride in zip(maps, strides, strict=True):
        cuts = roi_align(features, rois, stride, size)
        cuts = ops.reshape(cuts, (-1, size, size, features.shape[-1]))
        mean = ops.sum(cuts * weight, axis=(1, 2)) / total
        variance = ops.sum(ops.square(cuts - mean[:, None, None]) * weight, axis=(1, 2)) / total
        means.append(mean)
        deviations.append(ops.sqrt(variance))
    return ops.concatenate(means, axis=-1), ops.concatenate(deviations, axis=-1)


def centred(embeddings):
    """The maps, each less its mean over the picture: what tells an instance from its surroundings."""
    return [features - ops.mean(features, axis=(1, 2), keepdims=True) for features in embeddings]


def plain_vectors(embeddings, rois, masks):
    """Vectors of length 1 of a network without a head, float32 [B * R, 4 * E]: what `pool` gives of the mean
    of its four embedding maps, centred."""
    return ops.normalize(pool(centred(embeddings), STRIDES, rois, masks)[0], axis=-1)


def describe(embeddings, images, rois, masks):
    """What the head takes, float32 [B * R, 8 * E + COLOURS]: of the four embedding maps [B, H_i, W_i, E],
    centred, and of images [B, h, w, 3], 0..255, the mean and the deviation over each instance, as `pool` has
    them."""
    own = pool(centred(embeddings), STRIDES, rois, masks)
    return ops.concatenate([*own, *pool([ops.cast(images, "float32") / 255.0], [1], rois, masks)], axis=-1)


def build_reid_head(size: Size, dim: int) -> keras.Model:
    """What `describe` gives, [R, 8 * E + COLOURS], -> float32 [R, dim] of length 1."""
    described = keras.Input((2 * len(LEVELS) * size.embedding + COLOURS,), name="described")
    norm = layers.BatchNormalization(
        epsilon=1e-6, center=False, scale=False, name="reid_norm", dtype="float32"
    )
    norm.trainable = False  # mean and variance are set by `standardise` and stay
    x = norm(described)
    x = layers.Dense(HIDDEN, activation="relu", name="reid_hidden", dtype="float32")(x)
    x = layers.Dense(dim, name="reid_out", dtype="float32")(x)
    x = layers.UnitNormalization(name="reid_unit", dtype="float32")(x)
    return keras.Model(described, x, name="reid_head")


def standardise(head: keras.Model, described: np.ndarray) -> None:
    """Sets what a new head subtracts and divides by from float32 [N, 8 * E + COLOURS] of a training set.

    The colours get variance 1 each, the maps together MAPS_SHARE of theirs: they are hundreds of numbers, by
    which a head learns few instances by heart.
    """
    variance = described.var(axis=0, dtype=np.float64)
    maps = len(variance) - COLOURS
    variance[:maps] *= maps / (MAPS_SHARE * COLOURS)
    head.get_layer("reid_norm").set_weights([described.mean(axis=0, dtype=np.float64), variance])
