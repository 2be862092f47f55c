"""COCO instance annotations (one JSON file and a folder of pictures) -> Dataset, read and checked once.

What is wrong but can be left out is left out and listed in `dataset.problems`; what cannot is a DataError.
Nothing is left to be found in the middle of an epoch, except pixels damaged in the middle of a picture file.
"""

from __future__ import annotations

import gc
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yoloseg.data.coco_masks import FAR, Shape, read_polygons, read_rle
from yoloseg.data.images import check_pictures, size_message
from yoloseg.data.records import Annotation, Dataset, Problem, Record
from yoloseg.errors import DataError

Report = Callable[[str, str], None]  # takes a record and what was done about it

_CHUNK = 20_000  # annotations whose polygons are checked together: bounds the memory for intermediate arrays


@dataclass
class _Picture:
    """An entry of `images`: its file, size (None until read from the file) and annotations as the JSON has
    them."""

    image_id: int
    label: str
    path: Path
    size: tuple[int, int] | None
    annotations: list[tuple[int, dict]] = field(default_factory=list)  # (position in the file's list, entry)
    usable: bool = True


@contextmanager
def _without_collection() -> Iterator[None]:
    """Stops the search for garbage while millions of lists are made and none is dropped: it would double the
    time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@_without_collection()
def load_coco(annotations: str | Path, images: str | Path, name: str | None = None) -> Dataset:
    """Reads COCO instance annotations; every picture's header and end are looked at.

    annotations: the JSON file. images: the folder that its file names are relative to. name: of the split
    (default: the JSON's name). Records come in the file's order. Classes are the file's categories, sorted by
    id: all of them, also those that no annotation uses, except a category that is only the heading of the
    others (every other one names it as `supercategory`, as annotation tools write it) and that no annotation
    uses.

    Left out with a Problem: pictures that are missing, broken, truncated, of another size than stated (one
    that fits as stored, before its EXIF rotation, is kept and read so), whose name leaves the folder, or
    whose id is used by another picture too; annotations of an unknown picture or category, written twice,
    without a segmentation, or without a usable one; single unusable parts of polygons. A bad or missing box
    or area is made from the segmentation. A picture without annotations is background. Raises DataError: the
    file is missing, not JSON, not COCO instance annotations; categories without clear ids and names; the
    folder is missing; no usable picture.
    """
    source, folder = Path(annotations), Path(images)
    document = _read_json(source)
    _check_form(source, document)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of pictures (for {source}); correct `images`")
    problems: list[Problem] = []

    def report(record: str, message: str) -> None:
        problems.append(Problem(str(source), record, message))

    entries = [entry for entry in document["annotations"] if isinstance(entry, dict)]
    used = {entry.get("category_id") for entry in entries if type(entry.get("category_id")) is int}
    categories = _categories(source, document["categories"], used, report)
    class_of = {category_id: k for k, category_id in enumerate(categories)}
    pictures = _pictures(document["images"], folder, report)
    _attach(document["annotations"], pictures, report)
    usable = _check_files(list(pictures.values()), report)
    if not usable:
        first = f" First: {problems[0].record}: {problems[0].message}" if problems else ""
        raise DataError(
            f"{source}: none of its {len(document['images'])} pictures can be used "
            f"with the folder {folder}; correct `images`.{first}"
        )
    del document, entries
    records = list(_records(usable, class_of, report))
    return Dataset(name or source.stem, tuple(categories.values()), tuple(categories), records, problems)


def _read_json(source: Path) -> Any:
    try:
        return json.loads(source.read_bytes())
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror or error}") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{source}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}; "
            "was it cut off while being copied? Export it again"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not a JSON text file ({error})") from error
    except (RecursionError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise DataError(f"{source}: not a COCO annotation file ({error})") from error


def _check_form(source: Path, document: Any) -> None:
    if not isinstance(document, dict):
        hint = " (is it a results file?)" if isinstance(document, list) else ""
        raise DataError(f"{source}: not COCO annotations: a {type(document).__name__}, not an object{hint}")
    if "videos" in document and "images" not in document:
        raise DataError(
            f"{source}: YouTube-VIS annotations (it lists `videos`); "
            "instance annotations that list `images` are needed"
        )
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            raise DataError(f"{source}: not COCO instance annotations: it has no list `{key}`")
    if not document["images"]:
        raise DataError(f"{source}: an empty set: its list `images` holds nothing")


def _categories(source: Path, entries: list, used: set[int], report: Report) -> dict[int, str]:
    """Category id -> name, sorted by id."""
    names: dict[int, str] = {}
    parents: dict[int, Any] = {}
    for entry in entries:
        category_id = entry.get("id") if isinstance(entry, dict) else None
        name = entry.get("name") if isinstance(entry, dict) else None
        if type(category_id) is not int or not isinstance(name, str) or not name.strip():
            raise DataError(f"{source}: category {entry}: it needs an `id` (a whole number) and a `name`")
        if category_id in names and names[category_id] != name:
            raise DataError(
                f"{source}: category id {category_id} stands for both {names[category_id]!r} and {name!r}; "
                "give one of them another id, also in its annotations"
            )
        if category_id in names:
            report(f"category {category_id} ({name})", "written twice; one is left out")
        names[category_id] = name
        parents[category_id] = entry.get("supercategory")
    if not names:
        raise DataError(f"{source}: its list `categories` holds nothing; name at least one class")
    for name, count in Counter(names.values()).items():
        if count > 1:
            ids = [category_id for category_id in names if names[category_id] == name]
            raise DataError(f"{source}: categories {ids} are all called {name!r}; rename or unite them")
    for category_id, name in list(names.items()):
        others = [parents[other] for other in names if other != category_id]
        if others and category_id not in used and all(parent == name for parent in others):
            report(f"category {category_id} ({name})", "not a class: only the heading of the others")
            del names[category_id]
            break
    return dict(sorted(names.items()))


def _pictures(entries: list, folder: Path, report: Report) -> dict[int, _Picture]:
    """Entries of `images` by id; those whose entry cannot be used are left out."""
    pictures: dict[int, _Picture] = {}
    ambiguous: set[int] = set()
    for position, entry in enumerate(entries):
        image_id = entry.get("id") if isinstance(entry, dict) else None
        if type(image_id) is not int:
            report(f"image number {position}", "left out: it has no `id` that is a whole number")
            continue
        file_name = entry.get("file_name")
        printable = isinstance(file_name, str) and file_name.isprintable()
        label = f"image {image_id} ({file_name if printable else ascii(file_name)})"
        relative = _relative_path(file_name)
        if relative is None:
            report(label, "left out: its `file_name` is not a path inside the folder of pictures")
            continue
        height, width = _whole(entry.get("height")), _whole(entry.get("width"))
        stated = entry.get("height") is not None or entry.get("width") is not None
        if stated and (height <= 0 or width <= 0):
            report(label, f"left out: {entry.get('width')} x {entry.get('height')} is not a size")
            continue
        picture = _Picture(image_id, label, folder / relative, (height, width) if stated else None)
        if image_id not in pictures:
            pictures[image_id] = picture
        elif pictures[image_id].path == picture.path:
            report(label, "written twice; one is left out")
        else:
            ambiguous.add(image_id)
            report(label, f"left out: {pictures[image_id].label} has the same id; give one another")
    for image_id in ambiguous:
        report(pictures[image_id].label, "left out: another picture has the same id")
        pictures[image_id].usable = False
    return pictures


def _relative_path(file_name: Any) -> str | None:
    """A file name of the JSON as a path below the folder, with either slash; None if it is none or leaves the
    folder.

    A link inside the folder may lead out of it: that is the work of whoever made the folder, not of the JSON.
    """
    if not isinstance(file_name, str) or "\0" in file_name or file_name.startswith(("/", "\\")):
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


def _whole(value: Any) -> int:
    """A number of pixels: 640 or 640.0; 0 for anything else."""
    return int(value) if type(value) in (int, float) and 0 < value < 1e9 and value == int(value) else 0


def _attach(entries: list, pictures: dict[int, _Picture], report: Report) -> None:
    """Hands every annotation to its picture; those of an unknown picture and second copies are left out."""
    seen: dict[int, dict] = {}
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            report(f"annotation number {position}", "left out: not an object")
            continue
        image_id = entry.get("image_id")
        picture = pictures.get(image_id) if type(image_id) is int else None
        if picture is None:
            report(_label(position, entry), f"left out: image id {image_id!r} is no usable entry of `images`")
            continue
        annotation_id = entry.get("id")
        if type(annotation_id) is int:
            first = seen.setdefault(annotation_id, entry)
            if first is not entry:
                if first == entry:
                    report(_label(position, entry, picture), "written twice; one is left out")
                    continue
                report(_label(position, entry, picture), "kept without its id, which another one has too")
                entry = {**entry, "id": None}
        picture.annotations.append((position, entry))


def _check_files(pictures: list[_Picture], report: Report) -> list[_Picture]:
    """The pictures whose files are sound and of the stated size; where none is stated, the file's is filled
    in."""
    usable = []
    candidates = [picture for picture in pictures if picture.usable]
    for picture, header in zip(candidates, check_pictures([p.path for p in candidates]), strict=True):
        if isinstance(header, DataError):
            reason = str(header)
        elif header.orientation_for(picture.size) is None:
            reason = size_message(picture.path, header, picture.size)
        else:
            picture.size = picture.size or header.displayed
            usable.append(picture)
            continue
        annotations = f" with its {len(picture.annotations)} annotations" if picture.annotations else ""
        report(picture.label, f"left out{annotations}: {reason}")
    return usable


def _records(pictures: list[_Picture], class_of: dict[int, int], report: Report) -> Iterator[Record]:
    """Records in order. The entries of pictures that are done are let go, as they take several times the
    room."""
    chunk: list[_Picture] = []
    count = 0
    for picture in pictures:
        chunk.append(picture)
        count += len(picture.annotations)
        if count >= _CHUNK:
            yield from _chunk_records(chunk, class_of, report)
            chunk, count = [], 0
    yield from _chunk_records(chunk, class_of, report)


def _chunk_records(pictures: list[_Picture], class_of: dict[int, int], report: Report) -> Iterator[Record]:
    polygons: list[list] = []
    sizes: list[tuple[int, int]] = []
    for picture in pictures:
        for _, entry in picture.annotations:
            if isinstance(entry.get("segmentation"), list):
                polygons.append(entry["segmentation"])
                sizes.append(picture.size)
    shapes = iter(read_polygons(polygons, sizes))
    for picture in pictures:
        annotations = []
        for position, entry in picture.annotations:
            segmentation = entry.get("segmentation")
            if isinstance(segmentation, list):
                shape = next(shapes)
            elif isinstance(segmentation, dict):
                shape = read_rle(segmentation, picture.size)
            else:
                shape = Shape(None, notes=("it has no segmentation",))
            annotation, notes = _annotation(entry, shape, class_of)
            for note in notes:
                report(_label(position, entry, picture), note)
            if annotation is not None:
                annotations.append(annotation)
        picture.annotations = []
        height, width = picture.size
        yield Record(picture.image_id, picture.path, height, width, tuple(annotations))


def _annotation(entry: dict, shape: Shape, class_of: dict[int, int]) -> tuple[Annotation | None, list[str]]:
    """One annotation, or None, and what is to be reported of it."""
    category_id = entry.get("category_id")
    class_index = class_of.get(category_id) if type(category_id) is int else None
    if class_index is None:
        return None, [f"left out: category id {category_id!r} is not in `categories`"]
    if shape.segmentation is None:
        return None, [f"left out: {note}" for note in shape.notes[:1]]
    notes = [f"kept without one part: {note}" for note in shape.notes]
    box = _box(entry.get("bbox"))
    if box is None:
        if entry.get("bbox") is not None:
            notes.append(f"its box {entry['bbox']} has no size; made again from its segmentation")
        box = shape.box
    area, track_id, annotation_id = entry.get("area"), entry.get("track_id"), entry.get("id")
    return Annotation(
        class_index,
        shape.segmentation,
        box,
        float(area) if type(area) in (int, float) and 0 < area < FAR**2 else shape.area,
        entry.get("iscrowd") not in (None, 0, "0"),
        annotation_id if type(annotation_id) is int else None,
        track_id if type(track_id) is int else None,
    ), notes


def _box(value: Any) -> tuple[float, float, float, float] | None:
    """COCO's [x, y, width, height] to corners; None if it is no box with a size."""
    if not isinstance(value, list) or len(value) != 4 or not all(type(v) in (int, float) for v in value):
        return None
    x, y, width, height = value
    if not (width > 0 and height > 0 and max(map(abs, value)) < FAR):
        return None
    return (float(x), float(y), float(x + width), float(y + height))


def _label(position: int, entry: dict, picture: _Picture | None = None) -> str:
    """How a Problem names an annotation."""
    annotation_id = entry.get("id")
    label = f"annotation number {position}" if annotation_id is None else f"annotation {annotation_id}"
    return label if picture is None else f"{label} of {picture.label}"
