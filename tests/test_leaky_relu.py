"""LeakyReLU that trains from its output against Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from yoloseg.modeling.leaky_relu import LeakyReLU


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_values_and_gradients_equal_keras(dtype, training):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=61), [0.0, -0.0, 1e-30]]).astype(np.float32)
    upstream = tf.cast(rng.normal(size=x.shape), dtype)
    found = []
    for layer in (LeakyReLU(0.1, dtype=dtype), keras.layers.LeakyReLU(0.1, dtype=dtype)):

        @tf.function
        def run(given, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(given)
                y = layer(given, training=training) if isinstance(layer, LeakyReLU) else layer(given)
            return y, tape.gradient(y, given, upstream)

        found.append([tf.cast(value, "float32").numpy() for value in run(tf.cast(x, dtype))])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_goes_in_is_not_kept():
    """The gradient reads nothing that the forward pass made but the output itself."""

    @tf.function
    def run(given):
        with tf.GradientTape() as tape:
            tape.watch(given)
            before = 2.0 * given
            y = LeakyReLU(0.1)(before, training=True)
        return tape.gradient(y, given)

    graph = run.get_concrete_function(tf.TensorSpec([4])).graph
    gradient = next(op for op in graph.get_operations() if op.type == "LeakyReluGrad")
    source = gradient.inputs[1].op
    while source.type in ("Identity", "IdentityN"):
        source = source.inputs[0].op
    assert source.type == "LeakyRelu"


def test_saved_and_loaded(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, LeakyReLU(0.1)(inputs))
    model.save(tmp_path / "model.keras")
    layer = keras.saving.load_model(tmp_path / "model.keras").layers[-1]
    assert isinstance(layer, LeakyReLU)
    assert layer.negative_slope == 0.1
