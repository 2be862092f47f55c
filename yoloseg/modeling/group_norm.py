"""GroupNorm by small matrix products, which every converter and backend runs fast."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops


@keras.saving.register_keras_serializable(package="yoloseg")
class GroupNormalization(layers.GroupNormalization):
    """Keras' GroupNormalization over the last axis of [B, H, W, C]: same variables, same values.

    Keras splits the channels into a fifth axis, which is slow to reduce. Here the means of channels,
    [B, C], become means of groups by a matrix that averages; the maps keep their four axes.
    """

    def call(self, inputs):
        channels, members = inputs.shape[-1], inputs.shape[-1] // self.groups
        average = np.kron(np.eye(self.groups), np.full((members, members), 1 / members)).astype("float32")
        x = ops.cast(inputs, "float32")
        mean = ops.matmul(ops.mean(x, axis=(1, 2)), average)
        x = x - ops.reshape(mean, (-1, 1, 1, channels))
        variance = ops.matmul(ops.mean(ops.square(x), axis=(1, 2)), average)
        scale = ops.rsqrt(variance + self.epsilon) * ops.cast(self.gamma, "float32")
        x = x * ops.reshape(scale, (-1, 1, 1, channels)) + ops.cast(self.beta, "float32")
        return ops.cast(x, self.compute_dtype)
