"""The optimisers of the recipes, from Keras' own."""

from __future__ import annotations

import math
from functools import partial

import keras
from keras import ops

from yoloseg.training.muon import Muon
from yoloseg.training.recipes import Recipe

# Not made orthogonal: kernels at the ends of the network, the fully connected branch (too large) and the
# balancing weights (not a matrix, though stored as one).
BY_ADAM = ("stem", "_boxes", "_objectness", "_classes", "_logits", "mask_b_dense", "balance")


@keras.saving.register_keras_serializable(package="yoloseg")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear from 0 to `peak` over `warmup` steps, then a half cosine to `final_rate` x peak at `steps`."""

    def __init__(self, peak: float, warmup: int, steps: int, final_rate: float):
        self.peak, self.warmup, self.steps, self.final_rate = peak, warmup, steps, final_rate

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rise = (step + 1.0) / max(self.warmup, 1)
        done = ops.clip((step - self.warmup) / max(self.steps - self.warmup, 1), 0.0, 1.0)
        fall = self.final_rate + (1.0 - self.final_rate) * 0.5 * (1.0 + ops.cos(math.pi * done))
        return self.peak * ops.where(step < self.warmup, rise, fall)

    def get_config(self):
        return {"peak": self.peak, "warmup": self.warmup, "steps": self.steps, "final_rate": self.final_rate}


def build_optimizer(recipe: Recipe, trainer, steps: int, accumulate: int = 1) -> keras.optimizers.Optimizer:
    """Optimizer for `steps` batches, with EMA weights whose memory is about a twentieth of the run.

    accumulate: batches whose mean gradient makes one update; rate and warm-up go by batches.

    "sgdw" is tensorflow-addons' SGDW: momentum 0.9, decay subtracted as wd x w, each gradient clipped by its
    own norm.
    "adamw" and "muon" (`yoloseg.training.muon`) decay only kernels and clip the global norm. The balancing
    weights never decay.
    """
    rate = recipe.learning_rate
    if recipe.cosine:
        rate = WarmupCosine(rate, min(recipe.warmup_steps, max(steps // 5, 1)), steps, recipe.final_rate)
    updates = max(steps // accumulate, 1)
    ema = {"use_ema": True, "ema_momentum": min(0.9998, max(0.8, 1.0 - 20.0 / updates))}
    if accumulate > 1:
        ema["gradient_accumulation_steps"] = accumulate
    if recipe.optimizer == "sgdw":
        decay = recipe.weight_decay / recipe.learning_rate
        clip = {"clipnorm": recipe.clipnorm}
        optimizer = keras.optimizers.SGD(rate, momentum=0.9, weight_decay=decay, **clip, **ema)
        exempt = [trainer.balance.w]
    else:
        made = {"adamw": keras.optimizers.AdamW, "muon": partial(Muon, adam_names=BY_ADAM)}[recipe.optimizer]
        clip = {"global_clipnorm": recipe.clipnorm}
        optimizer = made(rate, weight_decay=recipe.weight_decay, **clip, **ema)
        exempt = [w for w in trainer.trainable_variables if len(w.shape) < 2 or w is trainer.balance.w]
    optimizer.exclude_from_weight_decay(var_list=exempt)
    return optimizer


def compile_trainer(trainer, recipe: Recipe, steps: int, accumulate: int = 1) -> None:
    """XLA only on JAX: on TensorFlow's CPU the plain graph was measured faster."""
    optimizer = build_optimizer(recipe, trainer, steps, accumulate)
    trainer.compile(optimizer=optimizer, jit_compile=keras.backend.backend() == "jax")
