"""The few blocks the architecture is made of; every layer is named, so that weights are found by name."""

from __future__ import annotations

import keras
from keras import layers

from yoloseg.modeling.batch_norm import BatchNorm
from yoloseg.modeling.group_norm import GroupNormalization
from yoloseg.modeling.leaky_relu import LeakyReLU

# AlexeyAB's Darknet adds it to the variance where it folds BatchNorm (OpenCV's importer 1e-6, Keras 1e-3).
BATCH_NORM_EPSILON = 1e-5
# From picture to the last head `n` is 71 convolutions deep. Started as usual (gamma 1, beta 0), BatchNorm
# makes gradients grow a thousandfold from the heads to the stem (Yang et al., arXiv 1902.08129) and drown in
# noise; activations that start nearer to linear, and branches that start small, keep them level.
START_BETA = 0.5
BRANCH_GAMMA = 0.3
# Half-life of 23 steps: short trainings still end with statistics of their last weights.
BATCH_NORM_MOMENTUM = 0.97


def activation(x, act: str, name: str):
    """Mish, LeakyReLU 0.1, or any other name of keras.activations."""
    if act == "leaky_relu":
        return LeakyReLU(negative_slope=0.1, name=name)(x)
    return layers.Activation(act, name=name)(x)


def conv(x, filters: int, kernel: int, *, act: str, name: str, stride: int = 1, gamma: float = 1.0):
    """Convolution, BatchNorm, activation. Stride 2 pads one row and column at top-left, as Darknet.

    gamma: what BatchNorm's gamma starts from.
    """
    padding = "same"
    if stride == 2:
        x = layers.ZeroPadding2D(((1, 0), (1, 0)), name=f"{name}_pad")(x)
        padding = "valid"
    x = layers.Conv2D(
        filters, kernel, stride, padding, use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)
    x = BatchNorm(
        epsilon=BATCH_NORM_EPSILON,
        momentum=BATCH_NORM_MOMENTUM,
        beta_initializer=keras.initializers.Constant(START_BETA),
        gamma_initializer=keras.initializers.Constant(gamma),
        name=f"{name}_bn",
    )(x)
    return activation(x, act, f"{name}_act")


def csp_stage(x, filters: int, *, split: int, repeats: int, act: str, name: str, hidden: int | None = None):
    """Down by 2, cross-stage-partial residual blocks, merge (CSPNet, arXiv 1911.11929, as in CSPDarknet53).

    hidden: channels inside a residual block; those of the split if not given. Concatenated as [residual path,
    shortcut].
    """
    x = conv(x, filters, 3, stride=2, act=act, name=f"{name}_down")
    shortcut = conv(x, split, 1, act=act, name=f"{name}_shortcut")
    x = conv(x, split, 1, act=act, name=f"{name}_split")
    for i in range(repeats):
        y = conv(x, hidden or split, 1, act=act, name=f"{name}_res{i}_a")
        y = conv(y, split, 3, act=act, name=f"{name}_res{i}_b", gamma=BRANCH_GAMMA)
        x = layers.Add(name=f"{name}_res{i}")([x, y])
    x = conv(x, split, 1, act=act, name=f"{name}_close")
    x = layers.Concatenate(name=f"{name}_concat")([x, shortcut])
    return conv(x, filters, 1, act=act, name=f"{name}_merge")


def mixed(x, filters: int, *, pairs: int, act: str, name: str):
    """Pairs of 1x1 f and 3x3 2f, then 1x1 f: how YOLOv4 mixes two concatenated maps, there with two pairs."""
    for i, (channels, kernel) in enumerate([(filters, 1), (2 * filters, 3)] * pairs + [(filters, 1)]):
        x = conv(x, channels, kernel, act=act, name=f"{name}_mix{i}")
    return x


def linear(x, filters: int, kernel: int, *, name: str, start="he_normal", bias: float = 0.0, dtype=None):
    """A last convolution: no norm, no activation. `dtype="float32"` keeps logits whole in mixed precision.

    start: kernel initializer; bias: what the bias starts from.
    """
    return layers.Conv2D(
        filters,
        kernel,
        padding="same",
        kernel_initializer=start,
        bias_initializer=keras.initializers.Constant(bias),
        dtype=dtype,
        name=name,
    )(x)


def group_conv(x, filters: int, *, name: str):
    """3x3 convolution, GroupNorm (groups of 8 channels; 32 groups at 256), ReLU."""
    x = layers.Conv2D(
        filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)
    x = GroupNormalization(groups=filters // 8, epsilon=1e-5, name=f"{name}_gn")(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)
