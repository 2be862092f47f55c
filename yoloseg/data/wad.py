"""The 2018 CVPR Workshop on Autonomous Driving challenge (ApolloScape): 16-bit PNGs in which value // 1000 is
the class and value % 1000 the instance.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from yoloseg.data.folders import find_files
from yoloseg.data.json_file import without_collection
from yoloseg.data.label_images import attach_labels, label_rles
from yoloseg.data.pictures import Picture, Problems, make_dataset, printable
from yoloseg.data.records import Dataset
from yoloseg.data.view import View
from yoloseg.data.yolo import PICTURES
from yoloseg.errors import DataError
from yoloseg.files import is_dir

CLASSES = {33: "car", 34: "motorbicycle", 35: "bicycle", 36: "person", 38: "truck", 39: "bus", 40: "tricycle"}
SUFFIX = "_instanceIds"


@without_collection()
def load_wad(images: Path, labels: Path, name: str, view: View | None = None) -> Dataset:
    """Reads photographs `NAME.jpg` and their labels `NAME_instanceIds.png` (or `NAME.png`).

    The seven evaluated classes (CLASSES) are instances, all other values background, groups (161 and above)
    among them. view: which rows of the 3384 x 2710 photographs are taken, and at what scale: sky and the
    car's own bonnet fill the top and the bottom.

    Left out with a Problem: pictures that cannot be used (see `load_coco`) or have no labels. Raises
    DataError: no such folders, nothing there.
    """
    view = view or View()
    for folder in (images, labels):
        if not is_dir(folder):
            raise DataError(f"{folder}: no such folder")
    pictures, paths = [], []
    for path in find_files(images, PICTURES):
        label = f"picture {printable(str(path))}"
        pictures.append(Picture(len(pictures) + 1, label, path, None, view=view))
        place = labels / path.relative_to(images)
        long = place.with_name(f"{path.stem}{SUFFIX}.png")
        paths.append(long if long.exists() else place.with_suffix(".png"))
    if not pictures:
        raise DataError(f"{images}: there are no pictures")

    def entries(values: np.ndarray, path: Path) -> list[tuple[str, dict]]:
        if min(view.size(*values.shape)) < 1 or view.top + view.bottom >= len(values):
            raise DataError(f"{path}: nothing is left of its {len(values)} rows after the crop")
        found = []
        for value, rle in label_rles(view.labels(values)).items():
            if value // 1000 in CLASSES:
                place = f"instance {value} of {printable(str(path))}"
                found.append((place, {"category_id": value // 1000, "segmentation": rle}))
        return found

    problems = Problems(labels)
    attach_labels(pictures, paths, entries, problems)
    return make_dataset(name, labels, pictures, CLASSES, problems)
