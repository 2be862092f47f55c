"""COCO average precision and recall of boxes and masks, by the official code itself (pycocotools).

pycocotools is the definition of these numbers, and is needed for masks anyway. faster-coco-eval gives the
same numbers 3-10 times faster (see tests/test_evaluation_metrics.py), but holds back the matches, from which
the best threshold is read. The official code keeps every match of every category in memory; here it is run on
one category at a time, which changes no number (categories are independent until they are averaged) and
bounds the memory.
"""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yoloseg.errors import DataError
from yoloseg.evaluation.best_f1 import Matches
from yoloseg.evaluation.coco_files import (
    check_ground_truth,
    check_results,
    check_segmentation,
    holds_boxes,
)

METRIC_NAMES = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip
IOU_TYPES = ("bbox", "segm")


@dataclass
class Scores:
    """What `score` measured.

    metrics: {"bbox": M, "segm": M}, M as in `coco_metrics`. per_class: for each measured IoU type and class
    name, every counted detection's score and whether it found an object at IoU 0.5.
    """

    metrics: dict[str, dict]
    per_class: dict[str, dict[str, Matches]]

    def matches(self, kind: str) -> Matches:
        """Those of all classes together; none where `kind` was not measured."""
        return Matches.join(list(self.per_class.get(kind, {}).values()))


def coco_metrics(
    ground_truth: dict | COCO,
    results: list[dict],
    source: str = "results",
    truth_source: str = "ground truth",
) -> dict[str, dict]:
    """{"bbox": M, "segm": M}: the twelve official numbers `METRIC_NAMES` as floats, -1 where nothing is to
    measure.

    M["per_class"] maps a category's name to the same twelve numbers of that category alone, and "instances",
    the number of objects to find (crowds not counted). Names that occur twice are told apart as "name (id)".

    `ground_truth`: COCO instances dict (or pycocotools COCO), `results`: list of COCO result dicts; neither
    is changed. Results are understood as the official `COCO.loadRes` does: the first detection decides. If it
    has a "bbox", all must, and a detection's area (for the size bands) is its box's, also for masks. If not,
    box and area come from the mask. Masks are scored if any detection has one, boxes unless the first
    detection's is empty; no detection at all scores both. A type that is not scored is -1 throughout. At most
    100 detections of a category in a picture count. Raises DataError, naming the results by `source` and the
    ground truth by `truth_source`.
    """
    if isinstance(ground_truth, COCO):
        ground_truth = ground_truth.dataset
    check_ground_truth(ground_truth, truth_source)
    check_results(results, ground_truth, source)
    return score(ground_truth, results, truth_source).metrics


def score(ground_truth: dict, results: list[dict], truth_source: str = "ground truth") -> Scores:
    """`coco_metrics` with the matches that the numbers were made of, for data that needs no check."""
    scored_types = _scored_types(ground_truth, results, truth_source)

    with contextlib.redirect_stdout(io.StringIO()):  # the official code prints as it goes
        categories = {category["id"]: category for category in ground_truth["categories"]}
        order = sorted(categories)
        names = _names(categories)
        truths = _truths_by_category(ground_truth)
        detections = _detections_by_category(ground_truth, results)
        instances = {k: sum(not truth["iscrowd"] for truth in truths[k]) for k in order}
        tables = {kind: [] for kind in scored_types}
        matches = {kind: {} for kind in scored_types}
        for category_id in order:
            pair = truths.pop(category_id), detections.pop(category_id, [])
            for kind in scored_types:
                table, match = _score_category(ground_truth["images"], categories[category_id], *pair, kind)
                tables[kind].append(table)
                matches[kind][names[category_id]] = match

        metrics = {}
        for kind in IOU_TYPES:
            found = tables.get(kind) or [_nothing()] * len(order)
            metrics[kind] = _summarise(found)
            metrics[kind]["per_class"] = {
                names[k]: _summarise([table]) | {"instances": instances[k]}
                for k, table in zip(order, found, strict=True)
            }
    return Scores(metrics, matches)


