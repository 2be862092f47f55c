"""What all readers of annotations share: pictures and their raw annotations, checked, become records.

A reader turns its format into `Picture`s whose annotations are dicts with the fields of COCO: `category_id`,
`segmentation` (a list of flat polygons, or an RLE with `size` and `counts`), and, where there are any, `bbox`
(x, y, width, height), `area`, `iscrowd`, `id` and `track_id`. All checks of files, sizes and shapes are here,
so that every format is met with the same ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from yoloseg.data.coco_masks import FAR, Shape, read_polygons, read_rle
from yoloseg.data.images import check_pictures, size_message
from yoloseg.data.records import Annotation, Dataset, Problem, Record
from yoloseg.data.view import View, read_view
from yoloseg.errors import DataError
from yoloseg.files import is_name

Report = Callable[[str, str], None]  # takes a record and what was done about it

ROUNDED = 2  # pixels by which a box may differ from its segmentation's however small that is
_CHUNK = 20_000  # annotations whose polygons are checked together: bounds the memory for intermediate arrays


@dataclass
class Picture:
    """A picture that a file of annotations names: its file, size (height, width; None until read from the
    file) and annotations, each with its place in the file, as `label_of` says it."""

    image_id: int
    label: str
    path: Path
    size: tuple[int, int] | None
    annotations: list[tuple[int | str, dict]] = field(default_factory=list)
    usable: bool = True
    frame_of: tuple[str, int] | None = None
    normalised: bool = False  # polygons are in fractions of the picture's sides
    view: View | None = None  # what of the file is the picture; annotations are of the view


class Problems(list):
    """Collects what is wrong with one file or folder of annotations; `report` is a `Report`."""

    def __init__(self, source: Path):
        super().__init__()
        self.source = str(source)

    def report(self, record: str, message: str) -> None:
        self.append(Problem(self.source, record, message))


def make_dataset(
    name: str, source: Path, pictures: Sequence[Picture], categories: dict[int, str], problems: Problems
) -> Dataset:
    """Checks the files of `pictures` and every annotation, and makes the records, in order.

    source: the file or folder of annotations, for messages. categories: id -> name in the order of the
    classes. What cannot be used is left out and reported. Annotations are taken from the pictures as they are
    used up. Raises DataError if no picture can be used.
    """
    usable = check_files(pictures, problems.report)
    if not usable:
        first = f" First: {problems[0].record}: {problems[0].message}" if problems else ""
        raise DataError(f"{source}: none of its {len(pictures)} pictures can be used.{first}")
    class_of = {category_id: k for k, category_id in enumerate(categories)}
    records = list(_records(usable, class_of, problems.report))
    return Dataset(name, tuple(categories.values()), tuple(categories), records, list(problems))


def relative_path(file_name: Any) -> str | None:
    """A file name of an annotation file as a path below the folder of pictures, with either slash; None if it
    is none or leaves the folder.

    A link inside the folder may lead out of it: that is the work of whoever made the folder, not of the file.
    """
    if not is_name(file_name) or file_name.startswith(("/", "\\")):
        return None
    parts: list[str] = []
    for part in file_name.replace("\\", "/").split("/"):
        if part == ".." and not parts:
            return None
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if not parts or re.match("[A-Za-z]:", parts[0]):  # a Windows drive
        return None
    return "/".join(parts)


def printable(text: Any) -> str:
    """A name for messages: as it is, or escaped where it holds what a terminal would not show."""
    return text if isinstance(text, str) and text.isprintable() else ascii(text)


def is_text(value: Any) -> bool:
    """Whether a value can name a class: not blank, no half of a character."""
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        value.encode()
    except UnicodeError:
        return False
    return True


def united(pictures: list[Picture], report: Report) -> list[Picture]:
    """Pictures that are one file become one, with the annotations of all, and a Problem."""
    first: dict[Path, Picture] = {}
    for picture in pictures:
        if picture.path in first:
            first[picture.path].annotations += picture.annotations
            report(picture.label, "named twice: its annotations are put together")
        else:
            first[picture.path] = picture
    return list(first.values())


def check_files(pictures: Sequence[Picture], report: Report) -> list[Picture]:
    """The pictures whose files are sound and of the stated size; where none is stated, the file's is filled
    in."""
    usable = []
    candidates = [picture for picture in pictures if picture.usable]
    for picture, header in zip(candidates, check_pictures([p.path for p in candidates]), strict=True):
        if isinstance(header, DataError):
            reason = str(header)
        elif header.orientation_for(picture.size) is None:
            reason = size_message(picture.path, header, picture.size)
        elif picture.view and min(picture.view.size(*(picture.size or header.displayed))) < 1:
            reason = f"nothing is left of its {header.displayed[0]} rows after the crop"
        else:
            picture.size = picture.size or header.displayed
            usable.append(picture)
            continue
        annotations = f" with its {len(picture.annotations)} annotations" if picture.annotations else ""
        report(picture.label, f"left out{annotations}: {reason}")
    return usable


def label_of(position: int | str, entry: dict, picture: Picture | None = None) -> str:
    """How a Problem names an annotation: as its reader says it, or by its id or place in the list."""
    if isinstance(position, str):
        return position
    annotation_id = entry.get("id")
    label = f"annotation number {position}" if annotation_id is None else f"annotation {annotation_id}"
    return label if picture is None else f"{label} of {picture.label}"


def _records(pictures: list[Picture], class_of: dict[int, int], report: Report) -> Iterator[Record]:
    """Records in order. The entries of pictures that are done are let go, as they take several times the
    room."""
    chunk: list[Picture] = []
    count = 0
    for picture in pictures:
        chunk.append(picture)
        count += len(picture.annotations)
        if count >= _CHUNK:
            yield from _chunk_records(chunk, class_of, report)
            chunk, count = [], 0
    yield from _chunk_records(chunk, class_of, report)


def _chunk_records(pictures: list[Picture], class_of: dict[int, int], report: Report) -> Iterator[Record]:
    polygons: list[list] = []
    sizes: list[tuple[int, int]] = []
    for picture in pictures:
        for _, entry in picture.annotations:
            if isinstance(entry.get("segmentation"), list):
                polygons.append(_in_pixels(picture, entry["segmentation"]))
                sizes.append(picture.size)
    shapes = iter(read_polygons(polygons, sizes))
    for picture in pictures:
        annotations = []
        for position, entry in picture.annotations:
            segmentation = entry.get("segmentation")
            if isinstance(segmentation, list):
                shape = next(shapes)
            elif isinstance(segmentation, dict):
                view = picture.view
                shape = read_rle(segmentation, view.size(*picture.size) if view else picture.size)
            else:
                shape = Shape(None, notes=("it has no segmentation",))
            annotation, notes = _annotation(entry, shape, class_of, picture.size)
            for note in notes:
                report(label_of(position, entry, picture), note)
            if annotation is not None:
                annotations.append(annotation)
        picture.annotations = []
        height, width = picture.size
        source = picture.path
        if picture.view is not None:
            source = partial(read_view, source, picture.size, picture.view)
            height, width = picture.view.size(height, width)
        clip = picture.frame_of
        yield Record(picture.image_id, source, height, width, tuple(annotations), frame_of=clip)


def _in_pixels(picture: Picture, polygons: list) -> list:
    if not picture.normalised:
        return polygons
    height, width = picture.size
    return [[v * (height if k % 2 else width) for k, v in enumerate(part)] for part in polygons]


def _annotation(
    entry: dict, shape: Shape, class_of: dict[int, int], size: tuple[int, int]
) -> tuple[Annotation | None, list[str]]:
    """One annotation, or None, and what is to be reported of it. size: (height, width) of the picture."""
    category_id = entry.get("category_id")
    class_index = class_of.get(category_id) if type(category_id) is int else None
    if class_index is None:
        return None, [f"left out: category id {category_id!r} is not in `categories`"]
    if shape.segmentation is None:
        return None, [f"left out: {note}" for note in shape.notes[:1]]
    notes = [f"kept without one part: {note}" for note in shape.notes]
    box, crowd = _box(entry.get("bbox")), entry.get("iscrowd") not in (None, 0, "0")
    if box is None:
        if entry.get("bbox") is not None:
            notes.append(f"its box {entry['bbox']} has no size; made again from its segmentation")
        box = shape.box
    elif not crowd and _contradicts(box, shape.box, size):
        notes.append(f"its box {entry['bbox']} is not of its segmentation; made again from that")
        box = shape.box
    area, track_id, annotation_id = entry.get("area"), entry.get("track_id"), entry.get("id")
    return Annotation(
        class_index,
        shape.segmentation,
        box,
        float(area) if type(area) in (int, float) and 0 < area < FAR**2 else shape.area,
        crowd,
        annotation_id if type(annotation_id) is int else None,
        track_id if type(track_id) is int else None,
    ), notes


def _contradicts(box: tuple, outline: tuple, size: tuple[int, int]) -> bool:
    """Whether two boxes (x0, y0, x1, y1), cut to the picture, have an IoU below a half and do not just round
    differently: of one that was written as two corners, say."""
    limits = (size[1], size[0], size[1], size[0])
    one, other = ([min(max(v, 0), most) for v, most in zip(b, limits, strict=True)] for b in (box, outline))
    if max(abs(a - b) for a, b in zip(one, other, strict=True)) <= ROUNDED:
        return False
    width, height = (min(one[k + 2], other[k + 2]) - max(one[k], other[k]) for k in (0, 1))
    shared = max(width, 0) * max(height, 0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    return shared < 0.5 * (sum(areas) - shared)


def _box(value: Any) -> tuple[float, float, float, float] | None:
    """COCO's [x, y, width, height] to corners; None if it is no box with a size."""
    if not isinstance(value, list) or len(value) != 4 or not all(type(v) in (int, float) for v in value):
        return None
    x, y, width, height = value
    if not (width > 0 and height > 0 and all(abs(v) < FAR for v in value)):
        return None
    return (float(x), float(y), float(x + width), float(y + height))
