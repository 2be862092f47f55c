"""Learning rates, and which weights decay."""

import math
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from yoloseg.training.balance import LossBalance
from yoloseg.training.optimizers import WarmupCosine, build_optimizer, compile_trainer
from yoloseg.training.recipes import DEFAULT, PAPER


def rate(schedule, step: int) -> float:
    return float(keras.ops.convert_to_numpy(schedule(step)))


def test_warmup_is_linear_and_then_half_a_cosine():
    schedule = WarmupCosine(peak=0.4, warmup=10, steps=110, final_rate=0.1)
    for step in range(10):
        assert rate(schedule, step) == pytest.approx(0.4 * (step + 1) / 10)
    for step in (10, 35, 60, 100):
        half = 0.5 * (1 + math.cos(math.pi * (step - 10) / 100))
        assert rate(schedule, step) == pytest.approx(0.4 * (0.1 + 0.9 * half), rel=1e-5)
    assert rate(schedule, 60) == pytest.approx(0.4 * 0.55)
    assert rate(schedule, 110) == rate(schedule, 5000) == pytest.approx(0.04)


def test_without_warmup_it_starts_at_the_peak():
    assert rate(WarmupCosine(0.4, 0, 100, 0.0), 0) == pytest.approx(0.4)
    assert rate(WarmupCosine(0.4, 0, 100, 0.0), 100) == pytest.approx(0, abs=1e-8)


def test_schedule_round_trips():
    schedule = WarmupCosine(0.4, 3, 100, 0.2)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert isinstance(again, WarmupCosine) and again.get_config() == schedule.get_config()


def small_trainer() -> SimpleNamespace:
    """Named weights as the network has them: convolution, its bias, norm, a dense layer, and the balance."""
    layers = [
        keras.layers.Conv2D(3, 2, bias_initializer="ones"),
        keras.layers.BatchNormalization(beta_initializer="ones"),
        keras.layers.GroupNormalization(groups=1, beta_initializer="ones"),
        keras.layers.Dense(4, bias_initializer="ones"),
    ]
    keras.Sequential([keras.Input((4, 4, 3)), *layers])
    balance = LossBalance(["P2", "P3"], ["box", "mask"])
    balance.w.assign(np.ones((2, 2), np.float32))
    weights = [w for layer in layers for w in layer.trainable_weights] + [balance.w]
    return SimpleNamespace(balance=balance, trainable_variables=weights)


def shrunk(recipe) -> dict[str, float]:
    """Factor by which one step without any gradient changes each weight."""
    trainer = small_trainer()
    optimizer = build_optimizer(recipe, trainer, 100)
    before = [np.array(keras.ops.convert_to_numpy(w)) for w in trainer.trainable_variables]
    optimizer.build(trainer.trainable_variables)
    optimizer.apply(
        [keras.ops.zeros(w.shape) for w in trainer.trainable_variables], trainer.trainable_variables
    )
    factors = {}
    for variable, old in zip(trainer.trainable_variables, before, strict=True):
        new = keras.ops.convert_to_numpy(variable)
        ratio = np.mean(new[old != 0] / old[old != 0])
        np.testing.assert_allclose(new, old * ratio, rtol=1e-5)
        factors["/".join(variable.path.split("/")[-2:])] = float(ratio)
    return factors


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_only_kernels_decay(optimizer):
    recipe = replace(DEFAULT, optimizer=optimizer, warmup_steps=0, cosine=False)
    expected = 1 - recipe.learning_rate * recipe.weight_decay
    factors = shrunk(recipe)
    assert len(factors) == 9
    for name, factor in factors.items():
        assert factor == pytest.approx(expected if name.endswith("kernel") else 1.0, abs=1e-6), name


def test_sgdw_subtracts_the_decay_whatever_the_rate_and_spares_the_balance():
    for learning_rate in (1e-3, 1e-2):
        for name, factor in shrunk(replace(PAPER, learning_rate=learning_rate)).items():
            balance = name.endswith("loss_balance")
            assert factor == pytest.approx(1.0 if balance else 1 - PAPER.weight_decay, abs=1e-6), name


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize(("steps", "momentum"), [(10, 0.8), (100, 0.8), (2000, 0.99), (10**7, 0.9998)])
def test_memory_of_the_average_is_a_twentieth_of_the_run(steps, momentum, accumulate):
    optimizer = build_optimizer(DEFAULT, small_trainer(), steps, accumulate)
    assert optimizer.use_ema and optimizer.ema_momentum == pytest.approx(momentum)


def test_the_average_is_taken_after_every_batch_also_where_several_make_one_update():
    """On which the momentum above rests: a batch without an update moves the average, not the weight."""
    trainer = small_trainer()
    optimizer = build_optimizer(DEFAULT, trainer, 100, accumulate=2)
    optimizer.build(trainer.trainable_variables)
    ones = [keras.ops.ones(variable.shape) for variable in trainer.trainable_variables]
    for _ in range(4):  # two updates: the first sets the average
        optimizer.apply(ones, trainer.trainable_variables)
    weight, average = trainer.trainable_variables[0], optimizer._model_variables_moving_average[0]
    before, was = (np.array(keras.ops.convert_to_numpy(v)) for v in (weight, average))
    assert np.abs(before - was).max() > 0
    optimizer.apply(ones, trainer.trainable_variables)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), before)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(average), 0.8 * was + 0.2 * before, atol=1e-6)


def test_a_constant_rate_is_warmed_up_too():
    rate = build_optimizer(replace(DEFAULT, cosine=False), small_trainer(), 1000).learning_rate
    schedule = build_optimizer(replace(DEFAULT, cosine=False), small_trainer(), 1000)._learning_rate
    found = [float(keras.ops.convert_to_numpy(schedule(step))) for step in (0, 49, 99, 100, 550, 999)]
    peak = DEFAULT.learning_rate
    assert float(keras.ops.convert_to_numpy(rate)) == pytest.approx(peak / DEFAULT.warmup_steps)
    np.testing.assert_allclose(found, [peak / 100, peak / 2, peak, peak, peak, peak], rtol=1e-5)
    assert not callable(build_optimizer(PAPER, small_trainer(), 1000)._learning_rate), "it has no warm-up"


def test_the_scale_of_losses_goes_on_where_another_optimizer_does():
    """In float16: a new one from Keras' 32,768 would skip its first steps."""
    trainer = small_trainer()
    trainer.dtype_policy = keras.DTypePolicy("mixed_float16")
    trainer.rate_factors = {}
    trainer.compile = lambda optimizer, jit_compile: setattr(trainer, "optimizer", optimizer)
    compile_trainer(trainer, DEFAULT, 100)
    assert int(trainer.optimizer.dynamic_scale) == 1024
    large = [keras.ops.full(variable.shape, 1e5) for variable in trainer.trainable_variables]
    trainer.optimizer.apply([one * np.inf for one in large], trainer.trainable_variables)
    compile_trainer(trainer, DEFAULT, 100)
    assert int(trainer.optimizer.dynamic_scale) == 512 and int(trainer.optimizer.iterations) == 0


def test_warmup_takes_a_fifth_of_a_short_run_at_most():
    optimizer = build_optimizer(DEFAULT, small_trainer(), 50)
    assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == pytest.approx(
        DEFAULT.learning_rate / 10
    )
