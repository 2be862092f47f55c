"""COCO ground-truth and results files, read and checked before anything is scored.

What the official code scores is let through as it is; what would crash it, or silently give a meaningless
number (unknown images or categories, scores that are not numbers), is a DataError that names file and record.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yoloseg.data.coco_masks import decompress_counts
from yoloseg.data.json_file import read_json
from yoloseg.errors import DataError, shown

_MEASURED_FIELDS = ("id", "image_id", "category_id", "bbox", "area")
_RESULT_FIELDS = ("image_id", "category_id", "score")


def read_ground_truth(path: str | Path) -> dict:
    """The COCO instances file `path`, checked by `check_ground_truth`. Raises DataError."""
    ground_truth = read_json(Path(path))
    check_ground_truth(ground_truth, str(path))
    return ground_truth


def read_results(path: str | Path) -> list[dict]:
    """The COCO results file `path`: a JSON list of detections (not yet checked). Raises DataError."""
    return read_json(Path(path))


def check_ground_truth(ground_truth: Any, source: str) -> None:
    """Raises DataError unless `ground_truth` is a COCO instances dict that box AP can be measured on."""
    if not isinstance(ground_truth, dict):
        raise DataError(
            f"{source}: a COCO annotation file is a JSON object, this is a {kind_of(ground_truth)}"
        )
    for key in ("images", "categories", "annotations"):
        if not isinstance(ground_truth.get(key), list):
            raise DataError(f"{source}: no list '{key}'; is it a COCO instances file?")
        for index, entry in enumerate(ground_truth[key]):
            if not isinstance(entry, dict) or not _is_id(entry.get("id")):
                raise DataError(f"{source}: {key}[{index}] is not an object with an 'id', a number or a text")
    for key in ("images", "categories"):
        if len({isinstance(entry["id"], str) for entry in ground_truth[key]}) > 1:
            raise DataError(f"{source}: of the {key} some ids are numbers and some are texts")
    for index, annotation in enumerate(ground_truth["annotations"]):
        for field in _MEASURED_FIELDS:
            if field not in annotation:
                raise DataError(f"{source}: annotations[{index}] (id {annotation['id']}) has no '{field}'")
        for field in ("image_id", "category_id"):
            if not _is_id(annotation[field]):
                where = f"{source}: annotations[{index}] (id {annotation['id']})"
                raise DataError(f"{where}: '{field}' is {shown(annotation[field])}, neither number nor text")
        crowd = annotation.get("iscrowd")
        if not (crowd is None or isinstance(crowd, bool) or is_number(crowd)):
            where = f"{source}: annotations[{index}] (id {annotation['id']})"
            raise DataError(f"{where}: 'iscrowd' is 0 or 1, not {shown(crowd)}")
        if not _is_box(annotation["bbox"]):
            raise DataError(
                f"{source}: annotations[{index}] (id {annotation['id']}): "
                "'bbox' must be [x, y, width, height]"
            )
        if not is_number(annotation["area"]):
            raise DataError(f"{source}: annotations[{index}] (id {annotation['id']}): 'area' is not a number")


def check_results(results: Any, ground_truth: dict, source: str) -> None:
    """Raises DataError unless `results` are detections of this ground truth's images and categories."""
    if not isinstance(results, list):
        raise DataError(
            f"{source}: a COCO results file is a JSON list of detections, this is a {kind_of(results)}"
        )
    if not results:
        return
    images = {image["id"] for image in ground_truth["images"]}
    categories = {category["id"] for category in ground_truth["categories"]}
    boxes = holds_boxes(results)
    for index, result in enumerate(results):
        where = f"{source}: detection {index}"
        if not isinstance(result, dict):
            raise DataError(f"{where} is not an object but a {kind_of(result)}")
        for field in _RESULT_FIELDS:
            if field not in result:
                raise DataError(f"{where} has no '{field}'")
        if not is_known(result["image_id"], images):
            raise DataError(f"{where}: image_id {result['image_id']!r} is not in the annotation file")
        if not is_known(result["category_id"], categories):
            raise DataError(f"{where}: category_id {result['category_id']!r} is not in the annotation file")
        if not is_number(result["score"]):
            raise DataError(f"{where}: score {result['score']!r} is not a finite number")
        if (boxes or result.get("bbox")) and not _is_box(result.get("bbox")):
            raise DataError(f"{where}: 'bbox' must be [x, y, width, height], as in the first detection")
        if not boxes and not _is_compressed(result.get("segmentation")):
            raise DataError(
                f"{where}: without a 'bbox' the 'segmentation' must be a compressed RLE "
                '({"size": [height, width], "counts": "..."})'
            )
        if "segmentation" in result:
            check_segmentation(result["segmentation"], where)


