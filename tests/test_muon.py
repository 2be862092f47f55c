"""Muon: its orthogonal steps against NumPy, its others against Keras' Adam, its configuration round trip."""

import keras
import numpy as np
import pytest

from yoloseg.training.muon import NEWTON_SCHULZ, Muon, orthogonal

SHAPES = [(5, 7), (40, 8), (8, 40), (16, 16), (144, 32)]


def numpy_iteration(matrix: np.ndarray, steps: int = 5) -> np.ndarray:
    """The iteration as its authors write it, on the matrix itself, in float64."""
    a, b, c = NEWTON_SCHULZ
    x = matrix / np.linalg.norm(matrix)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", SHAPES)
def test_iteration_on_the_gram_matrix_is_the_iteration(shape):
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = keras.ops.convert_to_numpy(orthogonal(keras.ops.convert_to_tensor(matrix)))
    np.testing.assert_allclose(found, numpy_iteration(matrix.astype(np.float64)), atol=2e-4)


@pytest.mark.parametrize("shape", [(40, 8), (8, 40), (144, 32)])
def test_near_the_orthogonal_factor(shape):
    """Same singular vectors; singular values near 1 for a matrix whose own are within a factor of ten."""
    rng = np.random.default_rng(1)
    u, _, v = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    matrix = ((u * np.geomspace(1, 10, len(v))) @ v).astype(np.float32)
    found = keras.ops.convert_to_numpy(orthogonal(keras.ops.convert_to_tensor(matrix)))
    inner = u.T @ found @ v.T
    assert np.abs(inner - np.diag(np.diag(inner))).max() < 1e-3
    assert (np.diag(inner) > 0.6).all() and (np.diag(inner) < 1.3).all()


