"""A network's COCO metrics on a dataset, or LVIS' on a federated one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track

from yoloseg.data.records import Dataset, Record
from yoloseg.errors import DataError, UsageError
from yoloseg.evaluation.accumulator import DetectionAccumulator
from yoloseg.evaluation.best_f1 import best_f1
from yoloseg.evaluation.category_tables import LIMITS, Scores
from yoloseg.evaluation.coco_metrics import score
from yoloseg.evaluation.ground_truth import coco_ground_truth
from yoloseg.evaluation.lvis_metrics import LIMIT, highest, lvis_score, verified
from yoloseg.inference.exported import ExportedFile
from yoloseg.inference.finder import Finder, Found, finder_of
from yoloseg.inference.paste import paste_to_rle
from yoloseg.modeling.network import USUAL

if TYPE_CHECKING:
    from yoloseg.modeling.detector import Detector
    from yoloseg.modeling.network import YoloSeg


@dataclass(frozen=True)
class Evaluation:
    """metrics: what `evaluate` returns. ground_truth: COCO (of a federated set LVIS) instances dict.
    detections: all of them; with up to 100 of a class in a picture the official code gives the same metrics
    on what it saves (and the annotation file, if its areas are right). results: those that count. scores: of
    these against the ground truth, by `scorer`."""

    metrics: dict
    ground_truth: dict
    detections: DetectionAccumulator
    results: list[dict]
    scores: Scores
    scorer: Callable[..., Scores]  # `score` or `lvis_score`


def evaluate(model: YoloSeg | Finder, dataset: Dataset, **options) -> dict:
    """The metrics of `evaluate_in_detail`, which has the options."""
    return evaluate_in_detail(model, dataset, **options).metrics


def evaluate_in_detail(
    model: YoloSeg | Finder,
    dataset: Dataset,
    *,
    score_threshold: float = 0.001,
    max_detections: int | None = None,
    batch_size: int = 8,
    progress: bool = True,
    results_file: Path | None = None,
    detector: Detector | None = None,
) -> Evaluation:
    """Runs `model` over every picture of `dataset` and measures boxes and masks at the pictures' own size.

    model: a network, or an exported file as `yoloseg.load` gives it. The dataset's classes are found in its
    classes by name; detections of classes that the dataset does not have are left out. max_detections: kept
    in a picture; if not given as `default_limit` says. The official
    metrics count at most 100 of a class (of a federated set 300 in all); where more are kept, so many of a
    class count, and AR100 is AR500, say.
    batch_size: pictures the network is given at a time; proportionally fewer where more than 100 detections
    are kept, whose suppression takes memory. results_file: where detections are written, as COCO results,
    before they are scored.
    detector: used in place of one made for the network. Memory: a mask is kept as its compressed RLE.

    The metrics are {"bbox": M, "segm": M} as `coco_metrics`, or `lvis_metrics` for a federated set, and
    "best_f1_threshold": the score threshold with the best mask F1 at IoU 0.5, all classes pooled, -1 if no
    mask found an object; "best_f1": {"f1", "precision", "recall"} at that threshold, -1 likewise; "areas":
    what was found and done about the ground truth's areas, in words; "images", "detections": how many. Raises
    DataError for an empty dataset or an unreadable picture, UsageError where classes or numbers do not fit,
    and before the first picture where one is of a size that an exported file does not take.
    """
    if not len(dataset):
        raise DataError(f"{dataset.name}: no pictures to evaluate on")
    if max_detections is None:
        max_detections = default_limit(dataset, model)
    if batch_size < 1 or max_detections < 1 or not 0 <= score_threshold <= 1:
        raise UsageError("batch size and max detections must be at least 1, the score threshold in 0..1")
    batch_size = max(1, batch_size * USUAL // max(max_detections, USUAL))
    finder = finder_of(model, batch_size, detector)
    for record in dataset.records if isinstance(finder, ExportedFile) else ():
        finder.check(record.height, record.width)
    class_index = _class_map(finder.classes, dataset)
    ground_truth, areas = coco_ground_truth(dataset)
    found = DetectionAccumulator(dataset.category_ids)
    batches = _batches(dataset, batch_size)
    if progress:
        total = -(-len(dataset) // batch_size)
        batches = track(batches, f"evaluating {dataset.name}", total, console=Console(stderr=True))
    for records, pictures in batches:
        instances = finder.find(pictures, score_threshold, max_detections)
        for record, one in zip(records, instances, strict=True):
            _add_picture(found, record, one, class_index)
    if results_file is not None:
        found.save(results_file)

    scorer, results = partial(score, most=max(max_detections, LIMITS[-1])), found.results
    if dataset.federated:
        scorer, known = lvis_score, verified(ground_truth)
        results = [one for one in highest(results) if one["category_id"] in known[one["image_id"]]]
    scores = scorer(ground_truth, found.results, dataset.name)
    best = best_f1(scores.matches("segm"))
    metrics = {
        **scores.metrics,
        "best_f1_threshold": best.threshold if best else -1.0,
        "best_f1": {key: getattr(best, key) if best else -1.0 for key in ("f1", "precision", "recall")},
        "areas": str(areas),
        "images": len(dataset),
        "detections": len(found.results),
    }
    return Evaluation(metrics, ground_truth, found, results, scores, scorer)


def default_limit(dataset: Dataset, model: YoloSeg | Finder) -> int:
    """Detections of a picture that are kept if not said: as many as the official metrics count of all classes
    (LVIS) or of each (COCO); for COCO, whose limit can be moved, the model's own number if that is more."""
    return LIMIT if dataset.federated else max(LIMITS[-1], model.max_detections)


def _class_map(classes: tuple[str, ...], dataset: Dataset) -> np.ndarray:
    """int [len(classes)]: the network's class index -> the dataset's, -1 where it has no such class."""
    unknown = [name for name in dataset.classes if name not in classes]
    if unknown:
        raise UsageError(
            f"{dataset.name}: the weights do not know the class{'es' if len(unknown) > 1 else ''} "
            f"{', '.join(unknown)}; they know {', '.join(classes)}"
        )
    return np.array([dataset.classes.index(name) if name in dataset.classes else -1 for name in classes])


def _batches(dataset: Dataset, batch_size: int) -> Iterator[tuple[list[Record], list[np.ndarray]]]:
    """Records and their pictures; the next batch is read while the network works on this one."""

    def read(start: int) -> tuple[list[Record], list[np.ndarray]]:
        records = dataset.records[start : start + batch_size]
        return records, [dataset.read_image(start + slot) for slot in range(len(records))]

    starts = range(0, len(dataset), batch_size)
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(read, 0)
        for following in [*starts[1:], None]:
            batch = coming.result()
            if following is not None:
                coming = reader.submit(read, following)
            yield batch


def _add_picture(
    results: DetectionAccumulator, record: Record, found: Found, class_index: np.ndarray
) -> None:
    """Adds what was found in a picture; what the dataset has no class for is left out."""
    classes = class_index[found.class_ids]
    kept = np.flatnonzero(classes >= 0)
    masks = [paste_to_rle(found.masks[i], found.boxes[i], record.height, record.width) for i in kept]
    results.add(record.image_id, found.boxes[kept], found.scores[kept], classes[kept], masks)
