"""What each choice of recipe `default` is worth: the same short training with one choice changed at a time.

    python train/ablations.py --data animals.yaml --out runs/ablations --arms base "smooth L1" --seeds 0 1

`base` is recipe `default` with all pictures at one size and flips alone. Six epochs at 256 x 256, a few
minutes an arm and seed on two cores; arms of augmentation and multi-scale need longer trainings
(--epochs 24) to show what they are worth.
Appends a line to OUT/ablations.csv after each run and prints the table. Runs that are there are skipped, so
the script may be stopped and started again; another version of the code needs an --out of its own. With
--one-class all classes count as one, `object`: what boxes and masks are worth shows also where classes are
too many for so few pictures.
What was measured is in train/ablations.md.
"""

import csv
import io
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro
from network_arms import VARIANTS, variant
from rich.console import Console
from rich.table import Table

from yoloseg.data.augment import Augmentation
from yoloseg.data.convert import write_datasets
from yoloseg.data.datafile import load_datasets
from yoloseg.data.records import Dataset
from yoloseg.files import write_text
from yoloseg.training.checkpoint import resumable
from yoloseg.training.config import TrainConfig
from yoloseg.training.recipes import DEFAULT
from yoloseg.training.run import train

BASE = replace(DEFAULT, augmentation=Augmentation(), stages=((1.0, 1.0),), short=0)
SGD = {"optimizer": "sgdw", "learning_rate": 1e-2, "weight_decay": 5e-6}
ARMS = {
    "base": {},
    "plain cross-entropy objectness": {"focus": 0.0},
    "objectness gain 1": {"gains": (8.0, 1.0, 2.0, 4.0)},
    "no gains": {"gains": (1.0, 1.0, 1.0, 1.0)},
    "learned balance": {"balance": "each"},
    "one learned weight a loss": {"balance": "loss"},
    "learned balance, plain cross-entropy": {"balance": "each", "focus": 0.0},
    "learned balance, plain cross-entropy, objectness gain 1": {
        "balance": "each",
        "focus": 0.0,
        "gains": (8.0, 1.0, 2.0, 4.0),
    },
    "learned balance, scale and translate": {
        "balance": "each",
        "augmentation": Augmentation(scale=(0.75, 1.33), translate=0.1),
    },
    "smooth L1": {"box_loss": "smooth_l1"},
    "objectness target 1": {"objectness_target": "one"},
    "class logits per anchor": {"classes_per_anchor": True},
    "class at the centroid": {"classes_at": "centroid"},
    "several anchors by aspect": {"assignment": "shape"},
    "assignment by IoU": {"assignment": "iou", "anchors_per_object": 0},
    "one anchor for each object": {"anchors_per_object": 1},
    "several anchors by aspect, within a factor of 4": {"assignment": "shape", "shape_ratio": 4.0},
    "6 anchors a level": {"anchors_per_level": 6},
    "no logit adjustment": {"logit_adjustment": 0.0},
    "AdamW": {"optimizer": "adamw", "learning_rate": 3e-3},
    "SGD": SGD,
    "batch 8": {"batch": 8},
    "batch 32": {"batch": 32},
    "colour": {"augmentation": Augmentation(hue=0.015, saturation=0.5, value=0.3)},
    "scale and translate": {"augmentation": Augmentation(scale=(0.75, 1.33), translate=0.1)},
    "colour, scale and translate": {
        "augmentation": Augmentation(
            hue=0.015, saturation=0.5, value=0.3, scale=(0.75, 1.33), translate=0.1
        )
    },
    "copy-paste, colour, scale and translate": {
        "augmentation": Augmentation(
            hue=0.015, saturation=0.5, value=0.3, scale=(0.75, 1.33), translate=0.1, copy_paste=0.5
        ),
        "mixing": 0.7,
    },
    "learned balance, colour, scale and translate": {
        "balance": "each",
        "augmentation": Augmentation(
            hue=0.015, saturation=0.5, value=0.3, scale=(0.75, 1.33), translate=0.1
        ),
    },
    "assignment by IoU, colour, scale and translate": {
        "assignment": "iou",
        "anchors_per_object": 0,
        "augmentation": Augmentation(
            hue=0.015, saturation=0.5, value=0.3, scale=(0.75, 1.33), translate=0.1
        ),
    },
    "one anchor for each object, colour, scale and translate": {
        "anchors_per_object": 1,
        "augmentation": Augmentation(
            hue=0.015, saturation=0.5, value=0.3, scale=(0.75, 1.33), translate=0.1
        ),
    },
    "several anchors by aspect, colour, scale and translate": {
        "assignment": "shape",
        "augmentation": Augmentation(
            hue=0.015, saturation=0.5, value=0.3, scale=(0.75, 1.33), translate=0.1
        ),
    },
    "colour, scale, translate, half mosaics": {
        "augmentation": Augmentation(
            hue=0.015, saturation=0.5, value=0.3, scale=(0.6, 1.5), translate=0.1, mosaic=0.5
        ),
        "mixing": 0.7,
    },
    "rotate": {"augmentation": Augmentation(rotate=10.0)},
    "mosaic": {"augmentation": Augmentation(scale=(0.5, 1.5), translate=0.1, mosaic=1.0), "mixing": 0.7},
    "copy-paste": {"augmentation": Augmentation(copy_paste=0.5), "mixing": 0.7},
    "erase": {"augmentation": Augmentation(erase=0.5)},
    "multi-scale": {"multi_scale": (0.75, 1.0, 1.25), "mixing": 0.7},
} | {name: {} for name in VARIANTS}
KEY = ("arm", "seed", "epochs", "imgsz", "precision")
FIELDS = (*KEY, "box_AP", "box_AP50", "mask_AP", "mask_AP50", "seconds")