def tf32(array) -> np.ndarray:
    """Rounded to ten bits of mantissa, as GPUs do before they multiply."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)).view(np.float32)


@pytest.mark.parametrize("shape", [(8, 40), (144, 8), (576, 64)])
def test_what_gpus_round_does_not_grow(shape, monkeypatch):
    """A matrix that is nearly of rank one: the iteration without a restart ends with values of 6 to 60."""
    rng = np.random.default_rng(0)
    one, other = (vector / np.linalg.norm(vector) for vector in (rng.normal(size=side) for side in shape))
    noise = rng.normal(size=shape) / np.sqrt(max(shape))
    matrix = (np.outer(one, other) + 3e-3 * noise).astype(np.float32)

    def rounded(a, b):
        return keras.ops.convert_to_tensor(tf32(np.asarray(a)) @ tf32(np.asarray(b)))

    def largest():
        found = orthogonal(keras.ops.convert_to_tensor(matrix))
        return np.linalg.svd(keras.ops.convert_to_numpy(found), compute_uv=False)[0]

    monkeypatch.setattr(keras.ops, "matmul", rounded)
    assert largest() < 1.25
    monkeypatch.setattr("yoloseg.training.muon.RESTART", 0)
    assert largest() > 5


def test_a_kernel_that_no_gradient_tells_of_stays_where_it_is():
    rng = np.random.default_rng(0)
    kernel = keras.Variable(rng.normal(size=(3, 3, 4, 8)).astype(np.float32))
    optimizer = Muon(0.1)
    gradients = [keras.ops.convert_to_tensor(rng.normal(size=kernel.shape).astype("float32")) for _ in "ab"]
    nothing = keras.ops.zeros(kernel.shape)
    found = []
    for gradient in (gradients[0], nothing, nothing, gradients[1]):
        optimizer.apply([gradient], [kernel])
        found.append(keras.ops.convert_to_numpy(kernel).copy())
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])
    again, straight = keras.Variable(found[0] * 0), Muon(0.1)
    again.assign(np.random.default_rng(0).normal(size=kernel.shape).astype(np.float32))
    for gradient in gradients:
        straight.apply([gradient], [again])
    np.testing.assert_array_equal(found[3], keras.ops.convert_to_numpy(again))
    assert np.abs(found[3] - found[0]).max() > 1e-3


def test_no_gradient_is_no_step():
    nothing = orthogonal(keras.ops.zeros((6, 4)))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(nothing), 0)


def variable(shape, name, seed=0):
    return keras.Variable(np.random.default_rng(seed).normal(size=shape).astype(np.float32), name=name)


def test_steps_of_a_kernel_equal_the_loop():
    """Three steps of a 3 x 3 kernel: Nesterov momentum, the orthogonal step, its scale, the decay."""
    kernel = variable((3, 3, 4, 6), "kernel")
    expected = keras.ops.convert_to_numpy(kernel).astype(np.float64).reshape(36, 6)
    optimizer = Muon(0.05, momentum=0.9, weight_decay=0.1)
    moment = np.zeros((36, 6))
    for step in range(3):
        gradient = np.random.default_rng(step).normal(size=(36, 6))
        expected = expected * (1 - 0.05 * 0.1)
        moment = 0.9 * moment + gradient
        expected = expected - 0.05 * 0.2 * 6.0 * numpy_iteration((gradient + 0.9 * moment).T).T
        gradient = gradient.reshape(3, 3, 4, 6).astype(np.float32)
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [kernel])
    found = keras.ops.convert_to_numpy(kernel).reshape(36, 6)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 3, 4, 6), (1, 1, 6, 40)])
def test_steps_are_as_large_as_adams(shape):
    """A root mean square of 0.2 x rate, within the 0.7..1.2 of the singular values."""
    kernel = variable(shape, "kernel")
    before = keras.ops.convert_to_numpy(kernel)
    gradient = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    Muon(0.05).apply([keras.ops.convert_to_tensor(gradient)], [kernel])
    step = keras.ops.convert_to_numpy(kernel) - before
    assert 0.65 < np.sqrt(np.mean(step**2)) / (0.05 * 0.2) < 1.25


def test_biases_and_named_kernels_step_as_keras_adam():
    names = ["bias", "P2_boxes", "P2_mix0"]
    shapes = [(6,), (1, 1, 4, 6), (1, 1, 4, 6)]
    ours = [variable(shape, name) for shape, name in zip(shapes, names, strict=True)]
    adams = [variable(shape, name) for shape, name in zip(shapes, names, strict=True)]
    muon = Muon(0.02, adam_rate=0.5, adam_names=["_boxes"])
    adam = keras.optimizers.Adam(0.01)
    for step in range(4):
        gradients = [np.random.default_rng(step).normal(size=shape).astype(np.float32) for shape in shapes]
        muon.apply([keras.ops.convert_to_tensor(g) for g in gradients], ours)
        adam.apply([keras.ops.convert_to_tensor(g) for g in gradients], adams)
    for one, other, name in zip(ours, adams, names, strict=True):
        same = np.allclose(
            keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other), rtol=1e-4, atol=1e-6
        )
        assert same == (name != "P2_mix0"), name


def test_configuration_round_trips():
    optimizer = Muon(0.02, momentum=0.8, adam_rate=0.1, adam_names=["stem"], weight_decay=0.3, use_ema=True)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert isinstance(again, Muon) and again.get_config() == optimizer.get_config()
    assert again.adam_names == ("stem",) and again.decay == 0.3 and again.use_ema


def test_two_accumulated_gradients_are_one_step_of_their_mean():
    rng = np.random.default_rng(4)
    halves = [[rng.normal(size=(6, 4)).astype(np.float32) for _ in range(2)] for _ in range(3)]
    whole, parts = variable((6, 4), "kernel"), variable((6, 4), "kernel")
    start = keras.ops.convert_to_numpy(parts)
    one, two = Muon(0.05, weight_decay=0.1), Muon(0.05, weight_decay=0.1, gradient_accumulation_steps=2)
    for first, second in halves:
        one.apply([keras.ops.convert_to_tensor((first + second) / 2)], [whole])
        before = keras.ops.convert_to_numpy(parts)
        two.apply([keras.ops.convert_to_tensor(first)], [parts])
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(parts), before)
        two.apply([keras.ops.convert_to_tensor(second)], [parts])
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(parts), keras.ops.convert_to_numpy(whole), atol=1e-5
    )
    assert np.abs(keras.ops.convert_to_numpy(parts) - start).max() > 0.01
