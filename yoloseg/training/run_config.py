"""config.yaml of a run folder: everything the run was made with, for people and for --resume."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Sequence
from pathlib import Path

import keras
import yaml

from yoloseg import __version__
from yoloseg.data.loader import Loader
from yoloseg.data.records import Dataset
from yoloseg.errors import UsageError
from yoloseg.files import write_text
from yoloseg.modeling.network import YoloSeg
from yoloseg.training.checkpoint import Progress
from yoloseg.training.config import TrainConfig
from yoloseg.training.recipes import Recipe
from yoloseg.training.stages import Stage

NAME = "config.yaml"
# what --resume goes by
MADE = ("pictures", "classes", "outlines", "anchors", "classes per anchor", "loaded layers")


def write_config(
    folder: Path,
    config: TrainConfig,
    recipe: Recipe,
    progress: Progress,
    parts: Sequence[Stage],
    datasets: dict[str, Dataset],
    loader: Loader,
    model: YoloSeg,
    loaded: Sequence[str],
) -> None:
    """loaded: layers of the model that --weights filled."""
    document = {
        "flags": flags_of(config),
        "batch": loader.batch_size,
        "epochs": progress.epochs,
        "steps_per_epoch": progress.steps_per_epoch,
        "stages": [
            {"epochs": [part.first, part.last], "imgsz": list(part.imgsz), "backbone frozen": part.frozen}
            for part in parts
        ],
        "augmented by": [str(transform) for transform in loader.augment],
        "recipe": plain(recipe),
        "pictures": len(loader.dataset),
        "classes": list(model.classes),
        "outlines": {split: digest(dataset) for split, dataset in datasets.items()},
        "anchors": [[list(anchor) for anchor in level] for level in model.anchors],
        "classes per anchor": model.classes_per_anchor,
        "loaded layers": list(loaded),
        "versions": {
            "yoloseg": __version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "python": platform.python_version(),
        },
    }
    write_text(folder / NAME, yaml.safe_dump(document, sort_keys=False))


def flags_of(config: TrainConfig) -> dict:
    """As YAML holds them."""
    flags = {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(config).items()}
    return flags | {"imgsz": list(config.input_size)}


def plain(recipe: Recipe) -> dict:
    """As JSON and YAML hold it: tuples are lists."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def read_config(config: TrainConfig, recipe: Recipe, folder: Path) -> dict:
    """config.yaml of the run that --resume goes on with. Raises UsageError when it comes with other flags,
    another recipe or another backend than the run was started with, or the file was written by another
    version or damaged."""
    path = folder / NAME
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        flags, was = dict(document["flags"]), dict(document["recipe"])
        version, backend = document["versions"]["yoloseg"], document["versions"].get("backend")
        missing = [key for key in MADE if key not in document]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: not the config of a training, so it cannot be resumed: {error}") from error
    if missing:
        raise UsageError(
            f"{path} was written by another yoloseg (it lacks {', '.join(missing)}); resume the run with the "
            "one that started it, or train anew"
        )
    now = flags_of(config)
    other = [
        name for name in now if name not in ("out", "resume", "workers") and flags.get(name) != now[name]
    ]
    if other:
        given = ", ".join(f"--{name.replace('_', '-')} {flags.get(name)}" for name in other)
        raise UsageError(f"{folder} was started with {given}; resume it with the same flags")
    if backend != keras.backend.backend():
        raise UsageError(
            f"{folder} was started on {backend}, this is {keras.backend.backend()}; resume it with "
            f"KERAS_BACKEND={backend}"
        )
    other = sorted(set(was) ^ set(plain(recipe)))
    if other:
        raise UsageError(
            f"{path} was written by another yoloseg, whose recipes had other fields ({', '.join(other)}); "
            "resume the run with the one that started it, or train anew"
        )
    changed = [name for name, value in plain(recipe).items() if was[name] != value]
    if changed:
        raise UsageError(
            f"{folder} was started when recipe {recipe.name} had another {', '.join(changed)}; put that back "
            f"(of the built-in recipes: resume with yoloseg {version}, which started it), or train anew"
        )
    return document


def digest(dataset: Dataset) -> str:
    """Of everything in a split that a training goes by but the pixels: 16 hexadecimal digits."""
    found = hashlib.sha256()
    for record in dataset.records:
        known = record.verified and [sorted(record.verified.absent), sorted(record.verified.partly)]
        found.update(repr((record.short_name, record.height, record.width, known)).encode())
        for one in record.annotations:
            found.update(repr((one.class_index, one.crowd, [round(side, 2) for side in one.box])).encode())
            if isinstance(one.segmentation, dict):
                found.update(one.segmentation["counts"])
            else:
                found.update(b"".join(polygon.tobytes() for polygon in one.segmentation))
    return found.hexdigest()[:16]


def check_same_data(document: dict, datasets: dict[str, Dataset], folder: Path) -> None:
    """Raises UsageError where the training data has other classes, or more or fewer pictures, than when the
    run was started, or a picture or annotation of it or of the validation data is another."""
    dataset = datasets["train"]
    was = (document["pictures"], document["classes"])
    now = (len(dataset), list(dataset.classes))
    if was != now:
        told = [f"{pictures} pictures of {', '.join(classes)}" for pictures, classes in (was, now)]
        raise UsageError(
            f"{folder} was started on {told[0]}, and {dataset.name} now has {told[1]}; resume it on the same "
            f"data, or train anew with --weights {folder / 'last.keras'}"
        )
    for split, other in datasets.items():
        if digest(other) != document["outlines"].get(split):
            raise UsageError(
                f"{folder}: pictures or annotations of {other.name} are not what they were when it was "
                f"started; put them back, or train anew with --weights {folder / 'last.keras'}"
            )
