"""Anchor sizes from the boxes of a data set: k-means with distance 1 - IoU over letterboxed box sizes.

Boxes are compared as if they shared a corner, so a box is its size (width, height) only. The centre of a
cluster is the median of its members, moved on by a short line search; a step is taken only where it raises
the members' mean IoU, so the mean best IoU never falls. Measured by tests/benchmarks/anchors.py: better than
the median alone, which is better than the mean, which is better than plain k-means on width and height.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from sklearn.cluster import kmeans_plusplus

from yoloseg.data.records import Dataset
from yoloseg.errors import DataError, UsageError
from yoloseg.files import write_json

FORMAT = "yoloseg anchors 1"
STARTS = 6  # k-means runs from different seeds; the best one is kept
MAX_ITERATIONS = 200
TOLERANCE = 1e-6  # mean best IoU gained by an iteration; below it the run has converged
SEARCH_STEPS = (0.04, 0.01, 0.0025)  # of log width and log height
EXACT_SIZES = 20_000  # as many distinct sizes are clustered as they are; more are gathered in bins first
BIN_WIDTH = 0.03  # of log width and log height
CHUNK = 1 << 16  # sizes compared with all anchors at a time, to bound memory


@dataclass(frozen=True)
class Anchors:
    """Anchor sizes of every level and how well they cover the boxes they were fitted to.

    sizes: one tuple a level, finest (P2) first, of equally many (width, height) in pixels of the network
        input; areas ascend within and across levels.
    imgsz: (height, width) of the network input.
    mean_best_iou: mean over the boxes of the IoU with the best anchor.
    recall50, recall70: share of the boxes whose best IoU is at least 0.5 / 0.7.
    boxes: how many boxes they were fitted to. source: where from (a command, or a file and a split).

    Raises DataError where a value cannot be right.
    """

    sizes: tuple[tuple[tuple[float, float], ...], ...]
    imgsz: tuple[int, int]
    mean_best_iou: float
    recall50: float
    recall70: float
    boxes: int
    source: str

    def __post_init__(self) -> None:
        if not self.sizes or len({len(level) for level in self.sizes}) != 1 or not self.sizes[0]:
            raise DataError("anchors: every level needs equally many sizes, at least one")
        if any(len(size) != 2 or not all(_is_number(v) and v > 0 for v in size) for size in self.flat):
            raise DataError("anchors: every size must be two positive numbers (width, height) in pixels")
        areas = [width * height for width, height in self.flat]
        if areas != sorted(areas):
            raise DataError("anchors: sizes must be ordered by area, smallest first, over all levels")
        if len(self.imgsz) != 2 or any(type(v) is not int or v <= 0 or v % 32 for v in self.imgsz):
            raise DataError(f"anchors: imgsz must be (height, width), multiples of 32, not {self.imgsz}")
        for name in ("mean_best_iou", "recall50", "recall70"):
            if not _is_number(getattr(self, name)) or not 0 <= getattr(self, name) <= 1:
                raise DataError(f"anchors: {name} must be between 0 and 1, not {getattr(self, name)!r}")
        if type(self.boxes) is not int or self.boxes < 1:
            raise DataError(f"anchors: boxes must be a positive count, not {self.boxes!r}")
        if not isinstance(self.source, str):
            raise DataError(f"anchors: source must be text, not {self.source!r}")

    @property
    def per_level(self) -> int:
        return len(self.sizes[0])

    @property
    def flat(self) -> list[tuple[float, float]]:
        """All sizes, finest level first."""
        return [size for level in self.sizes for size in level]

    def to_json(self, path: str | Path) -> None:
        """Writes a JSON file that `from_json` reads back equal."""
        write_json(path, {"format": FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, path: str | Path) -> Anchors:
        """Raises DataError, naming the file, when it is missing, not JSON, or not a file of anchors."""
        advice = "name a file written by `python -m yoloseg.anchors`"
        try:
            value = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error}); {advice}") from error
        except ValueError as error:
            raise DataError(f"{path}: not JSON ({error}); {advice}") from error
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise DataError(f'{path}: not a file of anchors (no "format": "{FORMAT}"); {advice}')
        del value["format"]
        wanted = set(cls.__dataclass_fields__)
        if set(value) != wanted:
            missing, unknown = sorted(wanted - set(value)), sorted(set(value) - wanted)
            raise DataError(f"{path}: keys missing: {missing}, unknown: {unknown}; {advice}")
        try:
            value["sizes"] = tuple(tuple(tuple(size) for size in level) for level in value["sizes"])
            value["imgsz"] = tuple(value["imgsz"])
        except TypeError as error:
            raise DataError(f"{path}: sizes and imgsz must be lists; {advice}") from error
        try:
            return cls(**value)
        except DataError as error:
            raise DataError(f"{path}: {error}; {advice}") from error


def letterboxed_sizes(dataset: Dataset, imgsz: tuple[int, int]) -> np.ndarray:
    """Sizes of the dataset's boxes in the network input: float64 [N, 2], (width, height) in pixels.

    A box is cut to its picture and scaled by min(h / H, w / W). Crowds and boxes with no area are left out:
    neither is ever assigned to an anchor. imgsz: (h, w) of the network input.
    """
    sizes = []
    for record in dataset.records:
        scale = min(imgsz[0] / record.height, imgsz[1] / record.width)
        for annotation in record.annotations:
            x0, y0, x1, y1 = annotation.box
            width = min(x1, record.width) - max(x0, 0)
            height = min(y1, record.height) - max(y0, 0)
            if not annotation.crowd and width > 0 and height > 0:
                sizes.append((width * scale, height * scale))
    return np.array(sizes, np.float64).reshape(-1, 2)


def pairwise_iou(sizes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """IoU of boxes that share a corner, [N, K]. sizes: [N, 2], anchors: [K, 2], (width, height) > 0."""
    width, height = (np.minimum(sizes[:, None, axis], anchors[None, :, axis]) for axis in (0, 1))
    overlap = width * height
    return overlap / (sizes.prod(1)[:, None] + anchors.prod(1)[None] - overlap)


def best_iou(sizes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """IoU of every size with its best anchor, [N], in bounded memory. Arguments as for `pairwise_iou`."""
    starts = range(0, len(sizes), CHUNK)
    return np.concatenate([pairwise_iou(sizes[i : i + CHUNK], anchors).max(1) for i in starts])


def fit_anchors(
    sizes: np.ndarray,
    per_level: int,
    *,
    imgsz: tuple[int, int],
    levels: int = 4,
    seed: int = 0,
    source: str = "",
) -> Anchors:
    """Clusters box sizes into levels * per_level anchors; the same for any order of the boxes.

    sizes: float [N, 2], (width, height) > 0 in pixels of the network input, whose (height, width) is imgsz.
    source: kept in the result, and named in errors.
    Raises DataError when there are fewer boxes, or fewer distinct sizes, than anchors asked for, or a size is
    not positive; UsageError when per_level or levels is below one.
    """
    if per_level < 1 or levels < 1:
        raise UsageError(f"anchors a level and levels must be at least 1, not {per_level} and {levels}")
    sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
    if not np.isfinite(sizes).all() or (sizes <= 0).any():
        raise DataError(f"{_prefix(source)}box sizes must be positive and finite; leave empty boxes out")
    count = levels * per_level
    points, weights = deduplicate(sizes)
    if len(points) < count:
        most = len(points) // levels
        raise DataError(
            f"{_prefix(source)}{len(sizes)} boxes of {len(points)} distinct sizes cannot make {count} anchors"
            f" ({levels} levels x {per_level}); "
            + (f"set anchors a level to {most} or less" if most else f"at least {levels} sizes are needed")
        )

    groups = (points, weights)
    if len(points) > EXACT_SIZES:
        groups = gather(points, weights, at_least=max(EXACT_SIZES // 4, 4 * count))
    seeds = np.random.SeedSequence(seed).generate_state(STARTS)
    runs = [lloyd(*groups, seed_centres(*groups, count, int(start))) for start in seeds]
    centres, _ = max(runs, key=lambda run: run[1][-1])

    return _ordered(centres, points, weights, per_level, imgsz, source)


def fit_any_anchors(
    sizes: np.ndarray,
    per_level: int,
    *,
    imgsz: tuple[int, int],
    levels: int = 4,
    seed: int = 0,
    source: str = "",
) -> tuple[Anchors, int | None]:
    """As `fit_anchors`, also from fewer distinct sizes than anchors; their number then, else None.

    The anchors are then these sizes and multiples of them, from half to twice their sides: objects as scaled
    pictures have them, and unseen ones. Raises DataError where there is no box.
    """
    sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
    points, weights = deduplicate(sizes)
    count = levels * per_level
    if not 0 < len(points) < count or not np.isfinite(sizes).all() or (sizes <= 0).any():
        fitted = fit_anchors(sizes, per_level, imgsz=imgsz, levels=levels, seed=seed, source=source)
        return fitted, None
    multiples = -(-count // len(points))
    power = np.array([(i + 1) // 2 * (-1) ** i for i in range(multiples)]) / (multiples // 2)  # 0, -, +, ...
    centres = (2.0 ** power[:, None, None] * points).reshape(-1, 2)[:count]
    return _ordered(centres, points, weights, per_level, imgsz, source), len(points)


def _ordered(centres, points, weights, per_level: int, imgsz: tuple[int, int], source: str) -> Anchors:
    """Anchors at the centres, finest level first, scored on sizes: `points`, each there `weights` times."""
    centres = np.array([[float(f"{side:.6g}") for side in centre] for centre in centres])
    centres = centres[np.lexsort((centres[:, 0], centres.prod(1)))]
    best, shares = best_iou(points, centres), weights / weights.sum()
    sizes = [tuple(centre) for centre in centres.tolist()]
    return Anchors(
        sizes=tuple(tuple(sizes[i : i + per_level]) for i in range(0, len(sizes), per_level)),
        imgsz=(int(imgsz[0]), int(imgsz[1])),
        mean_best_iou=round(float(shares @ best), 6),
        recall50=round(float(shares @ (best >= 0.5)), 6),
        recall70=round(float(shares @ (best >= 0.7)), 6),
        boxes=int(weights.sum()),
        source=source,
    )


def deduplicate(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct sizes, sorted, float64 [M, 2], and how often each occurs, float64 [M]. Distinct in float32:
    what is computed of one size at several places differs in its last bits."""
    sizes = sizes.astype(np.float32).astype(np.float64)
    distinct, counts = np.unique(sizes[:, 0] + 1j * sizes[:, 1], return_counts=True)
    return np.stack([distinct.real, distinct.imag], 1), counts.astype(np.float64)


