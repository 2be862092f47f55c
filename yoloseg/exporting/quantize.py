"""Network and mask subnet in int8: ranges measured on pictures, written into the graph for the converter.

LiteRT's converter makes an operator int8 where fake quantisation stands on its inputs and outputs, and leaves
the rest as it is (Jacob et al., arXiv 1712.05877, section 3). Here it stands on the maps and kernels of all
convolutions but the last ones. Logits, decoding, suppression, ROIAlign and GroupNorm see float32, so that no
box is rounded to a 255th of the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from yoloseg.data.letterbox import letterbox, picture_region
from yoloseg.data.records import Dataset
from yoloseg.exporting.graph import InstanceGraph
from yoloseg.modeling.architecture import LEVELS, STRIDES
from yoloseg.modeling.group_norm import GroupNormalization
from yoloseg.modeling.roi_align import adaptive_feature_pooling

ROIS = 20  # proposals of a picture that the mask subnet is measured on
SAME_RANGE = (layers.MaxPooling2D, layers.UpSampling2D, layers.ZeroPadding2D)
FLOAT = (GroupNormalization, layers.Conv2DTranspose, layers.Reshape, layers.Flatten, layers.Dense)
LOGITS = ("_boxes", "_objectness", "_classes", "_logits", "mask_concat")  # endings of names


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


def quantize(graph: InstanceGraph, calibration: Dataset, count: int) -> None:
    """Exchanges the graph's network and mask subnet for models that compute what int8 will.

    calibration: its first `count` pictures, letterboxed, and the best proposals in them give every map its
    range: the mean over pictures of their least and their largest value, which single outliers move little.
    """
    imgsz, network = graph.model.imgsz, graph.network
    images, regions = [], []
    for index in range(min(count, len(calibration))):
        picture = calibration.read_image(index)
        images.append(letterbox(picture, imgsz)[None])
        regions.append(np.array([picture_region(*picture.shape[:2], imgsz)], np.float32))

    def cuts() -> Iterator[list]:
        for image, region in zip(images, regions, strict=True):
            outputs = network(image.astype(np.float32), training=False)
            boxes = graph.model.propose(outputs, ROIS, regions=region)["boxes"]
            embeddings = [outputs[level]["embedding"] for level in LEVELS]
            yield adaptive_feature_pooling(embeddings, boxes, STRIDES)

    graph.mask_subnet = quantized(graph.mask_subnet, cuts())
    graph.network = quantized(network, images)


def quantized(model: keras.Model, samples: Iterable) -> keras.Model:
    """A functional model of convolutions, with maps and kernels rounded to 8 bits.

    samples: what goes into `model`, one call each; they give the ranges. In it, GroupNorm, transposed and
    last convolutions compute in float.
    """
    ranges = measure(model, samples)

    def rounded(tensor, name):
        return FakeQuant(*ranges[name], name=f"{name}_quant")(tensor)

    def clone(layer):
        config = layer.get_config()
        if type(layer) is layers.Conv2D and not layer.name.endswith(LOGITS):
            return FakeQuantConv2D.from_config(config | {"use_bias": True})
        return type(layer).from_config(config)

    def call(layer, *inputs, **_):
        if isinstance(layer, FakeQuantConv2D):
            source = inputs[0]._keras_history.operation
            if isinstance(source, layers.InputLayer):
                inputs = [rounded(inputs[0], source.name)]
        outputs = layer(*inputs)
        if isinstance(layer, SAME_RANGE + FLOAT) or layer.name.endswith(LOGITS):
            return outputs
        return rounded(outputs, layer.name)

    new = keras.models.clone_model(model, None, clone, call)
    for layer in model.layers:
        copy, weights = new.get_layer(layer.name), layer.get_weights()
        if isinstance(copy, FakeQuantConv2D) and len(weights) == 1:
            weights.append(np.zeros(weights[0].shape[-1], np.float32))
        copy.set_weights(weights)
    return new


def measure(model: keras.Model, samples: Iterable) -> dict[str, tuple[float, float]]:
    """Layer name -> (low, high) of its output, low <= 0 <= high; what is concatenated shares one range."""
    observer = keras.Model(model.input, [layer.output for layer in model.layers])
    extremes = []
    for sample in samples:
        maps = observer(sample, training=False)
        extremes.append([(float(tf.reduce_min(m)), float(tf.reduce_max(m))) for m in maps])
    low, high = np.moveaxis(np.mean(extremes, axis=0), 1, 0)
    ranges = {
        layer.name: (min(float(a), 0.0), max(float(b), 1e-3))
        for layer, a, b in zip(model.layers, low, high, strict=True)
    }
    for layer in reversed(model.layers):
        if isinstance(layer, layers.Concatenate):
            for tensor in layer.input:
                ranges[_origin(tensor)] = ranges[layer.name]
    return ranges


def _origin(tensor) -> str:
    """The name of the layer whose range a tensor has."""
    layer = tensor._keras_history.operation
    while isinstance(layer, SAME_RANGE):
        layer = layer.input._keras_history.operation
    return layer.name