def holds_boxes(results: Sequence[dict]) -> bool:
    """As the official loader decides: by the first detection."""
    return isinstance(results[0], dict) and bool(results[0].get("bbox"))


def check_segmentation(segmentation: Any, where: str) -> None:
    """Raises DataError unless this is polygons, RLE or compressed RLE. `where` begins the message.

    Runs that do not add up to the mask's size are refused too: the official code never returns from them.
    """
    if isinstance(segmentation, dict):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        sized = isinstance(size, (list, tuple)) and len(size) == 2 and all(map(is_number, size))
        if sized and isinstance(counts, (str, bytes, list)):
            if _runs_fill(counts, size[0] * size[1]):
                return
            raise DataError(f"{where}: the RLE's runs do not add up to {size[0]} x {size[1]}; is it cut off?")
    elif isinstance(segmentation, list) and segmentation and all(map(_is_polygon, segmentation)):
        return
    raise DataError(
        f"{where}: 'segmentation' is neither polygons [[x, y, ...], ...] nor an RLE {{size, counts}}"
    )


def ground_truth_notes(ground_truth: dict) -> list[str]:
    """What in this ground truth makes the official numbers lower than one would think."""
    ids = [annotation["id"] for annotation in ground_truth["annotations"]]
    notes = []
    if 0 in ids:
        notes.append("annotation id 0: the official code never counts this object as found; number from 1")
    if len(set(ids)) < len(ids):
        notes.append(
            f"{len(ids) - len(set(ids))} annotations repeat the id of another: the official code "
            "scores the last one of each id instead; give every annotation its own id"
        )
    return notes


def results_notes(results: Sequence[dict], ground_truth: dict) -> list[str]:
    """Masks of another size than their picture, which the official code never matches."""
    sizes = {image["id"]: (image.get("height"), image.get("width")) for image in ground_truth["images"]}
    wrong = sum(
        tuple(result["segmentation"]["size"]) != sizes[result["image_id"]]
        for result in results
        if isinstance(result.get("segmentation"), dict)
    )
    if not wrong:
        return []
    return [f"{wrong} masks are not of their picture's size, so they match nothing; paste them at full size"]


def kind_of(value: Any) -> str:
    """What a message calls a JSON value's type."""
    return {dict: "JSON object", list: "JSON list"}.get(type(value), type(value).__name__)


def is_known(value: Any, known: set) -> bool:
    """Whether an id of a file, which may be anything, is one of these."""
    return isinstance(value, (numbers.Real, str)) and value in known


def _is_id(value: Any) -> bool:
    return isinstance(value, str) or is_number(value)


def is_number(value: Any) -> bool:
    """Whether a value of a file is a finite number, that a float holds."""
    try:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _is_box(box: Any) -> bool:
    return isinstance(box, (list, tuple)) and len(box) == 4 and all(map(is_number, box))


def _runs_fill(counts: str | bytes | list, pixels: float) -> bool:
    try:
        if isinstance(counts, list):
            runs = np.asarray(counts)
        else:
            runs = decompress_counts(counts.encode("ascii") if isinstance(counts, str) else counts)
        return runs.dtype.kind in "iu" and int(runs.min()) >= 0 and int(runs.sum()) == pixels
    except ValueError:  # also what is not ASCII, and lists of other things than numbers
        return False


def _is_compressed(segmentation: Any) -> bool:
    return isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), (str, bytes))


def _is_polygon(part: Any) -> bool:
    return isinstance(part, list) and len(part) >= 4 and len(part) % 2 == 0 and all(map(is_number, part))
