"""YOLO segmentation text: for each picture a `.txt` of one polygon a line, in fractions of the picture.

    0 0.431 0.220 0.512 0.241 0.498 0.377      # class index, then x y x y ... from 0 to 1

The text of `images/a/b.jpg` is `labels/a/b.txt`: the last `images` in its path becomes `labels`. Where there
is no such folder the text lies beside the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yoloseg.data.folders import find_files
from yoloseg.data.json_file import without_collection
from yoloseg.data.pictures import Picture, Problems, is_text, make_dataset, printable
from yoloseg.data.records import Dataset
from yoloseg.errors import DataError, shown
from yoloseg.files import is_dir, is_file, is_name

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
BOX = 5  # numbers in a line that is a class and a box, as detection sets have them


@without_collection()
def load_yolo(
    images: Sequence[Path], names: dict[int, str], name: str, labels: Path | None = None
) -> Dataset:
    """Reads one split.

    images: folders of pictures, searched to any depth, or text files that list pictures, one a line (relative
    to the text file). names: class index -> name. labels: the folder of the texts where it is not found by
    the rule above; of one folder of pictures. Records are sorted by path and numbered from 1.

    A picture without a text, or with an empty one, is background. Left out with a Problem: pictures that
    cannot be used (see `load_coco`), texts in a folder of their own without a picture, lines that are not a
    class and at least three points, lines of unknown classes, polygons without area. Lines that hold only a
    box are counted in one Problem. Raises DataError: nothing there, or only boxes.
    """
    source = Path(images[0])
    problems = Problems(source)
    pictures: list[Picture] = []
    without, boxes, polygons, lines = 0, 0, 0, 0
    pairs = _pairs(images, labels)
    for path, text in pairs:
        picture = Picture(len(pictures) + 1, f"picture {printable(str(path))}", path, None, normalised=True)
        pictures.append(picture)
        content = _read_text(text)
        if content is None:
            without += 1
            continue
        if isinstance(content, DataError):
            problems.report(picture.label, f"left out: {content}")
            picture.usable = False
            continue
        for number, line in enumerate(content.splitlines(), 1):
            words = line.split()
            if not words:
                continue
            lines += 1
            if len(words) == BOX:
                boxes += 1
                continue
            entry = _polygon(words, names)
            if isinstance(entry, str):
                problems.report(f"line {number} of {printable(str(text))}", f"left out: {entry}")
            else:
                polygons += 1
                picture.annotations.append((f"line {number} of {printable(str(text))}", entry))
    if boxes and not polygons:
        raise DataError(
            f"{source}: a set of boxes: all {boxes} lines of its texts hold a class and a box (5 numbers), "
            "none a polygon; instance masks need polygons"
        )
    if boxes:
        problems.report(f"{boxes} of {lines} lines", "left out: only a box (5 numbers), not a polygon")
    for place in images:
        texts = labels or _text_of(place / "picture").parent
        if is_dir(place) and is_dir(texts) and texts != place:
            known = {text for _, text in pairs}
            alone = [t for t in find_files(texts, (".txt",)) if t not in known and t.name != "classes.txt"]
            if alone:
                note = f"left out: there is no picture of theirs; first: {printable(str(alone[0]))}"
                problems.report(f"{len(alone)} texts", note)
    if without:
        problems.report(f"{without} of {len(pictures)} pictures", "kept as background: there is no text")
    return make_dataset(name, source, pictures, dict(sorted(names.items())), problems)


def read_names(value: Any, source: Path) -> dict[int, str]:
    """Class index -> name of a `names` entry: a list, or a mapping from whole numbers. Raises DataError."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value:
        raise DataError(f"{source}: `names` must be a list of class names, or map 0, 1, ... to them")
    names: dict[int, str] = {}
    for key, name in value.items():
        index = int(key) if isinstance(key, str) and key.isdecimal() and key.isascii() else key
        name = str(name) if type(name) is int and abs(name) < 10**9 else name
        if type(index) is not int or not 0 <= index < 10**9 or not is_text(name):
            what = f"{shown(key)}: {shown(name)}"
            raise DataError(
                f"{source}: `names` has {what}; it needs a whole number and a name, in quotes where YAML "
                "reads it as something else"
            )
        names[index] = name
    if len(set(names.values())) < len(names):
        twice = [name for name in names.values() if list(names.values()).count(name) > 1]
        raise DataError(f"{source}: `names` has {twice[0]!r} more than once; rename or unite them")
    return names


def _pairs(images: Sequence[Path], labels: Path | None) -> list[tuple[Path, Path]]:
    """(picture, its text), once each."""
    pairs: dict[Path, Path] = {}
    for place in images:
        if is_dir(place):
            found = find_files(place, PICTURES)
        elif is_file(place) and place.suffix == ".txt":
            found = _listed(place)
        else:
            raise DataError(f"{place}: no such folder of pictures, nor a text file that lists them")
        if not found:
            raise DataError(f"{place}: there are no pictures ({', '.join(PICTURES)})")
        for path in found:
            if labels is None:
                pairs[path] = _text_of(path)
            elif not is_dir(place):
                raise DataError(f"{place}: `labels` is for a folder of pictures, not for a list of them")
            else:
                pairs[path] = (labels / path.relative_to(place)).with_suffix(".txt")
    return list(pairs.items())


def _listed(place: Path) -> list[Path]:
    content = _read_text(place)
    if isinstance(content, DataError):
        raise content
    lines = [line.strip() for line in (content or "").splitlines()]
    lines = [line for line in lines if line]
    if not all(is_name(line) and (place.parent / line).name for line in lines):
        raise DataError(f"{place}: not a list of pictures")
    return [place.parent / line for line in lines]


def _text_of(path: Path) -> Path:
    parts = list(path.parts)
    for k in range(len(parts) - 2, -1, -1):
        if parts[k] == "images":
            parts[k] = "labels"
            return Path(*parts).with_suffix(".txt")
    return path.with_suffix(".txt")


def _read_text(path: Path) -> str | DataError | None:
    """The text; None if there is no such file."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except OSError as error:
        return DataError(f"{path}: cannot be read: {error.strerror or error}")
    except UnicodeDecodeError:
        return DataError(f"{path}: not a text file")


def _polygon(words: list[str], names: dict[int, str]) -> dict | str:
    """The fields of an annotation, or what is wrong."""
    try:
        index, *values = map(float, words)
    except ValueError:
        return "it holds something that is not a number"
    if index not in names:
        return f"class {words[0]} is not in `names`"
    if len(values) % 2 or len(values) < 6:
        return f"{len(values)} numbers after the class are no polygon of at least 3 points"
    if not all(math.isfinite(value) for value in values):
        return "it holds NaN or infinity"
    if max(values) > 2 or min(values) < -1:
        return "its coordinates are not fractions of the picture (0 to 1); are they pixels?"
    return {"category_id": int(index), "segmentation": [values]}
