"""Keras' Mish and SGD(weight_decay) against values of tensorflow-addons 0.23 (made by references/).

tensorflow-addons' SGDW and Keras' SGD do the same three things in the same order: clip the gradient of each
weight by its norm; subtract the decay (wd * w; in Keras learning_rate * weight_decay * w, so weight_decay is
wd / learning_rate); then the momentum step m = momentum * m - learning_rate * g, w = w + m, where g was taken
at the weights before the decay. What is left is float32 rounding: measured at most 2.4e-7 over 24 steps, on
TensorFlow and on JAX: one unit in the last place of weights between 2 and 4. A wrong decay or order misses by
more than ten times TOLERANCE (measured: decay last 5e-5, decay not divided by the rate 4e-3).
"""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

REFERENCE = json.loads(Path(__file__).with_name("references").joinpath("tfa_reference.json").read_text())
SGDW = REFERENCE["sgdw"]
TOLERANCE = 2e-6


def keras_steps(run: dict, weight_decay: float, *, in_loop: bool) -> list[list[np.ndarray]]:
    """Weights [kernel, bias] after every step; gradients are our own (in_loop) or those SGDW was given."""
    start = {name: np.float32(SGDW["problem"][name]) for name in ("x", "y", "kernel", "bias")}
    weights = [keras.Variable(start["kernel"], name="kernel"), keras.Variable(start["bias"], name="bias")]
    optimizer = keras.optimizers.SGD(
        SGDW["learning_rate"],
        momentum=SGDW["momentum"],
        nesterov=False,
        weight_decay=weight_decay,
        clipnorm=run["clipnorm"],
    )
    optimizer.build(weights)
    history = []
    for step in range(SGDW["steps"]):
        if in_loop:
            kernel, bias = (keras.ops.convert_to_numpy(w) for w in weights)
            gradients = least_squares_gradients(start["x"], start["y"], kernel, bias)
        else:
            gradients = [np.float32(g) for g in run["gradients"][step]]
        optimizer.apply([keras.ops.convert_to_tensor(np.float32(g)) for g in gradients], weights)
        history.append([np.array(keras.ops.convert_to_numpy(w)) for w in weights])
    return history


def least_squares_gradients(x, y, kernel, bias) -> list[np.ndarray]:
    error = 2 * (x @ kernel + bias - y) / y.size
    return [x.T @ error, error.sum(axis=0)]


def worst(run: dict, history: list[list[np.ndarray]]) -> float:
    """Largest difference of any weight from the reference, over all stored steps."""
    return max(
        float(np.abs(ours - np.array(stored[name])).max())
        for stored in run["history"]
        for name, ours in zip(("kernel", "bias"), history[stored["step"] - 1], strict=True)
    )


def replica(run: dict, order: str) -> list[list[np.ndarray]]:
    """SGDW in float64 NumPy. order: "decay first", "decay last", or "decay in the gradient" (L2, coupled)."""
    rate, decay, momentum = SGDW["learning_rate"], SGDW["weight_decay"], SGDW["momentum"]
    weights = [np.array(SGDW["problem"][name]) for name in ("kernel", "bias")]
    moments = [np.zeros_like(w) for w in weights]
    history = []
    for gradients in run["gradients"]:
        for k, gradient in enumerate(np.array(g) for g in gradients):
            if run["clipnorm"] is not None:
                gradient = gradient * min(1.0, run["clipnorm"] / np.linalg.norm(gradient))
            if order == "decay first":
                weights[k] = weights[k] - decay * weights[k]
            if order == "decay in the gradient":
                gradient = gradient + decay / rate * weights[k]
            moments[k] = momentum * moments[k] - rate * gradient
            weights[k] = weights[k] + moments[k]
            if order == "decay last":
                weights[k] = weights[k] - decay * weights[k]
        history.append(list(weights))
    return history


@pytest.fixture(params=[0, 1], ids=["no clipping", "clipnorm 5"])
def run(request) -> dict:
    return SGDW["runs"][request.param]


def test_reference_says_what_made_it():
    assert REFERENCE["made_with"]["tensorflow_addons"] == "0.23.0"
    assert REFERENCE["made_with"]["tensorflow"] == "2.15.1"
    assert [r["clipnorm"] for r in SGDW["runs"]] == [None, 5.0]
    kernel, bias = zip(*SGDW["runs"][1]["gradient_norms"], strict=True)
    assert min(kernel) > 5 and max(bias) > 5 > min(bias), (
        "clipping should be on for one weight, and on and off for one"
    )


def test_mish_values_and_gradients():
    """Values agree to one unit in the last place of float32 (at 8: 9.5e-7), gradients to a few units at 1.

    tensorflow-addons' own gradient is up to 3.4e-6 off the exact one (at x = 8, where it forms 1 - tanh^2 in
    float32), so the gradients are compared with that tolerance.
    """
    reference = np.array(REFERENCE["mish"]["gradient"])
    x = np.float32(REFERENCE["mish"]["x"])
    ours = keras.ops.convert_to_numpy(keras.activations.mish(keras.ops.convert_to_tensor(x)))
    np.testing.assert_allclose(ours, REFERENCE["mish"]["y"], rtol=2e-6, atol=1e-7)
    exact = np.array(REFERENCE["mish"]["x"])  # d/dx x tanh(softplus x), in float64
    tanh = np.tanh(np.logaddexp(0, exact))
    slope = tanh + exact * (1 - tanh**2) / (1 + np.exp(-exact))
    np.testing.assert_allclose(reference, slope, rtol=0, atol=5e-6)
    np.testing.assert_allclose(gradient_of(keras.activations.mish, x), reference, rtol=0, atol=5e-6)


def gradient_of(function, x: np.ndarray) -> np.ndarray:
    """d sum(function(x)) / dx, by a Keras step of rate 1 (so on whatever backend runs the tests)."""

    class Total(keras.Model):
        def __init__(self):
            super().__init__()
            self.point = self.add_weight(shape=x.shape, initializer="zeros", name="point")

        def call(self, inputs):
            return keras.ops.sum(function(self.point)) + 0 * keras.ops.sum(inputs)

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return y_pred

    model = Total()
    model.compile(
        keras.optimizers.SGD(2.0**10)
    )  # a large step, so that rounding at x is small beside the gradient
    model.point.assign(x)
    model.train_on_batch(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))
    return (x.astype(np.float64) - keras.ops.convert_to_numpy(model.point)) / 2.0**10


def test_sgd_follows_sgdw_given_the_same_gradients(run):
    history = keras_steps(run, SGDW["weight_decay"] / SGDW["learning_rate"], in_loop=False)
    assert worst(run, history) < TOLERANCE


def test_sgd_follows_sgdw_in_the_loop(run):
    """Each computes gradients from its own weights; the problem contracts, so differences do not grow."""
    history = keras_steps(run, SGDW["weight_decay"] / SGDW["learning_rate"], in_loop=True)
    assert worst(run, history) < TOLERANCE


def test_decay_not_divided_by_the_rate_would_be_seen(run):
    history = keras_steps(run, SGDW["weight_decay"], in_loop=False)
    assert worst(run, history) > 1e-3


def test_sgdw_decays_first_and_apart_from_the_gradient(run):
    """Which order tensorflow-addons used, settled by float64 replicas."""
    assert worst(run, replica(run, "decay first")) < TOLERANCE
    assert worst(run, replica(run, "decay last")) > 10 * TOLERANCE
    assert worst(run, replica(run, "decay in the gradient")) > 10 * TOLERANCE