def gather(points: np.ndarray, weights: np.ndarray, at_least: int) -> tuple[np.ndarray, np.ndarray]:
    """Gathers sizes into square bins of log width and log height, so fine that `at_least` are occupied.

    points: [N, 2], weights: [N]. Returns the weighted mean size of every bin [M, 2] and its weight [M].
    """
    logs, width = np.log(points), BIN_WIDTH
    while True:
        _, index = np.unique(np.floor(logs / width) @ np.array([1, 1j]), return_inverse=True)
        if index.max() + 1 >= at_least or width < 1e-12:
            break
        width /= 2
    total = np.bincount(index, weights)
    return np.stack([np.bincount(index, weights * points[:, axis]) / total for axis in (0, 1)], 1), total


def seed_centres(points: np.ndarray, weights: np.ndarray, count: int, seed: int) -> np.ndarray:
    """k-means++ on log sizes, where distance depends on ratios of sides as for 1 - IoU; [count, 2]."""
    _, chosen = kmeans_plusplus(np.log(points), count, sample_weight=weights, random_state=seed)
    return points[chosen]


def lloyd(points: np.ndarray, weights: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Lloyd's iterations under distance 1 - IoU, to convergence.

    points: [N, 2] distinct sizes, weights: [N], centres: [K, 2] with K <= N. Returns the centres, none of
    them without members, and the weighted mean best IoU at every iteration, which never falls.
    """
    centres, history = centres.copy(), []
    while True:
        labels, best = assign(points, weights, centres)
        history.append(float(best @ weights / weights.sum()))
        if len(history) > MAX_ITERATIONS or (len(history) > 1 and history[-1] - history[-2] < TOLERANCE):
            return centres, history
        centres = improve(points, weights, labels, centres)


def assign(points: np.ndarray, weights: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best centre of every point, int [N], and the IoU with it [N].

    A centre without points is moved, in place, onto the point that loses most (weight times distance), until
    every centre has some, or no point loses anything (which distinct sizes of float32 do not bring about).
    """
    while True:
        iou = pairwise_iou(points, centres)
        labels, best = iou.argmax(1), iou.max(1)
        empty = np.flatnonzero(np.bincount(labels, minlength=len(centres)) == 0)
        if not len(empty) or best.min() == 1:
            return labels, best
        centres[empty[0]] = points[np.argmax(weights * (1 - best))]


def improve(points: np.ndarray, weights: np.ndarray, labels: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Moves every centre to its members' median, then along each axis, where that raises their mean IoU.

    labels: int [N], which of the centres [K, 2] a point belongs to. Returns the moved centres.
    """
    areas = points.prod(1)

    def total_iou(candidates: np.ndarray) -> np.ndarray:
        own = candidates[labels]
        overlap = np.minimum(points, own).prod(1)
        return np.bincount(labels, weights * overlap / (areas + own.prod(1) - overlap), len(centres))

    def keep_better(candidates: np.ndarray) -> None:
        totals = total_iou(candidates)
        better = totals > score
        result[better], score[better] = candidates[better], totals[better]

    result, score = centres.copy(), total_iou(centres)
    keep_better(medians(points, weights, labels, len(centres)))
    for step in SEARCH_STEPS:
        for direction in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            keep_better(result * np.exp(step * np.array(direction)))
    return result


def medians(points: np.ndarray, weights: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Weighted median width and height of every cluster's members, [count, 2]. No cluster may be empty."""
    result = np.empty((count, 2))
    for axis in (0, 1):
        order = np.lexsort((points[:, axis], labels))
        total = np.cumsum(weights[order])
        ends = total[np.searchsorted(labels[order], np.arange(count), side="right") - 1]
        halves = (np.concatenate([[0], ends[:-1]]) + ends) / 2
        result[:, axis] = points[order[np.searchsorted(total, halves)], axis]
    return result


def _prefix(source: str) -> str:
    return f"{source}: " if source else ""


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