@dataclass
class Options:
    """Train short, one choice changed at a time, and compare."""

    data: str
    """A data file, or `shapes`."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Which of the arms; all if not given."""
    seeds: tuple[int, ...] = (0, 1)
    """A run each."""
    epochs: int = 6
    """Of every run."""
    imgsz: int = 256
    """Network input."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Of every run."""
    one_class: bool = False
    """All objects are of one class; needs an --out of its own."""
    out: Path = Path("runs/ablations")
    """Where the runs and ablations.csv go."""


def merged(dataset: Dataset) -> Dataset:
    """The dataset with one class, `object`, of which every annotation is."""
    records = []
    for record in dataset.records:
        annotations = tuple(replace(one, class_index=0) for one in record.annotations)
        records.append(replace(record, annotations=annotations, verified=None))
    one = {"classes": ("object",), "category_ids": (1,), "frequencies": ()}
    return replace(dataset, records=records, problems=[], **one)


def run(options: Options) -> None:
    """Trains what is not in the table yet."""
    data, folder, path = options.data, options.out / "one_class", options.out / "ablations.csv"
    if path.exists() and options.one_class != folder.exists():
        how = "with" if folder.exists() else "without"
        raise SystemExit(f"{options.out}: holds trainings {how} --one-class; name another --out")
    if options.one_class:
        if not folder.exists():
            datasets = load_datasets(data)
            write_datasets({split: merged(dataset) for split, dataset in datasets.items()}, "coco", folder)
        data = str(folder / "data.yaml")
    unknown = [arm for arm in options.arms if arm not in ARMS]
    if unknown:
        raise SystemExit(f"unknown arms {', '.join(unknown)}; there are: {', '.join(ARMS)}")
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    known = {tuple(row[field] for field in KEY) for row in rows}
    for seed in options.seeds:
        for arm in options.arms:
            kind = [arm, str(seed), str(options.epochs), str(options.imgsz), options.precision]
            if tuple(kind) in known:
                continue
            recipe = replace(BASE, name=arm, **ARMS[arm])
            folder = options.out / "-".join(kind).replace(",", "").replace(" ", "_")
            config = TrainConfig(
                data=data,
                imgsz=(options.imgsz,),
                epochs=options.epochs,
                seed=seed,
                precision=options.precision,
                out=folder,
                resume=resumable(folder),
            )
            started = time.monotonic()
            with variant(arm):
                train(config, recipe)
            metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
            values = [metrics[kind][key] for kind in ("bbox", "segm") for key in ("AP", "AP50")]
            numbers = [f"{value:.4f}" for value in values] + [f"{time.monotonic() - started:.0f}"]
            rows.append(dict(zip(FIELDS, kind + numbers, strict=True)))
            text = io.StringIO()
            writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            write_text(path, text.getvalue())
    show(rows)


def show(rows: list[dict[str, str]]) -> None:
    """The table: an arm, epochs, input size and precision a line, its scores by seed."""
    fields = ("arm", "epochs", "imgsz", "precision")
    table = Table(*fields, "box AP", "box AP50", "mask AP", "mask AP50", "seconds")
    for kind in dict.fromkeys(tuple(row[field] for field in fields) for row in rows):
        own = [row for row in rows if tuple(row[field] for field in fields) == kind]
        names = ("box_AP", "box_AP50", "mask_AP", "mask_AP50")
        scores = [" / ".join(f"{float(row[name]):.3f}" for row in own) for name in names]
        table.add_row(*kind, *scores, " / ".join(row["seconds"] for row in own))
    Console().print(table)


if __name__ == "__main__":
    run(tyro.cli(Options))
