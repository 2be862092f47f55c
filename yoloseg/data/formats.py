"""Which reader an entry of a data file goes to, and what may stand in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoloseg.data.classes import choose_classes
from yoloseg.data.coco import coco_dataset
from yoloseg.data.davis import CLASS, load_davis
from yoloseg.data.json_file import read_json, without_collection
from yoloseg.data.label_images import load_label_images
from yoloseg.data.labelme import load_labelme
from yoloseg.data.lvis import is_lvis, lvis_dataset
from yoloseg.data.records import Dataset
from yoloseg.data.via import is_via, via_dataset
from yoloseg.data.view import View
from yoloseg.data.wad import load_wad
from yoloseg.data.yolo import load_yolo
from yoloseg.data.youtube_vis import youtube_vis_dataset
from yoloseg.errors import DataError, shown
from yoloseg.files import is_dir, is_file, is_name

PATHS = ("annotations", "images", "instances", "labels", "root", "semantic")
EXPORT = "_annotations.coco.json"  # what annotation tools call the file beside the pictures of a split


@dataclass(frozen=True)
class Entry:
    """One split of a data file. fields: as written, paths absolute or relative to the folder of `file`.
    names: the data file's class names by index, where the annotations have none. classes: those of the set
    that are wanted, if not all."""

    file: Path
    split: str
    fields: dict[str, Any]
    names: dict[int, str] | None = None
    classes: tuple[str, ...] | None = None

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.file}: `{self.split}`"

    @property
    def source(self) -> str:
        """The file or folder of its annotations, for messages."""
        for key in ("annotations", "instances", "labels", "root", "images"):
            value = self.fields.get(key)
            if isinstance(value, str):
                return str(self.file.parent / value)
        return str(self.file)

    def path(self, key: str, *, needed: bool = True) -> Path | None:
        """The path under `key`. Raises DataError if it is no path, or missing where it is needed."""
        value = self.fields.get(key)
        if value is None and not needed:
            return None
        if not is_name(value):
            raise DataError(f"{self.where}: `{key}` must be a path, not {shown(value)}")
        return self.file.parent / value

    def class_names(self) -> dict[int, str]:
        """Raises DataError where the data file has none."""
        if self.names is None:
            raise DataError(f"{self.file}: this format needs `names: [first class, second class, ...]`")
        return self.names

    def number(self, key: str, default: float, low: float, high: float, *, whole: bool = True) -> float:
        """Raises DataError if it is no such number."""
        value = self.fields.get(key, default)
        if type(value) not in ((int,) if whole else (int, float)) or not low <= value <= high:
            kind = "a whole number" if whole else "a number"
            raise DataError(f"{self.where}: `{key}` must be {kind} from {low} to {high}, not {shown(value)}")
        return value


@without_collection()
def load_entry(entry: Entry, name: str, known: Sequence[str] = ()) -> Dataset:
    """Reads one split; `format` says how, or it is recognised. known: classes of another split, which this
    one need not have. Raises DataError."""
    dataset = FORMATS[check_entry(entry)].load(entry, name)
    if entry.classes is not None:
        chosen = [one for one in entry.classes if one in dataset.classes or one not in known]
        dataset = choose_classes(dataset, chosen, entry.source)
    return dataset


def check_entry(entry: Entry) -> str:
    """The format of an entry. Raises DataError for an unknown one and for keys that it needs or has not."""
    kind = entry.fields.get("format") or _recognised(entry)
    if not isinstance(kind, str) or kind not in FORMATS:
        raise DataError(f"{entry.where}: format {shown(kind)} is none of {', '.join(FORMATS)}")
    form = FORMATS[kind]
    for key in form.needed:
        if key not in entry.fields:
            keys = ", ".join(form.needed)
            raise DataError(f"{entry.where}: format {kind} needs {keys}; `{key}` is missing")
    allowed = ("format", *form.needed, *form.optional)
    for key in entry.fields:
        if key not in allowed:
            raise DataError(f"{entry.where}: unknown key `{key}`; format {kind} has {', '.join(allowed)}")
        if key in PATHS and not (kind == "yolo" and key == "images"):
            entry.path(key)
    return kind


def _recognised(entry: Entry) -> str:
    fields = entry.fields
    if "instances" in fields:
        return "label-images"
    if "root" in fields:
        return "davis"
    if "annotations" in fields:
        annotations = entry.path("annotations")
        return "labelme" if is_dir(annotations) else "json"
    if "images" in fields and entry.names is not None:
        return "yolo"
    raise DataError(
        f"{entry.where}: it needs `annotations` (a JSON file, or a folder of labelme files) and `images`, or "
        f"`format`: one of {', '.join(FORMATS)}"
    )


def _json(entry: Entry, name: str) -> Dataset:
    """A JSON file by what it holds."""
    document = read_json(entry.path("annotations"))
    if isinstance(document, dict) and "videos" in document and "images" not in document:
        return _youtube_vis(entry, name, document)
    if is_via(document):
        return _via(entry, name, document)
    if is_lvis(document):
        return _lvis(entry, name, document)
    return _coco(entry, name, document)


def _coco(entry: Entry, name: str, document: Any = None) -> Dataset:
    _only(entry, "format", "annotations", "images")
    source = entry.path("annotations")
    document = read_json(source) if document is None else document
    return coco_dataset(document, source, entry.path("images"), name)


def _lvis(entry: Entry, name: str, document: Any = None) -> Dataset:
    _only(entry, "format", "annotations", "images")
    source = entry.path("annotations")
    document = read_json(source) if document is None else document
    return lvis_dataset(document, source, entry.path("images"), name)


def _youtube_vis(entry: Entry, name: str, document: Any = None) -> Dataset:
    _only(entry, "format", "annotations", "images", "every")
    source = entry.path("annotations")
    document = read_json(source) if document is None else document
    every = int(entry.number("every", 1, 1, 10_000))
    return youtube_vis_dataset(document, source, entry.path("images"), name, every)


def _via(entry: Entry, name: str, document: Any = None) -> Dataset:
    _only(entry, "format", "annotations", "images", "attribute")
    source, attribute = entry.path("annotations"), entry.fields.get("attribute")
    if attribute is not None and not isinstance(attribute, str):
        raise DataError(f"{entry.where}: `attribute` must be the name of a region attribute")
    document = read_json(source) if document is None else document
    return via_dataset(document, source, entry.path("images"), name, attribute)


def _labelme(entry: Entry, name: str) -> Dataset:
    names = None if entry.names is None else list(entry.names.values())
    return load_labelme(entry.path("annotations"), entry.path("images", needed=False), name, names)


def _yolo(entry: Entry, name: str) -> Dataset:
    images = entry.fields["images"]
    places = images if isinstance(images, list) else [images]
    if not places or not all(map(is_name, places)):
        raise DataError(f"{entry.where}: `images` must be a path or a list of paths, not {shown(images)}")
    labels = entry.path("labels", needed=False)
    if labels is not None and len(places) > 1:
        raise DataError(f"{entry.where}: `labels` is for one folder of pictures")
    found = [_found(entry.file.parent, place) for place in places]
    return load_yolo(found, entry.class_names(), name, labels)


def _found(folder: Path, place: str) -> Path:
    """Exports say `../train/images` and mean `train/images`; every reader of theirs lets them."""
    path = folder / place
    there = is_dir(path) or is_file(path)
    return folder / place[3:] if place.startswith("../") and not there else path


def _label_images(entry: Entry, name: str) -> Dataset:
    semantic = entry.path("semantic", needed=False)
    names = entry.class_names()
    return load_label_images(entry.path("images"), entry.path("instances"), names, name, semantic)


def _davis(entry: Entry, name: str) -> Dataset:
    clips, resolution = entry.fields.get("clips"), entry.fields.get("resolution", "480p")
    named = isinstance(clips, list) and clips and all(map(is_name, clips))
    if clips is not None and not named:
        raise DataError(f"{entry.where}: `clips` must be a list of names, not {shown(clips)}")
    if not is_name(resolution):
        raise DataError(f"{entry.where}: `resolution` must be the name of a folder, not {shown(resolution)}")
    names = list((entry.names or {}).values())
    if len(names) > 1:
        raise DataError(f"{entry.file}: clips of DAVIS form are of one class, `names` has {len(names)}")
    every = int(entry.number("every", 1, 1, 10_000))
    class_name = names[0] if names else CLASS
    root = entry.path("root")
    return load_davis(root, name, resolution=resolution, clips=clips, every=every, class_name=class_name)


def _wad(entry: Entry, name: str) -> Dataset:
    crop = entry.fields.get("crop", [0, 0])
    whole = isinstance(crop, list) and all(type(rows) is int and 0 <= rows < 100_000 for rows in crop)
    if not whole or len(crop) != 2:
        form = "[rows at the top, rows at the bottom]"
        raise DataError(f"{entry.where}: `crop` must be {form}, not {shown(crop)}")
    view = View(*crop, scale=entry.number("scale", 1.0, 0.01, 1.0, whole=False))
    return load_wad(entry.path("images"), entry.path("labels"), name, view)


def _only(entry: Entry, *allowed: str) -> None:
    """For formats that share the keys of a JSON file."""
    for key in entry.fields:
        if key not in allowed:
            keys = ", ".join(allowed)
            raise DataError(f"{entry.where}: unknown key `{key}`; for this JSON there are {keys}")


@dataclass(frozen=True)
class _Format:
    load: Callable[[Entry, str], Dataset]
    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()


_FILES = ("annotations", "images")
FORMATS = {
    "json": _Format(_json, _FILES, ("every", "attribute")),
    "coco": _Format(_coco, _FILES),
    "lvis": _Format(_lvis, _FILES),
    "youtube-vis": _Format(_youtube_vis, _FILES, ("every",)),
    "via": _Format(_via, _FILES, ("attribute",)),
    "labelme": _Format(_labelme, ("annotations",), ("images",)),
    "yolo": _Format(_yolo, ("images",), ("labels",)),
    "label-images": _Format(_label_images, ("images", "instances"), ("semantic",)),
    "davis": _Format(_davis, ("root",), ("resolution", "clips", "every")),
    "wad": _Format(_wad, ("images", "labels"), ("crop", "scale")),
}
