"""The fused BatchNorm against Keras' own: outputs, gradients, moving statistics."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from yoloseg.modeling.batch_norm import BatchNorm


def pair(channels: int, **kwargs):
    """Ours and Keras', with the same random gamma and beta."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, channels)).astype(np.float32)
    made = []
    for kind in (BatchNorm, keras.layers.BatchNormalization):
        layer = kind(epsilon=1e-6, momentum=0.9, **kwargs)
        layer.build((None, None, None, channels))
        layer.gamma.assign(values[0])
        layer.beta.assign(values[1])
        made.append(layer)
    return made


def inputs(channels: int, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(1).normal(size=(3, 5, 7, channels)) * 2 + shift).astype(np.float32)


@pytest.mark.parametrize("shift", [0.0, 3.0])
@pytest.mark.parametrize("channels", [1, 6, 16])
def test_training_equals_keras(channels, shift):
    x = inputs(channels, shift)
    weight = np.random.default_rng(2).normal(size=x.shape).astype(np.float32)
    found = []
    for layer in pair(channels):
        for _ in range(2):  # the moving statistics move twice
            with tf.GradientTape() as tape:
                given = tf.Variable(x)
                y = layer(given, training=True)
                loss = tf.reduce_sum(y * weight)
            gradients = tape.gradient(loss, [given, layer.gamma.value, layer.beta.value])
        found.append([y, *gradients, layer.moving_mean.value, layer.moving_variance.value])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=2e-4)


def test_inference_and_frozen_equal_keras():
    x = inputs(6)
    ours, theirs = pair(6)
    for layer in (ours, theirs):
        layer(x, training=True)
    np.testing.assert_allclose(ours(x, training=False), theirs(x, training=False), rtol=1e-5, atol=1e-5)
    for layer in (ours, theirs):
        layer.trainable = False
    before = keras.ops.convert_to_numpy(ours.moving_mean)
    np.testing.assert_allclose(ours(x, training=True), theirs(x, training=True), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(ours.moving_mean), before)


@pytest.mark.parametrize("channels", [6, 16])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(policy, channels):
    """Computed in half, statistics in float32, as close to float32 as half precision is."""
    x = inputs(channels, 2.0)
    exact = pair(channels)[1](x, training=True)
    ours = pair(channels, dtype=policy)[0]
    found = ours(x, training=True)
    assert keras.backend.standardize_dtype(found.dtype) == policy.removeprefix("mixed_")
    np.testing.assert_allclose(keras.ops.cast(found, "float32"), exact, atol=0.05, rtol=0.02)
    assert keras.backend.standardize_dtype(ours.moving_mean.dtype) == "float32"
    mean = 0.1 * x.mean((0, 1, 2))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(ours.moving_mean), mean, rtol=0.01)
