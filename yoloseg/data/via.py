"""VIA (VGG Image Annotator) JSON, version 1 or 2: a saved project or its exported annotations."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from yoloseg.data.json_file import read_json, without_collection
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
from yoloseg.files import is_dir

CLASS = "object"  # where regions have no attributes


def load_via(
    annotations: str | Path, images: str | Path, name: str | None = None, attribute: str | None = None
) -> Dataset:
    """Reads polygons, ellipses, circles and rectangles; a rectangle's mask is all of it.

    annotations: the JSON. images: the folder of the pictures. attribute: which region attribute is the class;
    by default the only one that regions have. Without any attribute all are of the class "object". An
    attribute of checkboxes must have one of them ticked. Classes are sorted by name, their ids count from 1.

    Left out with a Problem: pictures that cannot be used (see `load_coco`), points, lines, regions of unknown
    form or without a class. Raises DataError: not such a file, several attributes and none chosen.
    """
    return via_dataset(read_json(Path(annotations)), Path(annotations), Path(images), name, attribute)


def is_via(document: Any) -> bool:
    """Whether the content of a JSON file is VIA's: the project, or the export, which maps keys to entries."""
    if not isinstance(document, dict) or not document:
        return False
    if "_via_img_metadata" in document:
        return True
    entries = document.values()
    return all(isinstance(e, dict) and "filename" in e and "regions" in e for e in entries)


@without_collection()
def via_dataset(
    document: Any, source: Path, folder: Path, name: str | None, attribute: str | None = None
) -> Dataset:
    """As `load_via` from the content of its file."""
    if not is_via(document):
        raise DataError(f"{source}: not VIA annotations: no entries with `filename` and `regions`")
    entries = document.get("_via_img_metadata", document)
    if not isinstance(entries, dict):
        raise DataError(f"{source}: its `_via_img_metadata` is not an object")
    if not is_dir(folder):
        raise DataError(f"{folder}: no such folder of pictures (for {source}); correct `images`")
    problems = Problems(source)
    found: list[tuple[Picture, list[tuple[str, dict]]]] = []
    for key, entry in entries.items():
        file = entry.get("filename") if isinstance(entry, dict) else None
        label = f"picture {printable(file)}"
        path = relative_path(file)
        if path is None:
            message = "left out: its `filename` is not a path inside the folder of pictures"
            problems.report(f"entry {printable(key)}", message)
            continue
        picture = Picture(len(found) + 1, label, folder / path, None)
        found.append((picture, _regions(entry.get("regions"), label, problems.report)))
    if not found:
        raise DataError(f"{source}: it names no picture")
    regions = [region for _, own in found for region in own]
    attribute = attribute or _only_attribute(source, [region for _, region in regions])
    chosen = [_class_of(region, attribute) for _, region in regions]
    names = sorted({kind for kind in chosen if kind is not None})
    if not names:
        raise DataError(f"{source}: no region has a class (attribute {attribute!r})")
    classes = iter(chosen)
    for picture, own in found:
        for place, region in own:
            kind, outline = next(classes), _outline(region.get("shape_attributes"))
            if isinstance(outline, str):
                problems.report(place, f"left out: {outline}")
            elif kind is None:
                problems.report(place, f"left out: attribute {attribute!r} names no class, or several")
            else:
                fields = {"category_id": names.index(kind) + 1, "segmentation": [outline]}
                picture.annotations.append((place, fields))
    categories = dict(enumerate(names, 1))
    pictures = united([picture for picture, _ in found], problems.report)
    return make_dataset(name or source.stem, source, pictures, categories, problems)


def _regions(regions: Any, label: str, report: Report) -> list[tuple[str, dict]]:
    """(place, region) of a list (version 2) or of a mapping (version 1)."""
    if isinstance(regions, dict):
        regions = list(regions.values())
    if not isinstance(regions, list):
        report(label, "its `regions` are neither a list nor an object: kept as background")
        return []
    kept = []
    for number, region in enumerate(regions):
        place = f"region {number} of {label}"
        if isinstance(region, dict):
            kept.append((place, region))
        else:
            report(place, "left out: not an object")
    return kept


def _only_attribute(source: Path, regions: list[dict]) -> str | None:
    attributes: Counter[str] = Counter()
    for region in regions:
        own = region.get("region_attributes")
        attributes.update(list(own) if isinstance(own, dict) else ())
    if len(attributes) > 1:
        raise DataError(
            f"{source}: regions have several attributes ({', '.join(map(printable, attributes))}); "
            "say which is the class: `attribute: NAME`"
        )
    return next(iter(attributes), None)


def _class_of(region: dict, attribute: str | None) -> str | None:
    if attribute is None:
        return CLASS
    own = region.get("region_attributes")
    value = own.get(attribute) if isinstance(own, dict) else None
    if isinstance(value, dict):  # checkboxes
        ticked = [key for key, state in value.items() if state in (True, "true", 1)]
        value = ticked[0] if len(ticked) == 1 else None
    return value.strip() if is_text(value) else None


def _outline(shape: Any) -> list[float] | str:
    """x0 y0 x1 y1 ..., or why there is none."""
    if not isinstance(shape, dict):
        return "it has no `shape_attributes`"
    kind = shape.get("name")
    fields = {
        "rect": ("x", "y", "width", "height"),
        "circle": ("cx", "cy", "r"),
        "ellipse": ("cx", "cy", "rx", "ry"),
    }.get(kind if isinstance(kind, str) else "")
    if kind == "polygon":
        xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys):
            return "its `all_points_x` and `all_points_y` are not lists of one length"
        return [value for point in zip(xs, ys, strict=True) for value in point]
    if fields is None:
        return f"a {printable(kind)} has no mask"
    values = [shape.get(field) for field in fields]
    if kind == "ellipse":
        values.append(shape.get("theta", 0.0))
    if not all(type(value) in (int, float) and abs(value) < 1e9 for value in values):
        return f"its {', '.join(fields)} are not numbers"
    if kind == "rect":
        x, y, width, height = values
        return rectangle(x, y, x + width, y + height)
    return ellipse(*values) if kind == "ellipse" else ellipse(values[0], values[1], values[2], values[2])
