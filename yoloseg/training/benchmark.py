"""Time of a training step, the share of it spent waiting for data, and the memory it takes."""

from __future__ import annotations

import time
from dataclasses import dataclass

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from yoloseg.data.datafile import load_datasets
from yoloseg.data.summary import count_instances
from yoloseg.memory import peak_memory
from yoloseg.training.config import TrainConfig
from yoloseg.training.optimizers import compile_trainer
from yoloseg.training.recipe_file import find_recipe
from yoloseg.training.run import build_loader, build_model
from yoloseg.training.trainer import Trainer

WARM_UP = 3


@dataclass
class TrainingTimes:
    """Seconds of every step: `waiting` for the batch, `computing` with it. peak_memory: bytes, the most this
    process ever held; None where the system does not tell."""

    title: str
    batch: int
    waiting: list[float]
    computing: list[float]
    peak_memory: int | None

    @property
    def seconds_per_image(self) -> float:
        """Median over the steps, waiting included."""
        return float(np.median(np.add(self.waiting, self.computing))) / self.batch

    @property
    def share_waiting(self) -> float:
        return sum(self.waiting) / (sum(self.waiting) + sum(self.computing))


def time_training(config: TrainConfig, steps: int) -> TrainingTimes:
    """Trains `steps` steps as `yoloseg train` does with this config, after the ones that compile.

    Raises YolosegError for data or weights that cannot be used.
    """
    recipe = find_recipe(config.recipe)
    batch = config.batch or recipe.batch
    dataset = load_datasets(config.data, ("train",))["train"]
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    model, *_ = build_model(config, recipe, dataset, Console(highlight=False))
    loader = build_loader(config, recipe, batch, dataset)
    trainer = Trainer(model, recipe, class_counts=count_instances(dataset)[0])
    compile_trainer(trainer, recipe, 1000)
    waiting, computing = [], []
    for step in range(WARM_UP + steps):
        start = time.perf_counter()
        inputs = loader[step % len(loader)]
        ready = time.perf_counter()
        trainer.train_on_batch(inputs)
        waiting.append(ready - start)
        computing.append(time.perf_counter() - ready)
    title = f"size {config.size}, {dataset.name}, input {' x '.join(map(str, model.imgsz))}, "
    title += f"batch {batch}, {steps} steps, {config.precision}"
    return TrainingTimes(title, batch, waiting[WARM_UP:], computing[WARM_UP:], peak_memory())


def print_training(times: TrainingTimes, threads: int, console: Console | None = None) -> None:
    """A table of the measurements."""
    console = console or Console(highlight=False)
    table = Table(show_header=False)
    table.add_row("an image (median)", f"{times.seconds_per_image:.3f} s")
    table.add_row("step, least", f"{min(np.add(times.waiting, times.computing)):.3f} s")
    table.add_row("waiting for data", f"{100 * times.share_waiting:.1f} %")
    memory = "unknown on this system" if times.peak_memory is None else f"{times.peak_memory / 1e9:.2f} GB"
    table.add_row("peak memory", memory)
    console.print(f"training {times.title}", markup=False)
    console.print(table)
    console.print(f"{keras.backend.backend()}, {threads} threads")
