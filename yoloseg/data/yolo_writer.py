"""Writes data sets as YOLO segmentation text: pictures, a text of polygons for each, `data.yaml`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from pycocotools import mask as mask_utils

from yoloseg.data.records import Annotation, Dataset, Problem
from yoloseg.data.trace import joined, trace
from yoloseg.data.write_pictures import PictureNames, write_picture
from yoloseg.files import write_text


def write_yolo(datasets: dict[str, Dataset], folder: str | Path) -> tuple[Path, list[Problem]]:
    """Writes `folder/images/SPLIT`, `folder/labels/SPLIT` and then `folder/data.yaml`; returns its path and
    what the format cannot hold.

    Classes are those of the first split (bring the others to them: `align_classes`); indices count from 0.
    A line is one polygon: an instance of several parts becomes one by bridges of no width, a mask is traced
    along its pixels' edges, exactly. Crowds are left out: the format has none. Raises UsageError for a folder
    that cannot be written, DataError where a picture cannot be read.
    """
    folder = Path(folder)
    lost: list[Problem] = []
    for split, dataset in datasets.items():
        names = PictureNames()
        crowds = 0
        for record in dataset.records:
            stem = names.stem(record)
            write_picture(record, folder / "images" / split, stem)
            lines = []
            for annotation in record.annotations:
                crowds += annotation.crowd
                if not annotation.crowd:
                    points = outline(annotation) / (record.width, record.height)
                    values = " ".join(f"{value:.7g}" for value in points.ravel())
                    lines.append(f"{annotation.class_index} {values}\n")
            write_text(folder / "labels" / split / f"{stem}.txt", "".join(lines))
        if crowds:
            lost.append(Problem(dataset.name, f"{crowds} crowds", "left out: YOLO text has none"))
    first = next(iter(datasets.values()))
    content = {split: f"images/{split}" for split in datasets} | {"names": dict(enumerate(first.classes))}
    path = folder / "data.yaml"
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return path, lost


def outline(annotation: Annotation, tolerance: float = 0.0) -> np.ndarray:
    """One closed polygon float64 [n, 2] in pixels that encloses the instance. tolerance: see `trace`."""
    shape = annotation.segmentation
    parts = trace(mask_utils.decode(shape) > 0, tolerance) if isinstance(shape, dict) else list(shape)
    return joined([np.asarray(part, np.float64) for part in parts])
