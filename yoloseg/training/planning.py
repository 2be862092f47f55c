"""How many epochs a training has: as asked for, or as many as fill the minutes at this machine's speed."""

from __future__ import annotations

import math
import time

import keras
import numpy as np
from rich.console import Console

from yoloseg.data.loader import Loader
from yoloseg.data.records import Dataset
from yoloseg.errors import UsageError
from yoloseg.evaluation.evaluate_model import default_limit
from yoloseg.modeling.network import USUAL
from yoloseg.training.config import TrainConfig
from yoloseg.training.optimizers import compile_trainer
from yoloseg.training.recipes import Recipe
from yoloseg.training.stages import frozen_first, relative_cost, stages
from yoloseg.training.trainer import Trainer

# Share of the time that is not planned, for what else the machine does. With the machine to itself a run of
# 48 minutes took what was planned to 0.3 % (50 epochs of 43 steps, `n` at 416); with tests beside it 5 to 7
# minutes more.
RESERVE = 0.05
# Of the official matching, for each detection and object of a class in a picture (2.6e-7 with 600 and 500 of
# them), at each of ten IoUs and four size bands; once for boxes, once for masks.
MATCHING_SECONDS = 2.5e-7 * 10 * 4 * 2
TIMED_STEPS = 12  # steps, at least, whose median gives the speed, after the compiling ones


def duration(
    config: TrainConfig,
    recipe: Recipe,
    trainer: Trainer,
    loader: Loader,
    val: Dataset,
    frozen: float,
    started: float,
    console: Console,
) -> tuple[int, int]:
    """(epochs, steps an epoch), as asked for or as many as fill --minutes since `started` (monotonic).

    frozen: first epochs in which the backbone is; what is not frozen then is another graph.
    """
    epochs, minutes = config.duration
    if minutes is None:
        return epochs, len(loader)
    tracing, seconds, between = speed(trainer, recipe, loader, config.accumulate, 60 * minutes)
    # a batch takes as long as a step of training, or in proportion to the detections where they are more
    kept = default_limit(val, trainer.yoloseg)
    val_steps = -(-len(val) // loader.batch_size) * math.ceil(kept / USUAL)
    val_steps += math.ceil(pairs(val, kept) * MATCHING_SECONDS / seconds)
    left = (1 - RESERVE) * minutes - (time.monotonic() - started) / 60
    typical = stages(recipe, max(100, recipe.short), loader.imgsz, config.seed)
    cost = relative_cost(typical, loader.imgsz)
    traced = {(part.imgsz, part.frozen) for part in frozen_first(typical, min(frozen, typical[-1].last))}
    staged = left - len(traced) * tracing / 60
    pause = between / seconds
    epochs, steps = plan(staged, seconds * cost, len(loader), math.ceil(val_steps / cost), pause / cost)
    if epochs < recipe.short:
        traces = 2 if 0 < frozen < math.inf else 1
        epochs, steps = plan(left - traces * tracing / 60, seconds, len(loader), val_steps, pause)
        epochs = min(epochs, recipe.short - 1)
    console.print(f"{seconds:.3f} s a step: {epochs} epochs of {steps} steps fill {minutes:g} minutes")
    return epochs, steps


def pairs(dataset: Dataset, kept: int) -> float:
    """Detections times objects of the same class in a picture, of all, where `kept` are found of each: of its
    classes as its objects are."""
    total = 0.0
    for record in dataset.records:
        counts = np.bincount([one.class_index for one in record.annotations], minlength=1)
        total += kept * float(np.square(counts).sum()) / max(1, int(counts.sum()))
    return total


def speed(
    trainer: Trainer, recipe: Recipe, loader: Loader, accumulate: int = 1, most: float = math.inf
) -> tuple[float, float, float]:
    """Seconds of the first step, which traces; of the others, data included: the median, of means of
    `accumulate` steps, one of which is an update; and from one epoch to the next: the weights are read and
    set twice, for their average, and the first batch is not made in advance.

    Weights, statistics and random state are put back. Raises UsageError where `accumulate` steps take
    more than half of `most` seconds: they are timed, and then trained.
    """
    start = time.perf_counter()
    before = [keras.ops.convert_to_numpy(variable) for variable in trainer.variables]
    between = 2 * (time.perf_counter() - start)
    compile_trainer(trainer, recipe, 1000, accumulate)
    seconds = []
    for step in range(3 + accumulate * math.ceil(TIMED_STEPS / accumulate)):
        start = time.perf_counter()
        trainer.train_on_batch(loader[step % len(loader)])
        seconds.append(time.perf_counter() - start)
        if step == 2 and 2 * accumulate * seconds[-1] > most and accumulate > 1:
            raise UsageError(
                f"--accumulate {accumulate}: too many to be timed and trained in {most / 60:g} minutes"
            )
    trainer.reset_metrics()
    trainer.optimizer = None
    start = time.perf_counter()
    for variable, value in zip(trainer.variables, before, strict=True):
        variable.assign(value)
    between += 2 * (time.perf_counter() - start)
    start = time.perf_counter()
    loader[0]
    between += time.perf_counter() - start
    return seconds[0], float(np.median(np.reshape(seconds[3:], (-1, accumulate)).mean(axis=1))), between


def plan(
    minutes: float, seconds: float, steps_per_epoch: int, val_steps: int, pause: float = 0.0
) -> tuple[int, int]:
    """(epochs, steps an epoch) that fill the time; where it is less than an epoch's, a single shortened one,
    of one step at least.

    seconds: of a step. val_steps, pause: what an evaluation takes, and what lies between two epochs, in
    steps. The report at the end evaluates once more.
    """
    steps = int(minutes * 60 / seconds)
    for epochs in range(steps // steps_per_epoch, 1, -1):
        evaluations = -(-epochs // evaluated_every(epochs)) + 1
        if epochs * (steps_per_epoch + pause) + evaluations * val_steps <= steps:
            return epochs, steps_per_epoch
    return 1, max(1, min(steps - 2 * val_steps, steps_per_epoch))


def evaluated_every(epochs: int) -> int:
    """Epochs from one evaluation to the next: two to ten evaluations a run, the last one at its end."""
    return -(-epochs // min(10, max(2, epochs // 5)))
