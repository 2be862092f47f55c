"""Layers of Darknet that Keras does not have; saved and reloaded with a `.keras` file."""

from __future__ import annotations

import keras
from keras import layers, ops

LOWEST = -3.0e38  # never the largest of a window: every window of a plan holds a pixel


@keras.saving.register_keras_serializable(package="yoloseg")
class PaddedMaxPooling(layers.Layer):
    """Darknet's max-pooling of [B, H, W, C]: any size and stride, `padding` rows and columns in total.

    Half of the padding, rounded down, lies before the map, the rest after it; it never wins. Output side:
    (H + padding - size) // stride + 1.
    """

    def __init__(self, size: int, stride: int, padding: int, **kwargs):
        super().__init__(**kwargs)
        self.size = size
        self.stride = stride
        self.padding = padding

    def call(self, inputs):
        # where Keras' "same" is the same, it is quicker than a padded copy
        same = self.padding == self.size - 1 and (self.stride == 1 or self.size == self.stride == 2)
        if not same and self.padding:
            before = self.padding // 2
            around = (before, self.padding - before)
            pads = [(0, 0), around, around, (0, 0)]
            inputs = ops.pad(inputs, pads, mode="constant", constant_values=LOWEST)
        return ops.max_pool(inputs, self.size, self.stride, "same" if same else "valid", "channels_last")

    def get_config(self):
        own = {"size": self.size, "stride": self.stride, "padding": self.padding}
        return super().get_config() | own


@keras.saving.register_keras_serializable(package="yoloseg")
class ChannelGroup(layers.Layer):
    """[B, H, W, C] -> [B, H, W, C / groups]: part `group_id` (from 0) of `groups` equal parts."""

    def __init__(self, groups: int, group_id: int, **kwargs):
        super().__init__(**kwargs)
        self.groups = groups
        self.group_id = group_id

    def call(self, inputs):
        channels = inputs.shape[-1] // self.groups
        return inputs[..., self.group_id * channels : (self.group_id + 1) * channels]

    def get_config(self):
        return super().get_config() | {"groups": self.groups, "group_id": self.group_id}
