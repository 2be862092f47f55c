"""What `--data` names: a YAML data file with one entry a split, a folder of splits, or `shapes` for the
built-in set.

    train: {annotations: animals/train/_annotations.coco.json, images: animals/train}
    val:   {annotations: animals/valid/_annotations.coco.json, images: animals/valid}
    test:  {annotations: animals/test/_annotations.coco.json, images: animals/test}     # optional

Relative paths are relative to the data file; absolute ones are allowed. A split may also be one folder that
holds `_annotations.coco.json` and the pictures, and a folder of such folders may stand for the data file. A
YOLO `data.yaml` (with `names`) is a data file too. `classes: [cat, dog]` takes only these of the set's
classes. docs/formats.md has the entries of every format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from yoloseg.data.classes import align_classes
from yoloseg.data.formats import EXPORT, PATHS, Entry, check_entry, load_entry
from yoloseg.data.pictures import is_text
from yoloseg.data.records import Dataset, Problem
from yoloseg.data.yaml_file import read_yaml
from yoloseg.data.yolo import read_names
from yoloseg.errors import DataError, shown
from yoloseg.files import is_dir, is_file, is_name

SPLITS = ("train", "val", "test")
FOLDERS = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}  # what exports call them
YOLO_KEYS = ("path", "nc", "download", "roboflow", "channels", "kpt_shape")  # beside names and splits
_FORM = "it needs lines such as `train: {annotations: FILE.json, images: FOLDER}` and the same for `val`"


def load_datasets(
    data: str | Path, splits: Sequence[str] = ("train", "val"), known: Sequence[str] = ()
) -> dict[str, Dataset]:
    """The asked splits of a data file, or of the built-in set where `data` is "shapes".

    Classes and their order are those of the first split of `splits`; the others are brought to them by name
    (see `align_classes`), so ask for "train" first. To evaluate alone, bring the split to the network's
    classes. known: classes that `classes` of the data file may name though the first split has none of them,
    such as the network's. Raises DataError: no such file, not such a YAML file, a split that is not in it, a
    split that cannot be read, a "train" or "val" without any instance, splits whose classes differ.
    """
    if str(data) == "shapes":
        from yoloseg.data.shapes import load_shapes

        return {split: load_shapes(split) for split in splits}
    entries = read_datafile(data)
    missing = [split for split in splits if split not in entries]
    if missing:
        raise DataError(f"{data}: it has no `{missing[0]}` (only {', '.join(entries)}); add it: {_FORM}")
    datasets: dict[str, Dataset] = {}
    for split in splits:
        known = next(iter(datasets.values())).classes if datasets else known
        dataset = load_entry(entries[split], f"{Path(data).stem} {split}", known)
        join_split(datasets, split, dataset, entries[split].source)
    return datasets


def join_split(datasets: dict[str, Dataset], split: str, dataset: Dataset, source: str) -> None:
    """Adds a split to those that were read before, its classes brought to theirs. source: the file in
    messages. Raises DataError where training would refuse it: see `load_datasets`."""
    if split != "test" and not any(not a.crowd for record in dataset.records for a in record.annotations):
        first = f" (first problem: {dataset.problems[0]})" if dataset.problems else ""
        raise DataError(f"{source}: `{split}` has {len(dataset)} pictures but no instance{first}")
    if datasets:
        first = next(iter(datasets.values()))
        dataset = align_classes(dataset, first.classes, first.category_ids, source)
        _report_shared(dataset, first, source)
    datasets[split] = dataset


def read_datafile(path: str | Path) -> dict[str, Entry]:
    """The splits of a data file or folder of splits. Raises DataError if it is neither."""
    path = Path(path)
    if is_dir(path):
        file = path / "data.yaml"
        return read_datafile(file) if is_file(file) else _folder(path)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise DataError(f"{path}: neither a data file (.yaml) nor `shapes`; write a YAML file: {_FORM}")
    content = read_yaml(path)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: not a data file: {_FORM}")
    keys = (*SPLITS, "names", "classes")
    extra = YOLO_KEYS if "names" in content else ()
    unknown = [key for key in content if key not in (*keys, *extra)]
    if unknown:
        key = unknown[0] if isinstance(unknown[0], str) else shown(unknown[0])
        raise DataError(f"{path}: unknown key `{key}`; the keys are {', '.join(keys)}")
    if content.get("kpt_shape") is not None:
        raise DataError(f"{path}: a set of boxes and key points (`kpt_shape`); instance masks need polygons")
    names = read_names(content["names"], path) if "names" in content else None
    root = content.get("path", "")
    if root != "" and not is_name(root):
        raise DataError(f"{path}: `path` must be a folder, not {shown(root)}")
    splits = {split: content[split] for split in SPLITS if content.get(split) is not None}
    if not splits:
        raise DataError(f"{path}: not a data file: {_FORM}")
    classes = _chosen(content["classes"], path) if "classes" in content else None
    entries = {
        split: replace(_entry(path, split, entry, names, root), classes=classes)
        for split, entry in splits.items()
    }
    for entry in entries.values():
        check_entry(entry)
    return entries


def _chosen(value: Any, path: Path) -> tuple[str, ...]:
    """The names under `classes`. Raises DataError."""
    if not isinstance(value, list) or not value or not all(map(is_text, value)):
        raise DataError(f"{path}: `classes` must be a list of class names, not {shown(value)}")
    return tuple(dict.fromkeys(value))


def _folder(path: Path) -> dict[str, Entry]:
    """The splits of an export: `train`, `valid` and `test` with `_annotations.coco.json` in each."""
    entries = {}
    for split, names in FOLDERS.items():
        for name in names:
            if is_file(path / name / EXPORT):
                fields = {"annotations": f"{name}/{EXPORT}", "images": name}
                entries[split] = Entry(path / "data.yaml", split, fields)
    if not entries:
        raise DataError(f"{path}: a folder without train/{EXPORT}; name a data file (.yaml): {_FORM}")
    return entries


def _entry(path: Path, split: str, value: Any, names: dict[int, str] | None, root: str) -> Entry:
    if is_name(value) and is_file(path.parent / value / EXPORT):
        value = {"annotations": f"{value}/{EXPORT}", "images": value}
    elif names is not None and isinstance(value, (str, list)):
        folder = Path(root)
        if root and not is_dir(path.parent / root):
            raise DataError(f"{path}: `path` {root}: no such folder")
        places = value if isinstance(value, list) else [value]
        if not places or not all(map(is_name, places)):
            raise DataError(f"{path}: `{split}` must be a path or a list of paths, not {shown(value)}")
        value = {"images": [str(folder / place) for place in places]}
    elif root and isinstance(value, dict):
        value = {
            key: str(Path(root) / place) if key in PATHS and is_name(place) else place
            for key, place in value.items()
        }
    if not isinstance(value, dict) or not value or not all(isinstance(key, str) for key in value):
        raise DataError(f"{path}: `{split}`: {_FORM}; it says {shown(value)}")
    return Entry(path, split, value, names)


def _report_shared(dataset: Dataset, first: Dataset, source: str) -> None:
    """Adds a Problem if pictures stand in the first split too, as files of the same path."""
    others = {record.source for record in first.records if isinstance(record.source, Path)}
    shared = [record for record in dataset.records if record.source in others]
    if shared:
        dataset.problems.append(
            Problem(
                source,
                f"{len(shared)} of its {len(dataset)} pictures",
                f"stand in {first.name!r} too: scores on them flatter",
            )
        )
