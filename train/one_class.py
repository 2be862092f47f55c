"""Recipe `default`, unchanged, on a set of one class and few photographs.

    python train/one_class.py --data animals.yaml --name elephant --pictures 110 --minutes 20

Takes so many training pictures that show the class, spread over the set, and all such validation pictures;
other classes are left out. docs/measured.md has what it reached.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from yoloseg.data.classes import choose_classes
from yoloseg.data.convert import write_datasets
from yoloseg.data.datafile import load_datasets
from yoloseg.training.config import TrainConfig
from yoloseg.training.run import train


@dataclass
class Options:
    """Train on a small set of one class."""

    data: str
    """A data file with train and val."""
    name: str
    """The class."""
    pictures: int = 110
    """To train on."""
    minutes: float = 20
    """Of the whole training."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """As of `yoloseg train`."""
    seed: int = 0
    """Of the training."""
    out: Path = Path("runs/one_class")
    """Folder for the data and the run."""


def subset(options: Options) -> Path:
    """Writes the data of one class, once. Raises SystemExit where there are too few pictures of it."""
    folder = options.out / f"{options.name}{options.pictures}"
    if (folder / "data.yaml").exists():
        return folder / "data.yaml"
    chosen = {}
    for split, dataset in load_datasets(options.data).items():
        dataset = choose_classes(dataset, (options.name,), dataset.name)
        records = [record for record in dataset.records if record.annotations]
        if split == "train":
            if len(records) < options.pictures:
                raise SystemExit(f"only {len(records)} pictures of {options.data} show {options.name}")
            spread = np.linspace(0, len(records) - 1, options.pictures).round().astype(int)
            records = [records[i] for i in spread]
        chosen[split] = replace(dataset, records=records, problems=[])
    path, _ = write_datasets(chosen, "coco", folder)
    return path


if __name__ == "__main__":
    options = tyro.cli(Options)
    train(
        TrainConfig(
            data=str(subset(options)),
            minutes=options.minutes,
            precision=options.precision,
            seed=options.seed,
            out=options.out / f"{options.name}{options.pictures}-seed{options.seed}",
        )
    )
