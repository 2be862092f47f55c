"""The state of a training, so that a killed one goes on: weights, optimiser, random state, where it was."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import keras

from yoloseg.errors import UsageError, WeightsError
from yoloseg.files import atomic_write, write_json

STATE = "state.json"


@dataclass(frozen=True)
class Progress:
    """Where a training is. epoch: epochs done. best_ap: best mask AP so far, -1 before any evaluation; stale:
    evaluations since it last rose. score_threshold: of the averaged network; none in a state that was only
    started. weights: the file of the state; none before the first epoch was saved.

    random: state of the trainer's SeedGenerator, which Keras keeps out of weights files.
    """

    epoch: int
    epochs: int
    steps_per_epoch: int
    seconds: float
    best_ap: float
    stale: int = 0
    score_threshold: float | None = None
    weights: str = ""
    random: Sequence[int] = ()


def save_start(folder: Path, progress: Progress) -> None:
    """So that a run which is killed in its first epoch can be resumed, from its beginning."""
    write_json(folder / STATE, asdict(progress), durable=True)


def only_started(folder: Path) -> bool:
    """Whether a folder holds a run that was stopped before its first epoch was saved: nothing to lose."""
    return (folder / STATE).exists() and not read_progress(folder).weights


def resumable(folder: Path) -> bool:
    """Whether a folder holds a run with an epoch saved, and not finished."""
    return (folder / STATE).exists() and not only_started(folder)


def save_state(folder: Path, trainer: keras.Model, progress: Progress) -> None:
    """Writes weights and optimiser aside, then `state.json` that names them.

    A kill at any moment leaves a whole state.
    """
    name = f"state-{progress.epoch:05d}.weights.h5"
    with atomic_write(folder / name, durable=True) as aside:
        try:
            trainer.save_weights(aside)
        except RuntimeError as error:  # h5py's, where the disk is full only when the file is closed
            if "error message" not in str(error):
                raise
            raise OSError(str(error)) from error
    random = keras.ops.convert_to_numpy(trainer.seed.state).tolist()
    write_json(folder / STATE, asdict(progress) | {"weights": name, "random": random}, durable=True)
    for old in folder.glob("state-*.weights.h5"):
        if old.name != name:
            old.unlink(missing_ok=True)


def read_progress(folder: Path) -> Progress:
    """Raises UsageError when there is nothing to resume; of a finished run it removes what is left of a state
    that a kill kept it from removing."""
    path = folder / STATE
    if not path.is_file():
        if (folder / "best.keras").is_file() and (folder / "report.html").is_file():
            remove_state(folder)
            raise UsageError(f"{folder}: holds a finished run, there is nothing left to resume")
        raise UsageError(
            f"{folder}: holds no {STATE}, so there is no run to resume; leave out --resume to start one"
        )
    try:
        return Progress(**json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: is not the state of a training: {error}") from error


def load_state(folder: Path, trainer: keras.Model, progress: Progress) -> None:
    """Restores weights, optimiser and random state, of a run that was only started nothing. Raises
    WeightsError when they cannot be read."""
    if not progress.weights:
        return
    if not trainer.optimizer.built:
        trainer.optimizer.build(trainer.trainable_variables)
    path = folder / progress.weights
    try:
        with warnings.catch_warnings():  # Keras only warns where an optimizer of other variables is left out
            warnings.filterwarnings("error", message="Skipping variable loading")
            trainer.load_weights(path)
        trainer.seed.state.assign(progress.random)
    except (OSError, ValueError, KeyError, UserWarning) as error:
        raise WeightsError(f"{path}: cannot resume from it: {error}") from error


def remove_state(folder: Path) -> None:
    """A finished run has nothing to resume."""
    (folder / STATE).unlink(missing_ok=True)
    for old in folder.glob("state-*.weights.h5"):
        old.unlink(missing_ok=True)
