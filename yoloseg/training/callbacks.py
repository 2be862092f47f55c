"""What happens beside the steps: evaluation of the EMA weights, checkpoints, logging, progress."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from yoloseg.data.loader import Loader
from yoloseg.errors import UsageError
from yoloseg.files import atomic_write, write_json, write_text
from yoloseg.modeling.architecture import LEVELS
from yoloseg.modeling.network import YoloSeg, save_model
from yoloseg.training import checkpoint
from yoloseg.training.curves import save_curves
from yoloseg.training.losses import LOSSES
from yoloseg.training.trainer import Trainer

SAVE_SHARE = 20  # seconds of training for one of saving


def average_weights(trainer: Trainer, target: YoloSeg) -> list[np.ndarray]:
    """Puts the EMA of the trained weights, and the BatchNorm statistics as they are, into `target`.

    Returns the trained weights, which stay what they are. Where float16 has skipped every step so far there
    is no average, and they are it.
    """
    raw = [np.array(keras.ops.convert_to_numpy(variable)) for variable in trainer.trainable_variables]
    if int(getattr(trainer.optimizer, "inner_optimizer", trainer.optimizer).iterations):
        trainer.optimizer.finalize_variable_values(trainer.trainable_variables)
    for source, copy in zip(trainer.yoloseg.weights, target.weights, strict=True):
        copy.assign(keras.ops.convert_to_numpy(source))
    put_back(trainer, raw)
    return raw


def put_back(trainer: Trainer, raw: list[np.ndarray]) -> None:
    """Sets the trainable variables."""
    for variable, value in zip(trainer.trainable_variables, raw, strict=True):
        variable.assign(value)


def loss_sums(logs: dict) -> dict[str, float]:
    """{"box": ..., "objectness": ..., "class": ..., "mask": ...}: each loss summed over the levels."""
    return {
        loss: sum(float(logs[f"{loss}_{level}"]) for level in LEVELS)
        for loss in LOSSES
        if f"{loss}_{LEVELS[0]}" in logs
    }


def no_number(what: str) -> UsageError:
    """Of a training that is lost."""
    return UsageError(
        f"{what}; the state that was saved last is kept. "
        "Train anew in float32 precision, or with a larger --batch"
    )


class Epochs(keras.callbacks.Callback):
    """Tells the loader which epoch it is, so that a resumed run sees the batches of the unbroken one."""

    def __init__(self, loader: Loader):
        super().__init__()
        self.loader = loader

    def on_epoch_begin(self, epoch, logs=None):
        self.loader.epoch = epoch


def written_ap(folder: Path) -> float:
    """Mask AP of the best.keras in the folder of a run that is resumed, -1 without one. It may be of an epoch
    that no state has, and that comes out worse where a training cannot be repeated to the last digit."""
    if not (folder / "best.keras").exists():
        return -1.0
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        return float(metrics["segm"]["AP"]) if "epoch" in metrics else -1.0  # others are of an evaluation
    except (OSError, ValueError, KeyError, TypeError):
        return -1.0


class Watch(keras.callbacks.Callback):
    """At an epoch's end the EMA weights, in `averaged`; at times `metrics.json` and `best.keras`.

    The score threshold with the best mask F1 is stored in the files. After `patience` evaluations without a
    better mask AP the training stops.

    evaluate: YoloSeg -> metrics as `yoloseg.evaluation` has them. Adds to the logs, for the callbacks after
    it: the learning rate, every balancing weight, seconds, and box_AP, box_AP50, mask_AP, mask_AP50 (NaN in
    epochs without evaluation).
    """

    def __init__(
        self,
        averaged: YoloSeg,
        evaluate: Callable[[YoloSeg], dict],
        folder: Path,
        progress: checkpoint.Progress,
        every: int,
        patience: int | None = None,
    ):
        super().__init__()
        self.averaged, self.evaluate, self.folder, self.every = averaged, evaluate, folder, every
        self.epochs, self.patience = progress.epochs, patience
        self.best_ap, self.stale = progress.best_ap, progress.stale
        self.kept, self.told = folder / "best.keras", folder / "metrics.json"
        # mask AP of the files there: they are replaced by what is as good
        self.written = max(progress.best_ap, written_ap(folder)) if self._both_there() else -math.inf
        self.started = time.monotonic() - progress.seconds
        self.raw: list[np.ndarray] | None = None
        self.improved = False  # in the last epoch

    def _both_there(self) -> bool:
        return self.kept.exists() and self.told.exists()

    def on_train_end(self, logs=None):
        """Keras' fit ends by putting the EMA in place of the weights; the next stage goes on from these."""
        if self.raw is not None:
            put_back(self.model, self.raw)

    def on_epoch_end(self, epoch, logs=None):
        trainer, done = self.model, epoch + 1
        logs["learning_rate"] = float(np.asarray(trainer.optimizer.learning_rate))
        weights = trainer.balance.values()
        for i, level in enumerate(LEVELS):
            for j, loss in enumerate(LOSSES):
                logs[f"w_{loss}_{level}"] = float(weights[i, j])
        self.raw = average_weights(trainer, self.averaged)
        if not all(np.isfinite(values).all() for values in self.raw):
            raise no_number("a weight is no number after the last batch of the epoch")
        self.improved = False
        scores = dict.fromkeys(("box_AP", "box_AP50", "mask_AP", "mask_AP50"), math.nan)
        if done % self.every == 0 or done == self.epochs:
            metrics = self.evaluate(self.averaged)
            for name, kind in (("box", "bbox"), ("mask", "segm")):
                scores |= {f"{name}_{key}": metrics[kind][key] for key in ("AP", "AP50")}
            if metrics["best_f1_threshold"] > 0:
                self.averaged.score_threshold = metrics["best_f1_threshold"]
            self.stale = 0 if scores["mask_AP"] > self.best_ap else self.stale + 1
            if self.patience is not None and self.stale >= self.patience:
                self.model.stop_training = True
            if scores["mask_AP"] >= self.written or not self._both_there():
                self.improved, self.written = True, scores["mask_AP"]
                with atomic_write(self.kept, durable=True) as aside:
                    self.averaged.save(aside)
                    # after a kill it must not be of another epoch than best.keras
                    self.told.unlink(missing_ok=True)
                write_json(self.told, {"epoch": done, **metrics}, durable=True)
            self.best_ap = max(self.best_ap, scores["mask_AP"])
        logs.update(scores)
        logs["seconds"] = time.monotonic() - self.started


