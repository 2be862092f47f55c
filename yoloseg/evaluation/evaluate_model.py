"""A network's COCO metrics on a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from rich.console import Console
from rich.progress import track

from yoloseg.data.letterbox import invert, letterbox, letterbox_matrix
from yoloseg.data.records import Dataset, Record
from yoloseg.errors import DataError, UsageError
from yoloseg.evaluation.accumulator import DetectionAccumulator
from yoloseg.evaluation.best_f1 import best_f1
from yoloseg.evaluation.coco_metrics import Scores, score
from yoloseg.evaluation.ground_truth import coco_ground_truth
from yoloseg.inference.paste import paste_to_rle

if TYPE_CHECKING:
    from yoloseg.modeling.network import YoloSeg


class DetectsBatches(Protocol):
    """`yoloseg.modeling.detector.Detector`, or anything else with its `detect`."""

    def detect(self, images: np.ndarray, score_threshold: float, max_detections: int) -> dict: ...


@dataclass(frozen=True)
class Evaluation:
    """metrics: what `evaluate` returns. ground_truth: COCO instances dict, results: COCO results, scores: of
    the one against the other."""

    metrics: dict
    ground_truth: dict
    results: list[dict]
    scores: Scores


def evaluate(model: YoloSeg, dataset: Dataset, **options) -> dict:
    """The metrics of `evaluate_in_detail`, which has the options."""
    return evaluate_in_detail(model, dataset, **options).metrics


def evaluate_in_detail(
    model: YoloSeg,
    dataset: Dataset,
    *,
    score_threshold: float = 0.001,
    max_detections: int = 100,
    batch_size: int = 8,
    progress: bool = True,
    detector: DetectsBatches | None = None,
    save_results: Path | None = None,
) -> Evaluation:
    """Runs `model` over every picture of `dataset` and measures boxes and masks at the pictures' own size.

    model: its `classes` and `imgsz` are read. The dataset's classes are found in them by name; detections of
    classes that the dataset does not have are left out. max_detections: kept in a picture; the official
    metrics count at most 100 of a class. detector: used in place of one made for `model`. save_results: where
    to write the detections as a COCO results file; the official code gives the same metrics on it (and the
    annotation file, if its areas are right). Memory: a mask is kept as its compressed RLE.

    The metrics are {"bbox": M, "segm": M} as `coco_metrics`, and "best_f1_threshold": the score threshold
    with the best mask F1 at IoU 0.5, all classes pooled, -1 if no mask found an object; "best_f1": {"f1",
    "precision", "recall"} at that threshold, -1 likewise; "areas": what was found and done about the ground
    truth's areas, in words; "images", "detections": how many. Raises DataError for an empty dataset or an
    unreadable picture, UsageError where classes or numbers do not fit.
    """
    if not len(dataset):
        raise DataError(f"{dataset.name}: no pictures to evaluate on")
    if batch_size < 1 or max_detections < 1 or not 0 <= score_threshold <= 1:
        raise UsageError("batch size and max detections must be at least 1, the score threshold in 0..1")
    class_index = _class_map(tuple(model.classes), dataset)
    if detector is None:
        from yoloseg.modeling.detector import Detector

        detector = Detector(model)
    ground_truth, areas = coco_ground_truth(dataset)
    found = DetectionAccumulator(dataset.category_ids)
    imgsz = tuple(model.imgsz)
    batches = _batches(dataset, imgsz, batch_size)
    if progress:
        total = -(-len(dataset) // batch_size)
        batches = track(batches, f"evaluating {dataset.name}", total, console=Console(stderr=True))
    for records, images in batches:
        detections = detector.detect(images, score_threshold, max_detections)
        for slot, record in enumerate(records):
            _add_picture(found, record, detections, slot, imgsz, class_index)
    if save_results is not None:
        found.save(save_results)

    scores = score(ground_truth, found.results, dataset.name)
    best = best_f1(scores.matches("segm"))
    metrics = {
        **scores.metrics,
        "best_f1_threshold": best.threshold if best else -1.0,
        "best_f1": {key: getattr(best, key) if best else -1.0 for key in ("f1", "precision", "recall")},
        "areas": str(areas),
        "images": len(dataset),
        "detections": len(found.results),
    }
    return Evaluation(metrics, ground_truth, found.results, scores)


def _class_map(classes: tuple[str, ...], dataset: Dataset) -> np.ndarray:
    """int [len(classes)]: the network's class index -> the dataset's, -1 where it has no such class."""
    unknown = [name for name in dataset.classes if name not in classes]
    if unknown:
        raise UsageError(
            f"{dataset.name}: the weights do not know the class{'es' if len(unknown) > 1 else ''} "
            f"{', '.join(unknown)}; they know {', '.join(classes)}"
        )
    return np.array([dataset.classes.index(name) if name in dataset.classes else -1 for name in classes])


def _batches(
    dataset: Dataset, imgsz: tuple[int, int], batch_size: int
) -> Iterator[tuple[list[Record], np.ndarray]]:
    """Records and their letterboxed pictures, uint8 [batch_size, h, w, 3]; the last batch is filled up with
    grey.

    The next batch is read while the network works on this one.
    """

    def read(start: int) -> tuple[list[Record], np.ndarray]:
        records = dataset.records[start : start + batch_size]
        images = np.full((batch_size, *imgsz, 3), 114, np.uint8)
        for slot in range(len(records)):
            images[slot] = letterbox(dataset.read_image(start + slot), imgsz)
        return records, images

    starts = range(0, len(dataset), batch_size)
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(read, 0)
        for following in [*starts[1:], None]:
            batch = coming.result()
            if following is not None:
                coming = reader.submit(read, following)
            yield batch


def _add_picture(
    found: DetectionAccumulator,
    record: Record,
    detections: dict,
    slot: int,
    imgsz: tuple[int, int],
    class_index: np.ndarray,
) -> None:
    """Adds picture `slot` of a batch, in its own pixels: boxes clipped, masks pasted from unclipped boxes."""
    height, width = record.height, record.width
    count = int(detections["count"][slot])
    to_picture = invert(letterbox_matrix(height, width, imgsz))
    scale, shift = to_picture[[0, 1], [0, 1]], to_picture[:, 2]
    mask_boxes = detections["boxes"][slot][:count] * np.tile(scale, 2) + np.tile(shift, 2)
    boxes = np.clip(mask_boxes, 0, [width, height, width, height])
    classes = class_index[detections["classes"][slot][:count]]
    # what lies in the padding alone, and what the dataset has no class for, is left out
    kept = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1) & (classes >= 0))
    masks = [
        paste_to_rle(detections["masks"][slot][index], mask_boxes[index], height, width) for index in kept
    ]
    found.add(record.image_id, boxes[kept], detections["scores"][slot][kept], classes[kept], masks)
