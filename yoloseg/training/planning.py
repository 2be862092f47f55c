"""How many epochs a training has: as asked for, or as many as fill the minutes at this machine's speed."""

from __future__ import annotations

import math
import time

import keras
import numpy as np
from rich.console import Console

from yoloseg.data.loader import Loader
from yoloseg.training.config import TrainConfig
from yoloseg.training.optimizers import compile_trainer
from yoloseg.training.recipes import Recipe
from yoloseg.training.stages import relative_cost, stages
from yoloseg.training.trainer import Trainer

TIMED_STEPS = 12  # steps whose median gives the speed, after the compiling ones


def duration(
    config: TrainConfig,
    recipe: Recipe,
    trainer: Trainer,
    loader: Loader,
    pictures: int,
    started: float,
    console: Console,
) -> tuple[int, int]:
    """(epochs, steps an epoch), as asked for or as many as fill --minutes since `started` (monotonic).

    pictures: in the validation set.
    """
    epochs, minutes = config.duration
    if minutes is None:
        return epochs, len(loader)
    tracing, seconds = seconds_per_step(trainer, recipe, loader, config.accumulate)
    val_steps = -(-pictures // loader.batch_size)
    left = minutes - (time.monotonic() - started) / 60
    typical = stages(recipe, max(100, recipe.short), loader.imgsz, config.seed)
    cost = relative_cost(typical, loader.imgsz)
    staged = left - len({stage.imgsz for stage in typical}) * tracing / 60
    epochs, steps = plan(staged, seconds * cost, len(loader), math.ceil(val_steps / cost))
    if epochs < recipe.short:
        epochs, steps = plan(left - tracing / 60, seconds, len(loader), val_steps)
        epochs = min(epochs, recipe.short - 1)
    console.print(f"{seconds:.3f} s a step: {epochs} epochs of {steps} steps fill {minutes:g} minutes")
    return epochs, steps


def seconds_per_step(
    trainer: Trainer, recipe: Recipe, loader: Loader, accumulate: int = 1
) -> tuple[float, float]:
    """Seconds of the first step, which traces, and median seconds of the others, data included.

    Weights, statistics and random state are put back.
    """
    before = [keras.ops.convert_to_numpy(variable) for variable in trainer.variables]
    compile_trainer(trainer, recipe, 1000, accumulate)
    seconds = []
    for step in range(TIMED_STEPS + 3):
        start = time.perf_counter()
        trainer.train_on_batch(loader[step % len(loader)])
        seconds.append(time.perf_counter() - start)
    trainer.reset_metrics()
    trainer.optimizer = None
    for variable, value in zip(trainer.variables, before, strict=True):
        variable.assign(value)
    return seconds[0], float(np.median(seconds[3:]))


def plan(minutes: float, seconds: float, steps_per_epoch: int, val_steps: int) -> tuple[int, int]:
    """(epochs, steps an epoch) that fill the time; under one epoch, a single shortened one, of one step where
    no time is left.

    seconds: of a step. val_steps: batches of an evaluation; one is reckoned as long as a step of training.
    The report at the end evaluates once more.
    """
    steps = max(1, int(minutes * 60 / seconds))
    if steps < steps_per_epoch:
        return 1, steps
    epochs = steps // steps_per_epoch
    while epochs > 1:
        evaluations = -(-epochs // evaluated_every(epochs)) + 1
        if epochs * steps_per_epoch + evaluations * val_steps <= steps:
            break
        epochs -= 1
    return epochs, steps_per_epoch


def evaluated_every(epochs: int) -> int:
    """Epochs from one evaluation to the next: two to ten evaluations a run, the last one at its end."""
    return -(-epochs // min(10, max(2, epochs // 5)))