class SaveState(keras.callbacks.Callback):
    """At an epoch's end `last.keras` and the state to resume from, after `Watch` and `Results`: no state
    knows of an epoch whose row or best.keras is missing. Where epochs are short, not at every one, so that
    saving takes a twentieth of the time, but after every new best.keras: where a run cannot be repeated to
    the last digit, one that is resumed from before it may not come to it again.
    """

    def __init__(self, watch: Watch, folder: Path, progress: checkpoint.Progress):
        super().__init__()
        self.watch, self.folder, self.progress = watch, folder, progress
        self.next_save = 0.0

    def on_epoch_end(self, epoch, logs=None):
        now, done, watch = time.monotonic(), epoch + 1, self.watch
        last = done == self.progress.epochs or self.model.stop_training
        if now < self.next_save and not last and not watch.improved:
            return
        save_model(watch.averaged, self.folder / "last.keras")
        state = dataclasses.replace(
            self.progress,
            epoch=done,
            seconds=logs["seconds"],
            best_ap=watch.best_ap,
            stale=watch.stale,
            score_threshold=watch.averaged.score_threshold,
        )
        checkpoint.save_state(self.folder, self.model, state)
        self.next_save = time.monotonic() + SAVE_SHARE * (time.monotonic() - now)


class Results(keras.callbacks.Callback):
    """results.csv: a header, and one row an epoch with everything in the logs. A resumed run keeps the rows
    of the `done` epochs that its state has.

    Not Keras' CSVLogger, which adds a column `val_...` of NA for every name.
    """

    def __init__(self, path: Path, done: int = 0):
        super().__init__()
        self.path = path
        self.lines = []
        if done and path.exists():
            header, *rows = path.read_text(encoding="utf-8").splitlines()
            self.lines = [header, *(row for row in rows if int(row.split(",")[0]) < done)]

    def on_epoch_end(self, epoch, logs=None):
        names = sorted(logs)
        if not self.lines:
            self.lines.append(",".join(["epoch", *names]))
        self.lines.append(",".join([str(epoch), *(repr(float(logs[name])) for name in names)]))
        write_text(self.path, "\n".join(self.lines) + "\n")


class Curves(keras.callbacks.Callback):
    """curves.png, drawn anew after every evaluation: to be looked at while the training goes on. After the
    last one the report's is drawn."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        if not math.isnan(logs["mask_AP"]):
            save_curves(self.folder / "results.csv", self.folder / "curves.png")


class StopOnNaN(keras.callbacks.Callback):
    """A loss that is no number ends the run before the state is overwritten, with a UsageError. (What the
    last step of an epoch does to the weights shows in no loss of that epoch: `Watch` looks at them.)"""

    def on_train_batch_end(self, batch, logs=None):
        if logs and not math.isfinite(float(logs["loss"])):
            raise no_number(f"the loss is {logs['loss']} at batch {batch}")


class ShowProgress(keras.callbacks.Callback):
    """One live line with every loss and the time left; where there is no terminal, one line an epoch."""

    def __init__(self, epochs: int, steps: int, done: int = 0):
        super().__init__()
        self.console = Console()
        self.epochs, self.steps = epochs, steps
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("training", total=epochs * steps, completed=done * steps, losses="")
        self.epoch = done

    def on_train_begin(self, logs=None):
        self.bar.start()

    def on_train_end(self, logs=None):
        self.bar.stop()

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        description = f"epoch {epoch + 1}/{self.epochs}"
        self.bar.update(self.task, completed=epoch * self.steps, description=description)

    def on_train_batch_end(self, batch, logs=None):
        if self.console.is_terminal and batch % 5 == 4:
            self.bar.update(self.task, completed=self.epoch * self.steps + batch + 1, losses=self.text(logs))

    def on_epoch_end(self, epoch, logs=None):
        line = f"epoch {epoch + 1}/{self.epochs}  {self.text(logs)}"
        if not math.isnan(logs.get("mask_AP", math.nan)):
            line += f"  box AP50 {logs['box_AP50']:.3f}"
            line += f"  mask AP50 {logs['mask_AP50']:.3f}  mask AP {logs['mask_AP']:.3f}"
        left = logs["seconds"] / (epoch + 1) * (self.epochs - epoch - 1)
        self.console.print(f"{line}  {logs['seconds'] / 60:.1f} min, {left / 60:.1f} left", highlight=False)

    @staticmethod
    def text(logs) -> str:
        parts = {"total": float(logs["loss"]), **loss_sums(logs)}
        return " ".join(f"{name} {value:.3f}" for name, value in parts.items())
