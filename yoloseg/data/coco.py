"""COCO instance annotations (one JSON file and a folder of pictures) -> Dataset, read and checked once.

What is wrong but can be left out is left out and listed in `dataset.problems`; what cannot is a DataError.
Nothing is left to be found in the middle of an epoch, except pixels damaged in the middle of a picture file:
those that cannot be decoded `yoloseg data check` finds.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from yoloseg.data.json_file import read_json, without_collection
from yoloseg.data.pictures import (
    Picture,
    Problems,
    Report,
    is_text,
    label_of,
    make_dataset,
    printable,
    relative_path,
)
from yoloseg.data.records import Dataset
from yoloseg.errors import DataError, shown
from yoloseg.files import is_dir


@without_collection()
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
    return coco_dataset(read_json(Path(annotations)), Path(annotations), Path(images), name)


def coco_dataset(document: Any, source: Path, folder: Path, name: str | None) -> Dataset:
    """As `load_coco` from the content of its file, which is emptied: it takes several times the room of the
    records."""
    _check_form(source, document)
    if not is_dir(folder):
        raise DataError(f"{folder}: no such folder of pictures (for {source}); correct `images`")
    problems = Problems(source)
    report = problems.report
    entries = [entry for entry in document["annotations"] if isinstance(entry, dict)]
    used = {entry.get("category_id") for entry in entries if type(entry.get("category_id")) is int}
    categories = read_categories(source, document["categories"], used, report)
    pictures = _pictures(document["images"], folder, report)
    _clips(document, pictures)
    _attach(document["annotations"], pictures, report)
    del entries
    document.clear()
    return make_dataset(name or source.stem, source, list(pictures.values()), categories, problems)


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


def read_categories(source: Path, entries: list, used: set[int], report: Report) -> dict[int, str]:
    """Category id -> name, sorted by id."""
    names: dict[int, str] = {}
    parents: dict[int, Any] = {}
    for entry in entries:
        category_id = entry.get("id") if isinstance(entry, dict) else None
        name = entry.get("name") if isinstance(entry, dict) else None
        if type(category_id) is not int or not is_text(name):
            what = entry if isinstance(entry, str) else shown(entry)
            raise DataError(f"{source}: category {what}: it needs an `id` (a whole number) and a `name`")
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


def _pictures(entries: list, folder: Path, report: Report) -> dict[int, Picture]:
    """Entries of `images` by id; those whose entry cannot be used are left out."""
    pictures: dict[int, Picture] = {}
    ambiguous: set[int] = set()
    for position, entry in enumerate(entries):
        image_id = entry.get("id") if isinstance(entry, dict) else None
        if type(image_id) is not int:
            report(f"image number {position}", "left out: it has no `id` that is a whole number")
            continue
        file_name = entry.get("file_name")
        label = f"image {image_id} ({printable(file_name)})"
        relative = relative_path(file_name)
        if relative is None:
            report(label, "left out: its `file_name` is not a path inside the folder of pictures")
            continue
        height, width = whole(entry.get("height")), whole(entry.get("width"))
        stated = entry.get("height") is not None or entry.get("width") is not None
        if stated and (height <= 0 or width <= 0):
            report(label, f"left out: {entry.get('width')} x {entry.get('height')} is not a size")
            continue
        picture = Picture(image_id, label, folder / relative, (height, width) if stated else None)
        if image_id not in pictures:
            pictures[image_id] = picture
        elif pictures[image_id].path == picture.path:
            report(label, "written twice; one is left out")
        else:
            ambiguous.add(image_id)
            report(label, f"left out: {pictures[image_id].label} has the same id; give one another")
    files: dict[Path, Picture] = {}
    for picture in pictures.values():
        other = files.setdefault(picture.path, picture)
        if other is not picture:
            note = "what is annotated under one is background under the other; give both one id"
            report(picture.label, f"the same file as {other.label}: {note}")
    for image_id in ambiguous:
        report(pictures[image_id].label, "left out: another picture has the same id")
        pictures[image_id].usable = False
    return pictures


def _clips(document: dict, pictures: dict[int, Picture]) -> None:
    """Pictures that say which of the `videos` they are of: as `write_coco` writes clips (`frame_index`), and
    as others do (`frame_id`); without either, frames are numbered as the file has them."""
    videos = document.get("videos")
    names: dict[int, str] = {}
    given: set[str] = set()
    for video in videos if isinstance(videos, list) else ():
        if isinstance(video, dict) and type(video.get("id")) is int and video["id"] not in names:
            told = [video[key] for key in ("name", "file_name") if is_text(video.get(key))]
            name = told[0] if told else f"video {video['id']}"
            while name in given:
                name = f"{name} {video['id']}"
            given.add(name)
            names[video["id"]] = name
    taken: dict[int, set[int]] = {video: set() for video in names}
    following = dict.fromkeys(names, 0)
    for entry in document["images"] if names else ():
        if not isinstance(entry, dict) or type(entry.get("id")) is not int:
            continue
        picture, video = pictures.get(entry["id"]), entry.get("video_id")
        if picture is None or picture.frame_of is not None or type(video) is not int or video not in names:
            continue
        numbers = [entry[key] for key in ("frame_index", "frame_id") if type(entry.get(key)) is int]
        frame = numbers[0] if numbers and numbers[0] not in taken[video] else following[video]
        taken[video].add(frame)
        following[video] = max(following[video], frame + 1)
        picture.frame_of = (names[video], frame)


def whole(value: Any) -> int:
    """A number of pixels: 640 or 640.0; 0 for anything else."""
    return int(value) if type(value) in (int, float) and 0 < value < 1e9 and value == int(value) else 0


def _attach(entries: list, pictures: dict[int, Picture], report: Report) -> None:
    """Hands every annotation to its picture; those of an unknown picture and second copies are left out."""
    seen: dict[int, dict] = {}
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            report(f"annotation number {position}", "left out: not an object")
            continue
        image_id = entry.get("image_id")
        picture = pictures.get(image_id) if type(image_id) is int else None
        if picture is None:
            message = f"left out: image id {image_id!r} is no usable entry of `images`"
            report(label_of(position, entry), message)
            continue
        annotation_id = entry.get("id")
        if type(annotation_id) is int:
            first = seen.setdefault(annotation_id, entry)
            if first is not entry:
                if first == entry:
                    report(label_of(position, entry, picture), "written twice; one is left out")
                    continue
                report(label_of(position, entry, picture), "kept without its id, which another one has too")
                entry = {**entry, "id": None}
        picture.annotations.append((position, entry))