def _scored_types(ground_truth: dict, results: list[dict], source: str) -> list[str]:
    """Those of "bbox", "segm" that these results and this ground truth hold. Raises DataError."""
    kinds = []
    if not results or holds_boxes(results) or "bbox" not in results[0]:
        kinds.append("bbox")
    annotations = ground_truth["annotations"]
    masks_found = not results or any("segmentation" in result for result in results)
    masks_known = not annotations or any(annotation.get("segmentation") for annotation in annotations)
    if masks_found and masks_known:
        kinds.append("segm")
        for index, annotation in enumerate(annotations):
            where = f"{source}: annotations[{index}] (id {annotation['id']})"
            check_segmentation(annotation.get("segmentation"), where)
        for image in ground_truth["images"]:
            if not all(isinstance(image.get(side), int) for side in ("height", "width")):
                raise DataError(f"{source}: image id {image['id']} has no height and width; masks need them")
    return kinds


def _names(categories: dict) -> dict:
    """Category id -> a name of its own."""
    plain = {k: str(category.get("name", k)) for k, category in categories.items()}
    taken = list(plain.values())
    return {k: name if taken.count(name) == 1 else f"{name} ({k})" for k, name in plain.items()}


def _truths_by_category(ground_truth: dict) -> dict:
    """Category id -> copies of its annotations; those of unknown images or categories do not count."""
    images = {image["id"] for image in ground_truth["images"]}
    categories = {category["id"] for category in ground_truth["categories"]}
    copies = {}
    for annotation in ground_truth["annotations"]:  # of a repeated id the last stands for all, officially
        copies[annotation["id"]] = {**annotation, "iscrowd": annotation.get("iscrowd", 0)}
    grouped = {category_id: [] for category_id in categories}
    for annotation in ground_truth["annotations"]:
        if annotation["image_id"] in images and annotation["category_id"] in categories:
            truth = copies[annotation["id"]]
            if truth["category_id"] in categories:
                grouped[truth["category_id"]].append(truth)
    return grouped


def _detections_by_category(ground_truth: dict, results: list[dict]) -> dict:
    """Category id -> detections, completed by the official `COCO.loadRes`."""
    grouped = defaultdict(list)
    if results:  # the official loader cannot read an empty list
        reader = _coco(ground_truth["images"], ground_truth["categories"], [])
        for detection in reader.loadRes([dict(result) for result in results]).dataset["annotations"]:
            grouped[detection["category_id"]].append(detection)
    return grouped


def _coco(images: list[dict], categories: list[dict], annotations: list[dict]) -> COCO:
    coco = COCO()
    coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
    coco.createIndex()
    return coco


def _score_category(
    images: list[dict], category: dict, truths: list[dict], detections: list[dict], kind: str
) -> tuple[dict[str, np.ndarray], Matches]:
    """Official precision [10, 101, 1, 4, 3] and recall [10, 1, 4, 3] of a category, and its matches."""
    used = {entry["image_id"] for entry in [*truths, *detections]}
    if not used:
        return _nothing(), Matches.none()
    images = [image for image in images if image["id"] in used]
    evaluation = COCOeval(_coco(images, [category], truths), _coco(images, [category], detections), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    of_any_size = evaluation.evalImgs[: len(used)]  # the first area band is "all"
    return {key: evaluation.eval[key] for key in ("precision", "recall")}, _matches(of_any_size)


def _matches(evaluated: Iterator[dict | None]) -> Matches:
    pictures = [picture for picture in evaluated if picture is not None]
    if not pictures:
        return Matches.none()
    counted = ~np.concatenate([picture["dtIgnore"][0] for picture in pictures]).astype(bool)
    scores = np.concatenate([picture["dtScores"] for picture in pictures]).astype(float)
    found = np.concatenate([picture["dtMatches"][0] for picture in pictures]) > 0
    truths = sum(int(np.count_nonzero(np.asarray(picture["gtIgnore"]) == 0)) for picture in pictures)
    return Matches(scores[counted], found[counted], truths)


def _nothing() -> dict[str, np.ndarray]:
    """What the official code gives for a category without objects and without detections."""
    return {"precision": np.full((10, 101, 1, 4, 3), -1.0), "recall": np.full((10, 1, 4, 3), -1.0)}


def _summarise(tables: list[dict[str, np.ndarray]]) -> dict[str, float]:
    """The official twelve numbers over these categories."""
    if not tables:
        return dict.fromkeys(METRIC_NAMES, -1.0)
    evaluation = COCOeval(iouType="bbox")
    evaluation.eval = {
        "precision": np.concatenate([table["precision"] for table in tables], axis=2),
        "recall": np.concatenate([table["recall"] for table in tables], axis=1),
    }
    evaluation.summarize()
    return dict(zip(METRIC_NAMES, map(float, evaluation.stats), strict=True))
