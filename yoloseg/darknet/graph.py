"""A plan as a plain Keras functional model. Layers are named by their index in the cfg: conv_17, bn_17."""

from __future__ import annotations

import keras
from keras import layers

from yoloseg.darknet.layers import ChannelGroup, PaddedMaxPooling
from yoloseg.darknet.plan import PICTURE, Convolutional, Layer, Maxpool, Plan, Route, Shortcut, Upsample, Yolo
from yoloseg.modeling.batch_norm import BatchNorm
from yoloseg.modeling.blocks import BATCH_NORM_EPSILON
from yoloseg.modeling.leaky_relu import LeakyReLU

KERAS_NAMES = {"mish": "mish", "relu": "relu", "swish": "silu", "logistic": "sigmoid"}


def build_graph(plan: Plan, all_layers: bool = False) -> keras.Model:
    """float32 [B, H, W, 3] RGB in [0, 1], H and W of the plan -> a list of float32 [B, h, w, C].

    The outputs are what feeds the yolo layers, in the order of the cfg (without any, the last layer's); with
    `all_layers` those of every layer but the yolo layers, in order. Weights are random: see
    `yoloseg.darknet.variables`.
    """
    image = keras.Input((*plan.imgsz, 3), name="image")
    maps = {PICTURE: image}
    for layer in plan.layers:
        inputs = [maps[source] for source in layer.sources]
        maps[layer.index] = inputs[0] if isinstance(layer, Yolo) else _apply(layer, inputs)
    if all_layers:
        outputs = [maps[layer.index] for layer in plan.layers if not isinstance(layer, Yolo)]
    else:
        outputs = [maps[index] for index in plan.outputs]
    return keras.Model(image, outputs, name="darknet")


def _apply(layer: Layer, inputs: list):
    match layer:
        case Convolutional():
            return _convolution(layer, inputs[0])
        case Shortcut():
            x = layers.Add(name=f"shortcut_{layer.index}")(inputs)
            return _activation(x, layer.activation, layer.index)
        case Route():
            return _route(layer, inputs)
        case Maxpool(index=index, size=size, stride=stride, padding=padding):
            return PaddedMaxPooling(size, stride, padding, name=f"maxpool_{index}")(inputs[0])
        case Upsample(index=index, stride=stride):
            return layers.UpSampling2D(stride, interpolation="nearest", name=f"upsample_{index}")(inputs[0])
        case _:  # dropout
            return inputs[0]


def _convolution(layer: Convolutional, x):
    padding = "same" if layer.stride == 1 and 2 * layer.padding == layer.size - 1 else "valid"
    if padding == "valid" and layer.padding:
        x = layers.ZeroPadding2D(layer.padding, name=f"pad_{layer.index}")(x)
    x = layers.Conv2D(
        layer.filters,
        layer.size,
        layer.stride,
        padding,
        groups=layer.groups,
        use_bias=not layer.normalised,
        kernel_initializer="he_normal",
        name=f"conv_{layer.index}",
    )(x)
    if layer.normalised:
        x = BatchNorm(epsilon=BATCH_NORM_EPSILON, name=f"bn_{layer.index}")(x)
    return _activation(x, layer.activation, layer.index)


def _route(layer: Route, inputs: list):
    if layer.groups > 1:
        inputs = [
            ChannelGroup(layer.groups, layer.group_id, name=f"group_{layer.index}_{number}")(x)
            for number, x in enumerate(inputs)
        ]
    return layers.Concatenate(name=f"route_{layer.index}")(inputs) if len(inputs) > 1 else inputs[0]


def _activation(x, name: str, index: int):
    if name == "linear":
        return x
    if name == "leaky":
        return LeakyReLU(negative_slope=0.1, name=f"act_{index}")(x)
    return layers.Activation(KERAS_NAMES[name], name=f"act_{index}")(x)
