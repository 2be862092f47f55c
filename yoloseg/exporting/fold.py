"""The network as it is deployed: BatchNorm folded into its convolutions, nothing left that training needs."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from yoloseg.modeling.leaky_relu import LeakyReLU


class GroupedConv2D(layers.Conv2D):
    """Keras' on TensorFlow, as the plain operator: Keras has XLA compile it, which no other runtime has."""

    def call(self, inputs):
        import tensorflow as tf

        outputs = tf.nn.conv2d(inputs, self.kernel, self.strides, self.padding.upper())
        return tf.nn.bias_add(outputs, self.bias)


def folded(network: keras.Model, image_shape: tuple[int, int]) -> keras.Model:
    """A functional model that computes what `network` computes in inference, on one size of picture.

    network: of `build_network` or of `yoloseg.darknet.graph.build_graph`: every BatchNormalization follows a
    convolution without bias. image_shape: (height, width) of its input, static from here on. Convolutions
    keep their names, and take the scale and shift of their BatchNorm as kernel and bias.
    """
    norms = {}
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            norms[layer.input._keras_history.operation.name] = layer

    def clone(layer):
        config = layer.get_config()
        if isinstance(layer, layers.BatchNormalization):
            return layers.Identity(name=layer.name)
        if isinstance(layer, LeakyReLU):
            return layers.LeakyReLU(layer.negative_slope, name=layer.name)
        if isinstance(layer, layers.Conv2D):
            config["use_bias"] = True
            if layer.groups > 1:
                return GroupedConv2D.from_config(config)
        return type(layer).from_config(config)

    def call(layer, *inputs, **_):  # BatchNorm was called with flags of training
        return inputs[0] if isinstance(layer, layers.Identity) else layer(*inputs)

    image = keras.Input((*image_shape, 3), name="image")
    new = keras.models.clone_model(network, image, clone, call)
    for layer in network.layers:
        if isinstance(layer, layers.Conv2D):
            kernel, *bias = layer.get_weights()
            bias = bias[0] if bias else np.zeros(kernel.shape[-1], np.float32)
            if layer.name in norms:
                kernel, bias = _fold(kernel, bias, norms[layer.name])
            new.get_layer(layer.name).set_weights([kernel, bias])
    return new


def _fold(kernel, bias, norm) -> tuple[np.ndarray, np.ndarray]:
    """In float64: gamma (W x + b - mean) / sqrt(variance + epsilon) + beta as one kernel and one bias."""
    gamma, beta, mean, variance = (np.asarray(value, np.float64) for value in norm.get_weights())
    factor = gamma / np.sqrt(variance + norm.epsilon)
    return (kernel * factor).astype(np.float32), ((bias - mean) * factor + beta).astype(np.float32)


