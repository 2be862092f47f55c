"""The dense network in int8: ranges measured on pictures, written into the graph for LiteRT's converter.

The converter makes an operator int8 where fake quantisation stands on its inputs and outputs, and leaves
the rest as it is (Jacob et al., arXiv 1712.05877, section 3). Here it stands on every map of the network up
to the features that the heads read; heads, decoding, suppression and mask subnet see float32 again, so that
no box is rounded to a 255th of the picture.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from yoloseg.data.letterbox import letterbox
from yoloseg.data.records import Dataset

SAME_RANGE = (layers.MaxPooling2D, layers.UpSampling2D, layers.ZeroPadding2D)
FLOAT = ("_boxes", "_objectness", "_classes")  # the heads' last convolutions


class FakeQuant(layers.Layer):
    """Rounds to 8 bits between `low` and `high`, which contain 0."""

    def __init__(self, low: float, high: float, **kwargs):
        super().__init__(**kwargs)
        self.low, self.high = low, high

    def call(self, inputs):
        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high)


class FakeQuantConv2D(layers.Conv2D):
    """Conv2D with its kernel rounded to 8 bits, each output channel by its own largest weight."""

    def call(self, inputs):
        with tf.init_scope():
            kernel, bias = self.kernel.numpy(), self.bias.numpy()
        limit = np.maximum(np.abs(kernel).max(axis=(0, 1, 2)), 1e-8)
        kernel = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            kernel, -limit, limit, narrow_range=True
        )
        return tf.nn.bias_add(tf.nn.conv2d(inputs, kernel, self.strides, self.padding.upper()), bias)


def quantized(network: keras.Model, calibration: Dataset, count: int) -> keras.Model:
    """A network that computes what int8 will, from one of `folded`.

    calibration: its first `count` pictures, letterboxed, give each map its range: the mean over pictures of
    their least and their largest value, which single outliers move little.
    """
    ranges = measure(network, calibration, count)
    quantizers = {}

    def quantize(tensor, name):
        if name not in quantizers:
            quantizers[name] = FakeQuant(*ranges[name], name=f"{name}_quant")
        return quantizers[name](tensor)

    def clone(layer):
        if isinstance(layer, layers.Conv2D) and not layer.name.endswith(FLOAT):
            return FakeQuantConv2D.from_config(layer.get_config())
        return type(layer).from_config(layer.get_config())

    def call(layer, *inputs, **_):
        outputs = layer(*inputs)
        if isinstance(layer, SAME_RANGE) or layer.name.endswith(FLOAT):
            return outputs
        return quantize(outputs, layer.name)

    image = keras.Input(network.input.shape[1:], name="image")
    new = keras.models.clone_model(network, image, clone, call)
    new.set_weights(network.get_weights())
    return new


def measure(network: keras.Model, calibration: Dataset, count: int) -> dict[str, tuple[float, float]]:
    """Layer name -> (low, high) of its output, low <= 0 <= high; what is concatenated shares one range."""
    inner = [layer for layer in network.layers if not isinstance(layer, layers.InputLayer)]
    observer = keras.Model(network.input, [layer.output for layer in inner])
    extremes = []
    for index in range(min(count, len(calibration))):
        image = letterbox(calibration.read_image(index), network.input.shape[1:3])
        maps = observer(image[None].astype(np.float32), training=False)
        extremes.append([(float(tf.reduce_min(m)), float(tf.reduce_max(m))) for m in maps])
    low, high = np.moveaxis(np.mean(extremes, axis=0), 1, 0)
    ranges = {
        layer.name: (min(float(a), 0.0), max(float(b), 1e-3))
        for layer, a, b in zip(inner, low, high, strict=True)
    }
    for layer in reversed(inner):
        if isinstance(layer, layers.Concatenate):
            parts = [origin(tensor) for tensor in layer.input]
            for name in parts:
                ranges[name] = ranges[layer.name]
    return ranges


def origin(tensor) -> str:
    """The name of the layer whose range a tensor has."""
    layer = tensor._keras_history.operation
    while isinstance(layer, SAME_RANGE):
        layer = layer.input._keras_history.operation
    return layer.name
