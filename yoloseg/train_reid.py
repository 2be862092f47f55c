"""`python -m yoloseg.train_reid`: gives a trained network a head by which instances are known again."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from yoloseg.cli import run_command

if TYPE_CHECKING:
    import keras

    from yoloseg.data.records import Dataset
    from yoloseg.training.reid_bank import Bank, DescribeStage

EVERY = 10.0  # seconds from one line of progress to the next


@dataclass
class Options:
    """Train a head for `yoloseg track --reid`: it learns to tell the annotated instances of a set apart, from
    frames of its clips or, where it has none, from several drawings of each picture. What the network finds
    stays the same to the last bit; a head that it has is replaced."""

    weights: Path
    """A .keras file written by training."""
    out: Path
    """Where the network with the head is written (.keras)."""
    data: str = "shapes"
    """A data file (YAML), a folder that an annotation tool exported, or `shapes` (built in); its classes need
    not be the network's."""
    epochs: int = 60
    """Passes over the pictures or clips."""
    batch: int = 16
    """Pictures or clips whose instances are told apart in a step."""
    views: int = 8
    """Frames taken of each clip, augmented views of each picture."""
    limit: int = 6000
    """Most views taken of a split."""
    dim: int = 64
    """Length of an instance's embedding."""
    seed: int = 0
    """Of weights, order and views."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 after an error of the user's, printed to stderr."""
    options = tyro.cli(Options, args=argv, prog="yoloseg train-reid")
    return run_command(lambda: train(options))


def train(options: Options) -> None:
    """Runs the command. Raises YolosegError for flags, weights or data that cannot be used."""
    import keras

    from yoloseg.errors import DataError, UsageError
    from yoloseg.files import check_writable
    from yoloseg.modeling.network import load_model, save_model
    from yoloseg.training.reid_bank import DescribeStage
    from yoloseg.training.reid_trainer import train_head, with_head

    for name, least in (("epochs", 1), ("batch", 2), ("views", 2), ("limit", 2), ("dim", 2), ("seed", 0)):
        if getattr(options, name) < least:
            raise UsageError(f"--{name} must be at least {least}, not {getattr(options, name)}")
    if options.seed >= 2**32:
        raise UsageError(f"--seed must be below 2 ** 32, got {options.seed}")
    if options.limit < options.views:
        raise UsageError(f"--limit {options.limit} is below --views {options.views}")
    if options.out.suffix != ".keras":
        raise UsageError(f"--out {options.out}: name a .keras file")
    if options.out.is_dir():
        raise UsageError(f"--out {options.out} is a folder; name a file")
    check_writable(options.out)
    model = load_model(options.weights)
    datasets = load_splits(options.data)
    stage = DescribeStage(model)
    banks = {"train": bank_of(options, stage, datasets["train"])}
    if "val" in datasets:
        try:
            banks["val"] = bank_of(options, stage, datasets["val"])
        except DataError as error:
            print(f"note: {error}; measured on the training pictures instead", file=sys.stderr)
    measured = "val" if "val" in banks else "train"
    keras.utils.set_random_seed(options.seed)
    new = with_head(model, options.dim)

    def report(epoch: int, loss: float) -> None:
        if epoch in (1, options.epochs) or epoch % 10 == 0:
            shown = top1(banks[measured], new.reid_head)
            print(f"epoch {epoch}/{options.epochs}  loss {loss:.3f}  {shown} ({measured})", flush=True)

    print(f"without a head  {top1(banks[measured])} ({measured})", flush=True)
    train_head(new.reid_head, banks["train"], options.epochs, options.batch, options.seed, report)
    save_model(new, options.out)
    print(f"written: {options.out}; `yoloseg track --weights {options.out} --reid` uses the head")


def load_splits(data: str) -> dict[str, Dataset]:
    """The training split, and that for validation where there is one. Raises DataError."""
    from yoloseg.data.datafile import load_datasets, read_datafile

    there = ("train", "val") if data == "shapes" else read_datafile(data)
    return load_datasets(data, ("train", "val") if "val" in there else ("train",))


def bank_of(options: Options, stage: DescribeStage, dataset: Dataset) -> Bank:
    """The network's view of a set, with lines of progress. Raises DataError."""
    from yoloseg.training.reid_bank import build_bank

    told = time.monotonic()

    def progress(done: int, views: int) -> None:
        nonlocal told
        if done == views or time.monotonic() - told > EVERY:
            told = time.monotonic()
            print(f"{dataset.name}: {done} of {views} views", flush=True)

    return build_bank(stage, dataset, options.views, options.limit, options.seed, progress)


def top1(bank: Bank, head: keras.Model | None = None) -> str:
    """How many instances are found in another view of their picture or clip, by a head or without one."""
    from yoloseg.training.reid_trainer import embedded, retrieval

    share, asked = retrieval(embedded(bank.vectors, head), bank)
    return f"top-1 {share:.1%} of {asked}" if asked else "top-1 unknown: no view shows two instances"


if __name__ == "__main__":
    sys.exit(main())
