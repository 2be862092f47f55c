"""labelme: a folder of JSON files, one a picture, as labelme and tools that write its form save them."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from yoloseg.data.coco import whole
from yoloseg.data.folders import find_files
from yoloseg.data.images import BROKEN
from yoloseg.data.json_file import read_json, without_collection
from yoloseg.data.label_images import label_rles
from yoloseg.data.outlines import ellipse, rectangle
from yoloseg.data.pictures import (
    Picture,
    Problems,
    Report,
    is_text,
    make_dataset,
    printable,
    relative_path,
    united,
)
from yoloseg.data.records import Dataset
from yoloseg.errors import DataError
from yoloseg.files import is_dir, is_name


@without_collection()
def load_labelme(
    annotations: str | Path,
    images: str | Path | None = None,
    name: str | None = None,
    names: Sequence[str] | None = None,
) -> Dataset:
    """Reads polygons, rectangles (all of them is mask), circles and masks.

    annotations: the folder of JSON files, searched to any depth. images: the folder that their `imagePath`s
    are relative to; by default each one's own folder. Polygons, rectangles and circles of one label and one
    `group_id` are parts of one instance. names: the classes; by default the labels, sorted. Their ids count
    from 1. Records are sorted by the path
    of their JSON. Pixels inside the JSON (`imageData`) are not read.

    Left out with a Problem: files that are not such JSON, pictures that cannot be used (see `load_coco`),
    points and lines, shapes without a label. Raises DataError: no such folder, no labelled shape where
    `names` are not given.
    """
    source = Path(annotations)
    if not is_dir(source):
        raise DataError(f"{source}: no such folder of labelme JSON files")
    problems = Problems(source)
    pictures: list[Picture] = []
    shapes: list[list[tuple[str, str, Any]]] = []  # of each picture: place, label, segmentation
    for path in find_files(source, (".json",)):
        try:
            document = read_json(path)
        except DataError as error:
            problems.report(printable(str(path)), f"left out: {error}")
            continue
        if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
            problems.report(printable(str(path)), "left out: no labelme file: it has no list `shapes`")
            continue
        file = document.get("imagePath")
        place = _picture_path(file, path.parent if images is None else Path(images), source)
        if place is None:
            message = "left out: its `imagePath` is no path inside the folder of pictures"
            problems.report(printable(str(path)), message)
            continue
        height, width = whole(document.get("imageHeight")), whole(document.get("imageWidth"))
        size = (height, width) if height and width else None
        pictures.append(Picture(len(pictures) + 1, f"picture {printable(file)}", place, size))
        shapes.append(_shapes(document["shapes"], size, printable(str(path)), problems.report))
    found = sorted({label for own in shapes for _, label, _ in own})
    if not found and not names:
        first = f" (first problem: {problems[0]})" if problems else ""
        raise DataError(f"{source}: no labelme file with a labelled shape{first}")
    names = list(names or found)
    number = {name.strip(): k for k, name in enumerate(names, 1)}
    for picture, own in zip(pictures, shapes, strict=True):
        for place, label, segmentation in own:
            if label not in number:
                problems.report(place, f"left out: label {printable(label)} is not in `names`")
                continue
            fields = {"category_id": number[label], "segmentation": segmentation}
            picture.annotations.append((place, fields))
    pictures = united(pictures, problems.report)
    return make_dataset(name or source.name, source, pictures, dict(enumerate(names, 1)), problems)


def _picture_path(file: Any, folder: Path, root: Path) -> Path | None:
    """labelme writes `../images/a.jpg` when pictures and JSON lie apart: allowed within the folder above
    the one of annotations."""
    if relative_path(file) is not None:
        return folder / relative_path(file)
    if not is_name(file) or file.startswith(("/", "\\")):
        return None
    try:
        path, limit = (folder / file.replace("\\", "/")).resolve(), root.resolve().parent
    except (OSError, RuntimeError):  # links in a circle
        return None
    return path if path.is_relative_to(limit) else None


def _shapes(entries: list, size, file: str, report: Report) -> list[tuple[str, str, Any]]:
    """(place, label, segmentation) of every instance of a picture; polygons of a group are joined."""
    found: list[tuple[str, str, Any]] = []
    groups: dict[tuple[str, Any], list] = {}
    for number, entry in enumerate(entries):
        place = f"shape {number} of {file}"
        label = entry.get("label") if isinstance(entry, dict) else None
        if not is_text(label):
            report(place, "left out: it has no `label`")
            continue
        label = label.strip()
        outline = _outline(entry, size)
        if isinstance(outline, str):
            report(place, f"left out: {outline}")
            continue
        group = entry.get("group_id")
        if isinstance(outline, list) and type(group) is int:
            if (label, group) in groups:
                groups[label, group].append(outline)
                continue
            groups[label, group] = [outline]
            found.append((place, label, groups[label, group]))
        else:
            found.append((place, label, [outline] if isinstance(outline, list) else outline))
    return found


def _outline(entry: dict, size: tuple[int, int] | None) -> list[float] | dict | str:
    """A flat polygon, an RLE, or why there is none."""
    kind, points = entry.get("shape_type") or "polygon", entry.get("points")
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        return "its `points` are not a list of x, y"
    if not all(type(value) in (int, float) and abs(value) < 1e9 for point in points for value in point):
        return "its `points` are not numbers"
    if kind == "polygon":
        return [value for point in points for value in point]
    if kind not in ("rectangle", "circle", "mask"):
        return f"a {printable(kind)} has no mask"
    if len(points) != 2:
        return f"a {kind} has two points, this {len(points)}"
    (x0, y0), (x1, y1) = points
    if kind == "circle":
        radius = float(np.hypot(x1 - x0, y1 - y0))
        return ellipse(x0, y0, radius, radius)
    return rectangle(x0, y0, x1, y1) if kind == "rectangle" else _mask(entry.get("mask"), points, size)


def _mask(content: Any, points: list, size: tuple[int, int] | None) -> dict | str:
    """labelme's mask: a PNG in base64 of what lies within its two points, both included."""
    if size is None:
        return "a mask needs `imageHeight` and `imageWidth`"
    if size[0] * size[1] > Image.MAX_IMAGE_PIXELS:
        return f"a mask of {size[1]} x {size[0]} pixels is too large"
    try:
        with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as picture:
            part = np.asarray(picture.convert("L") if picture.mode == "P" else picture) != 0
            part = part.any(-1) if part.ndim == 3 else part
    except (*BROKEN, binascii.Error) as error:
        return f"its mask cannot be read ({error})"
    x, y = (round(min(p[axis] for p in points)) for axis in (0, 1))
    labels = np.zeros(size, np.uint8)
    target = labels[max(y, 0) : max(y + part.shape[0], 0), max(x, 0) : max(x + part.shape[1], 0)]
    target[:] = part[max(-y, 0) :, max(-x, 0) :][: target.shape[0], : target.shape[1]]
    return label_rles(labels).get(1, "its mask holds no pixel")
