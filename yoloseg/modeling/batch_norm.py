"""BatchNorm that trains by TensorFlow's fused kernel where that is the backend."""

from __future__ import annotations

import keras
from keras import layers, ops

# In bfloat16 TensorFlow's kernel is many times slower where channels are no multiple of this.
FAST_CHANNELS = 16


@keras.saving.register_keras_serializable(package="yoloseg")
class BatchNorm(layers.BatchNormalization):
    """Keras' BatchNormalization over the last axis of [B, H, W, C]: same variables, same values.

    On TensorFlow, Keras composes a training step of it from a dozen operations that each read or write the
    whole map; TensorFlow's own kernel is faster on a CPU.
    """

    def call(self, inputs, training=None, mask=None):
        if keras.backend.backend() != "tensorflow" or not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        slow = inputs.dtype != "float32" and inputs.shape[-1] % FAST_CHANNELS
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=ops.cast(inputs, "float32") if slow else inputs,
            scale=ops.cast(self.gamma, "float32"),
            offset=ops.cast(self.beta, "float32"),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        count = ops.cast(ops.size(inputs) // inputs.shape[-1], "float32")
        variance = variance * ((count - 1) / count)  # the kernel's is unbiased, Keras' is not
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return ops.cast(outputs, inputs.dtype)
