"""The optimisers of the recipes, from Keras' own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import keras
from keras import ops

from yoloseg.training.muon import Muon
from yoloseg.training.recipes import Recipe

# Not made orthogonal: kernels at the ends of the network, the fully connected branch (too large) and the
# balancing weights (not a matrix, though stored as one).
BY_ADAM = ("stem", "_boxes", "_objectness", "_classes", "_logits", "mask_b_dense", "balance")
# Of the first steps in float16. Keras' 32,768 overflows, and steps that overflow are skipped: on photographs
# (`n` at 192, batch 8) it fell to 4,096 in four steps, and to 2,048 within twenty.
LOSS_SCALE = 1024.0


@keras.saving.register_keras_serializable(package="yoloseg")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear from 0 to `peak` over `warmup` steps, then a half cosine to `final_rate` x peak at `steps`.

    start: steps that were done before its optimiser began to count.
    """

    def __init__(self, peak: float, warmup: int, steps: int, final_rate: float, start: int = 0):
        self.peak, self.warmup, self.steps, self.final_rate = peak, warmup, steps, final_rate
        self.start = start

    def __call__(self, step):
        step = ops.cast(step, "float32") + self.start
        rise = (step + 1.0) / max(self.warmup, 1)
        done = ops.clip((step - self.warmup) / max(self.steps - self.warmup, 1), 0.0, 1.0)
        fall = self.final_rate + (1.0 - self.final_rate) * 0.5 * (1.0 + ops.cos(math.pi * done))
        return self.peak * ops.where(step < self.warmup, rise, fall)

    def get_config(self):
        names = ("peak", "warmup", "steps", "final_rate", "start")
        return {name: getattr(self, name) for name in names}


class LayerRates:
    """For optimisers: `rate_factors`, path of a variable -> factor on its learning rate, set before `build`.
    Decay that is done apart from the step, as SGD and AdamW do, goes by the whole rate."""

    rate_factors: dict[str, float] = {}

    def build(self, variables):
        self.factors = [self.rate_factors.get(variable.path, 1.0) for variable in variables]
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        factor = self.factors[self._get_variable_index(variable)]
        rate = learning_rate if factor == 1.0 else learning_rate * factor
        super().update_step(gradient, variable, rate)

    def finalize_variable_values(self, var_list):
        """Keras' fit on JAX calls it also when a step failed, before the variables have their values back:
        its average then stays where it is, and the step's own error is raised."""
        if all(getattr(variable, "_value", variable) is not None for variable in var_list):
            super().finalize_variable_values(var_list)


class LayerSGD(LayerRates, keras.optimizers.SGD):
    """Keras' SGD with a rate for each layer."""


class LayerAdamW(LayerRates, keras.optimizers.AdamW):
    """Keras' AdamW with a rate for each layer."""


class LayerMuon(LayerRates, Muon):
    """Muon with a rate for each layer."""


def build_optimizer(
    recipe: Recipe,
    trainer,
    steps: int,
    accumulate: int = 1,
    start: int = 0,
    rate_factors: Mapping[str, float] | None = None,
) -> keras.optimizers.Optimizer:
    """Optimizer for `steps` batches, with EMA weights whose memory is about a twentieth of the run.

    accumulate: batches whose mean gradient makes one update; rate and warm-up go by batches. start: batches
    of the run that another optimizer did before. rate_factors: on the rate of some variables, by path.

    "sgdw" is SGDW (arXiv 1711.05101, algorithm 1; tensorflow-addons' where the rate is constant): momentum
    0.9, decay subtracted as wd x w and, where the rate falls or rises, as that share of it; each gradient
    clipped by its own norm.
    "adamw" and "muon" (`yoloseg.training.muon`) decay only kernels and clip the global norm. The balancing
    weights never decay.
    """
    rate, warmup = recipe.learning_rate, min(recipe.warmup_steps, max(steps // 5, 1))
    if recipe.cosine or warmup:
        rate = WarmupCosine(rate, warmup, steps, recipe.final_rate if recipe.cosine else 1.0, start)
    # Keras averages after every batch, also where several make one update.
    ema = {"use_ema": True, "ema_momentum": min(0.9998, max(0.8, 1.0 - 20.0 / max(steps, 1)))}
    if accumulate > 1:
        ema["gradient_accumulation_steps"] = accumulate
    if recipe.optimizer == "sgdw":
        decay = recipe.weight_decay / recipe.learning_rate
        clip = {"clipnorm": recipe.clipnorm}
        optimizer = LayerSGD(rate, momentum=0.9, weight_decay=decay, **clip, **ema)
        exempt = [trainer.balance.w]
    else:
        made = {"adamw": LayerAdamW, "muon": partial(LayerMuon, adam_names=BY_ADAM)}[recipe.optimizer]
        clip = {"global_clipnorm": recipe.clipnorm}
        optimizer = made(rate, weight_decay=recipe.weight_decay, **clip, **ema)
        exempt = [w for w in trainer.trainable_variables if len(w.shape) < 2 or w is trainer.balance.w]
    optimizer.exclude_from_weight_decay(var_list=exempt)
    optimizer.rate_factors = dict(rate_factors or {})
    return optimizer


def compile_trainer(trainer, recipe: Recipe, steps: int, accumulate: int = 1, start: int = 0) -> None:
    """XLA only on JAX: on TensorFlow's CPU the plain graph was measured faster. The optimizer is built here:
    TensorFlow traces a step that makes variables twice. In float16 the scale of the losses goes on from that
    of an optimizer before."""
    optimizer = build_optimizer(recipe, trainer, steps, accumulate, start, trainer.rate_factors)
    if trainer.dtype_policy.name == "mixed_float16":
        before = getattr(trainer, "optimizer", None)  # Keras sets it when it compiles
        scale = getattr(before, "dynamic_scale", None)
        scale = LOSS_SCALE if scale is None else float(ops.convert_to_numpy(scale))
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=scale)
    trainer.compile(optimizer=optimizer, jit_compile=keras.backend.backend() == "jax")
    trainer.optimizer.build(trainer.trainable_variables)
