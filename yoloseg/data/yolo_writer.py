"""Writes data sets as YOLO segmentation text: pictures, a text of polygons for each, `data.yaml`."""

from __future__ import annotations

from itertools import combinations
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
    A line is one polygon: an instance of several parts becomes one by bridges of no width; a mask is traced
    along its pixels' edges, exactly, and so are polygons that overlap each other or leave the picture.
    Crowds are left out: the format has none. Raises UsageError for a folder that cannot be written, DataError
    where a picture cannot be read.
    """
    folder = Path(folder)
    lost: list[Problem] = []
    for split, dataset in datasets.items():
        names = PictureNames()
        crowds = outside = 0
        for record in dataset.records:
            stem = names.stem(record)
            write_picture(record, folder / "images" / split, stem)
            lines = []
            for annotation in record.annotations:
                crowds += annotation.crowd
                if annotation.crowd:
                    continue
                points = outline(annotation, record.height, record.width)
                outside += points is None
                if points is not None:
                    values = " ".join(f"{v:.7g}" for v in (points / (record.width, record.height)).ravel())
                    lines.append(f"{annotation.class_index} {values}\n")
            write_text(folder / "labels" / split / f"{stem}.txt", "".join(lines))
        if crowds:
            lost.append(Problem(dataset.name, f"{crowds} crowds", "left out: YOLO text has none"))
        if outside:
            lost.append(Problem(dataset.name, f"{outside} instances", "left out: no pixel in the picture"))
    first = next(iter(datasets.values()))
    content = {split: f"images/{split}" for split in datasets} | {"names": dict(enumerate(first.classes))}
    path = folder / "data.yaml"
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return path, lost


def outline(annotation: Annotation, height: int, width: int) -> np.ndarray | None:
    """One closed polygon float64 [n, 2] in pixels, within the picture, that encloses the instance by the
    even-odd rule; None where no pixel of it is in the picture."""
    shape = annotation.segmentation
    if isinstance(shape, dict):
        parts = trace(mask_utils.decode(shape) > 0)
    else:
        parts = [np.asarray(part, np.float64) for part in shape]
        rles = mask_utils.frPyObjects([part.ravel().tolist() for part in parts], height, width)
        if _leaves(parts, height, width) or _overlap(parts, rles):
            parts = trace(mask_utils.decode(mask_utils.merge(rles)) > 0)
    return joined([np.asarray(part, np.float64) for part in parts]) if parts else None


def _leaves(parts: list[np.ndarray], height: int, width: int) -> bool:
    return any((part < 0).any() or (part > (width, height)).any() for part in parts)


def _overlap(parts: list[np.ndarray], rles: list[dict]) -> bool:
    """Whether two parts have a pixel in common."""
    boxes = [(part.min(0), part.max(0)) for part in parts]
    for (one, first), (other, second) in combinations(zip(boxes, rles, strict=True), 2):
        meet = (one[0] < other[1]).all() and (other[0] < one[1]).all()
        if meet and mask_utils.area(mask_utils.merge([first, second], intersect=True)):
            return True
    return False
