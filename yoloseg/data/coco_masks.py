"""COCO's `segmentation` values, checked and made ready: polygons for many annotations at once, RLE one by
one.

A hundred thousand pictures hold a million polygons: their numbers go through numpy together, and each polygon
of the result is a view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

FAR = 1e6  # pixels; a coordinate beyond is a mistake, and rasterisers overflow on it
_FLAT = 1e-6  # square pixels; below, a polygon has no area in float64 arithmetic


@dataclass(frozen=True)
class Shape:
    """A checked segmentation, or None where nothing of it can be used.

    segmentation: polygons as a tuple of float32 [n, 2], or a COCO RLE dict with compressed `counts` (bytes).
    box: (x0, y0, x1, y1) around it. area: in pixels (of polygons: the sum over the parts, overlaps twice).
    notes: what was left out, and why.
    """

    segmentation: tuple[np.ndarray, ...] | dict | None
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    area: float = 0.0
    notes: tuple[str, ...] = ()


def read_polygons(segmentations: Sequence[list], sizes: Sequence[tuple[int, int]]) -> list[Shape]:
    """Checks the polygons of many annotations.

    segmentations: for each annotation a list of parts [x0, y0, x1, y1, ...] (or one such part without the
    outer list). sizes: (height, width) of each one's picture. Returns one Shape each. Parts that are not
    numbers, have fewer than 3 points, no area, or lie wholly outside the picture are left out with a note;
    the rest is kept as written, also where it reaches over the picture's edge.
    """
    parts: list[list] = []
    owners: list[int] = []
    notes: list[list[str]] = [[] for _ in segmentations]
    for owner, segmentation in enumerate(segmentations):
        if segmentation and isinstance(segmentation[0], (int, float)):
            segmentation = [segmentation]
        for part in segmentation:
            reason = _form_problem(part)
            if reason:
                notes[owner].append(reason)
            else:
                parts.append(part)
                owners.append(owner)
    try:
        values = np.fromiter(chain.from_iterable(parts), np.float64)
    except (TypeError, ValueError, OverflowError):
        parts, owners = _numeric(parts, owners, notes)
        values = np.fromiter(chain.from_iterable(parts), np.float64)
    if not parts:
        return [_without(note) for note in notes]

    points = values.reshape(-1, 2)
    lengths = np.fromiter(map(len, parts), np.int64, len(parts)) // 2
    stops = np.cumsum(lengths)
    starts = stops - lengths
    owner_of = np.asarray(owners)
    boxes, areas, reasons = _measure(points, starts, stops, np.asarray(sizes, np.float64)[owner_of])
    with np.errstate(over="ignore"):  # what is too far is left out below
        polygons = points.astype(np.float32)

    kept: list[list[np.ndarray]] = [[] for _ in segmentations]
    for owner, start, stop, reason in zip(owners, starts.tolist(), stops.tolist(), reasons, strict=True):
        if reason:
            notes[owner].append(reason)
        else:
            kept[owner].append(polygons[start:stop])
    return _join(kept, notes, boxes, areas, owner_of, np.array([not reason for reason in reasons]))


def read_rle(segmentation: dict, size: tuple[int, int]) -> Shape:
    """Checks one RLE, compressed (`counts` text) or not (`counts` a list), for a picture of `size` (height,
    width).

    A malformed one, one of another size and one with no pixel give a Shape without segmentation and a note.
    """
    height, width = size
    counts, stated = segmentation.get("counts"), segmentation.get("size")
    if not isinstance(counts, (list, str)):
        return Shape(None, notes=("its RLE has no counts",))
    if not isinstance(stated, list) or stated != [height, width]:
        return Shape(None, notes=(f"its RLE is of size {stated}, not [{height}, {width}] as the picture",))
    try:
        if isinstance(counts, list):
            if not all(type(count) is int for count in counts):
                raise ValueError("its RLE counts are not whole numbers")
            runs = np.asarray(counts)
        else:
            runs = decompress_counts(counts.encode("ascii"))
        if len(runs) == 0 or runs.min() < 0 or runs.max() > height * width or runs.sum() != height * width:
            raise ValueError(f"its RLE counts do not add up to {height} x {width}")
    except (ValueError, OverflowError) as error:  # UnicodeEncodeError is a ValueError
        return Shape(None, notes=(str(error) if type(error) is ValueError else "its RLE counts are broken",))
    area = int(runs[1::2].sum())
    if area == 0:
        return Shape(None, notes=("its RLE holds no pixel",))
    if isinstance(counts, list):
        rle = mask_utils.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)
    else:
        rle = {"size": [height, width], "counts": counts.encode("ascii")}
    x, y, w, h = mask_utils.toBbox(rle).tolist()
    return Shape(rle, (x, y, x + w, y + h), float(area))


def area_of(segmentation: tuple[np.ndarray, ...] | dict) -> float:
    """Square pixels: of an RLE its pixels; of polygons the sum over the parts, so that overlaps count
    twice."""
    if isinstance(segmentation, dict):
        return float(mask_utils.area(segmentation))
    total = 0.0
    for part in segmentation:
        x, y = (part - part[0]).astype(np.float64).T
        total += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    return total


def decompress_counts(counts: bytes) -> np.ndarray:
    """Run lengths int64 [n] of COCO's compressed counts: groups of 5 bits from the low end, bit 6 says that
    more follow, the last group's bit 5 is the sign; from the fourth run on, the difference to the run before
    the last (cocoapi `rleFrString`). Raises ValueError if it is not such a string."""
    groups = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if len(groups) == 0 or groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        raise ValueError("its RLE counts are broken")
    ends = np.flatnonzero((groups & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:
        raise ValueError("its RLE counts are broken")
    shifts = 5 * (np.arange(len(groups)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((groups & 31) << shifts, starts)
    runs -= np.where(groups[ends] & 16, np.int64(1) << (5 * lengths), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def _form_problem(part: Any) -> str:
    if not isinstance(part, list):
        return "a polygon is not a list of numbers"
    if part and isinstance(part[0], list):
        return "a polygon is a list of points; COCO's form is one flat list [x, y, x, y, ...]"
    if len(part) % 2:
        return f"a polygon has an odd number of coordinates ({len(part)})"
    if len(part) < 6:
        return f"a polygon has fewer than 3 points ({len(part) // 2})"
    return ""


def _numeric(parts: list[list], owners: list[int], notes: list[list[str]]) -> tuple[list[list], list[int]]:
    """Parts that hold only numbers, and their owners; the others get a note. Slow: for files known to hold
    such."""
    good_parts, good_owners = [], []
    for part, owner in zip(parts, owners, strict=True):
        try:
            np.fromiter(part, np.float64)
        except (TypeError, ValueError, OverflowError):
            notes[owner].append("a polygon holds something that is not a number")
        else:
            good_parts.append(part)
            good_owners.append(owner)
    return good_parts, good_owners


def _measure(
    points: np.ndarray, starts: np.ndarray, stops: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Boxes float64 [n, 4], areas float64 [n] and, for each part, why it cannot be used ("" if it can)."""
    finite = np.logical_and.reduceat(np.isfinite(points).all(axis=1), starts)
    points = np.nan_to_num(points, nan=0.0, posinf=0.0, neginf=0.0)
    low = np.minimum.reduceat(points, starts)
    high = np.maximum.reduceat(points, starts)
    far = (np.abs(low) > FAR).any(axis=1) | (np.abs(high) > FAR).any(axis=1)
    height, width = sizes.T
    outside = (high[:, 0] <= 0) | (high[:, 1] <= 0) | (low[:, 0] >= width) | (low[:, 1] >= height)
    relative = points - np.repeat(low, stops - starts, axis=0)
    following = np.arange(1, len(points) + 1)
    following[stops - 1] = starts
    with np.errstate(over="ignore", invalid="ignore"):
        cross = relative[:, 0] * relative[following, 1] - relative[:, 1] * relative[following, 0]
        areas = np.abs(np.add.reduceat(cross, starts)) / 2

    reasons = [""] * len(starts)
    for i in np.flatnonzero(~finite | far | outside | (areas <= _FLAT)).tolist():
        if not finite[i]:
            reasons[i] = "a polygon has a coordinate that is not finite (NaN or infinity)"
        elif far[i]:
            reasons[i] = f"a polygon has a coordinate beyond {FAR:.0f} pixels"
        elif outside[i]:
            reasons[i] = "a polygon lies wholly outside the picture"
        elif _collinear(relative[starts[i] : stops[i]]):
            reasons[i] = "a polygon has no area"
    return np.concatenate([low, high], axis=1), areas, reasons


