"""Writes a data set as labelme JSON, one file beside each picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pycocotools import mask as mask_utils

from yoloseg.data.records import Dataset, Problem
from yoloseg.data.trace import trace
from yoloseg.data.write_pictures import PictureNames, write_picture
from yoloseg.errors import DataError
from yoloseg.files import write_json

VERSION = "5.5.0"  # of labelme, whose form this is


def write_labelme(dataset: Dataset, folder: str | Path) -> list[Problem]:
    """Writes `folder/NAME.jpg` and `folder/NAME.json` for every picture; returns what the form cannot hold.

    Polygons stay as they are, masks are traced along their pixels' edges; parts of one instance share a
    `group_id`. Crowds are left out. Raises UsageError for a folder that cannot be written, DataError where a
    picture cannot be read, or two classes differ by spaces at their ends alone, which no reader of it keeps.
    """
    plain = [name.strip() for name in dataset.classes]
    for name in dataset.classes:
        if plain.count(name.strip()) > 1:
            raise DataError(f"{dataset.name}: class {name!r} and another differ by spaces; rename one")
    folder, names, crowds = Path(folder), PictureNames(), 0
    for record in dataset.records:
        file = write_picture(record, folder, names.stem(record))
        shapes = []
        for group, annotation in enumerate(record.annotations):
            crowds += annotation.crowd
            if annotation.crowd:
                continue
            shape = annotation.segmentation
            parts = trace(mask_utils.decode(shape) > 0) if isinstance(shape, dict) else shape
            shapes += [
                {
                    "label": dataset.classes[annotation.class_index],
                    "points": np.asarray(part, np.float64).tolist(),
                    "group_id": group if len(parts) > 1 else None,
                    "shape_type": "polygon",
                    "flags": {},
                }
                for part in parts
            ]
        size = {"imageHeight": record.height, "imageWidth": record.width}
        content = {"version": VERSION, "flags": {}, "shapes": shapes, "imagePath": Path(file).name}
        write_json((folder / file).with_suffix(".json"), content | {"imageData": None} | size)
    return [Problem(dataset.name, f"{crowds} crowds", "left out: labelme has none")] if crowds else []
