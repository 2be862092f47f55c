"""Data sets from any format that is read to one that is written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import yaml

from yoloseg.data.coco_writer import write_coco
from yoloseg.data.labelme_writer import write_labelme
from yoloseg.data.records import Dataset, Problem
from yoloseg.data.yolo_writer import write_yolo
from yoloseg.data.youtube_vis_writer import write_youtube_vis
from yoloseg.errors import UsageError
from yoloseg.files import atomic_folder, check_writable, write_text

Target = Literal["coco", "yolo", "youtube-vis", "labelme"]


def write_datasets(
    datasets: dict[str, Dataset], to: Target, folder: str | Path
) -> tuple[Path, list[Problem]]:
    """Writes every split and a data file; returns the data file and what the format could not hold.

    Classes are those of the first split. Raises UsageError where `folder` holds something, DataError for what
    cannot be written so (see the writers).
    """
    folder = Path(folder)
    check_new(folder)
    with atomic_folder(folder.resolve()) as aside:
        path, lost = _write(datasets, to, aside)
        path = path.relative_to(aside)
    return folder / path, lost


def _write(datasets: dict[str, Dataset], to: Target, folder: Path) -> tuple[Path, list[Problem]]:
    lost = [
        Problem(dataset.name, "every picture", f"which classes were looked for in it has no place in {to}")
        for dataset in datasets.values()
        if dataset.federated and to != "coco"
    ]
    if to in ("yolo", "labelme"):
        note = f"which clip they are of, and which track an object, has no place in {to}"
        lost += [
            Problem(dataset.name, f"{len(frames)} frames", note)
            for dataset in datasets.values()
            if (frames := [record for record in dataset.records if record.frame_of is not None])
        ]
    if to == "yolo":
        path, problems = write_yolo(datasets, folder)
        return path, lost + problems
    content = {}
    for split, dataset in datasets.items():
        if to == "labelme":
            lost += write_labelme(dataset, folder / split)
            content[split] = {"annotations": split}
            content["names"] = list(dataset.classes)
            continue
        if to == "coco":
            write_coco(dataset, folder / split, suffix=None)
            images = f"{split}/images"
        else:
            write_youtube_vis(dataset, folder / split)
            images = f"{split}/frames"
        content[split] = {"annotations": f"{split}/annotations.json", "images": images}
    path = folder / "data.yaml"
    write_text(path, yaml.safe_dump(content, sort_keys=False))
    return path, lost


def check_new(folder: Path) -> None:
    """Raises UsageError where `folder` is a file or holds something, or cannot be made: it is written aside
    and renamed."""
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} cannot be written: {error}") from error
    if taken:
        raise UsageError(f"{folder} exists; remove it or name another")
    if folder.exists() and (os.path.ismount(folder) or folder.samefile(Path.cwd())):
        raise UsageError(f"{folder} cannot be made anew: it is mounted, or you are in it; name one inside it")
    check_writable(folder.resolve())