def _collinear(points: np.ndarray) -> bool:
    """Whether all points lie on one line: a figure of eight has no signed area either, but does cover
    pixels."""
    offsets = points - points[0]
    direction = offsets[np.argmax((offsets**2).sum(axis=1))]
    return bool(np.abs(offsets[:, 0] * direction[1] - offsets[:, 1] * direction[0]).max() <= _FLAT)


def _join(
    kept: list[list[np.ndarray]],
    notes: list[list[str]],
    boxes: np.ndarray,
    areas: np.ndarray,
    owners: np.ndarray,
    usable: np.ndarray,
) -> list[Shape]:
    """Parts to annotations: the union of their boxes and the sum of their areas."""
    low = np.full((len(kept), 2), np.inf)
    high = np.full((len(kept), 2), -np.inf)
    total = np.zeros(len(kept))
    np.minimum.at(low, owners[usable], boxes[usable, :2])
    np.maximum.at(high, owners[usable], boxes[usable, 2:])
    np.add.at(total, owners[usable], areas[usable])
    unions = np.concatenate([low, high], axis=1).tolist()
    shapes = []
    for polygons, union, area, note in zip(kept, unions, total.tolist(), notes, strict=True):
        if polygons:
            shapes.append(Shape(tuple(polygons), tuple(union), area, tuple(note)))
        else:
            shapes.append(_without(note))
    return shapes


def _without(notes: list[str]) -> Shape:
    """Of an annotation none of whose parts is kept."""
    return Shape(None, notes=tuple(notes) or ("its segmentation is empty",))
