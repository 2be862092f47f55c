"""Precision and recall of every category, by the official code (pycocotools), a category at a time.

pycocotools is the definition of these numbers, and is needed for masks anyway. faster-coco-eval gives the
same numbers 3-10 times faster (see tests/test_evaluation_metrics.py), but holds back the matches, from which
the best threshold is read. The official code keeps every match of every category in memory; here it is run on
one category at a time, which changes no number (categories are independent until they are averaged) and
bounds the memory.
"""

from __future__ import annotations

import contextlib
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yoloseg.errors import DataError
from yoloseg.evaluation.best_f1 import Matches
from yoloseg.evaluation.coco_files import check_segmentation, holds_boxes

IOU_TYPES = ("bbox", "segm")
LIMITS = (1, 10, 100)  # most detections of a category in a picture: COCO's
THRESHOLDS = tuple(f"{value / 100:.2f}" for value in range(50, 100, 5))  # of IoU


@dataclass
class Scores:
    """What was measured.

    metrics: {"bbox": M, "segm": M}, M as in `coco_metrics` or `lvis_metrics`. per_class: for each measured
    IoU type and class name, every counted detection's score and whether it found an object at IoU 0.5.
    """

    metrics: dict[str, dict]
    per_class: dict[str, dict[str, Matches]]

    def matches(self, kind: str) -> Matches:
        """Those of all classes together; none where `kind` was not measured."""
        return Matches.join(list(self.per_class.get(kind, {}).values()))


@dataclass
class CategoryTable:
    """Of one category and IoU type, with L limits: the official precision float [10, 101, 1, 4, L] and recall
    [10, 1, 4, L] (IoU, recall, category, area band, limit; -1 where there is nothing) and the matches."""

    precision: np.ndarray
    recall: np.ndarray
    matches: Matches

    @staticmethod
    def nothing(limits: int) -> CategoryTable:
        """What the official code gives without objects and without detections."""
        precision, recall = np.full((10, 101, 1, 4, limits), -1.0), np.full((10, 1, 4, limits), -1.0)
        return CategoryTable(precision, recall, Matches.none())

    @property
    def mean_iou(self) -> float:
        """Of the objects found at IoU 0.5 with what found them; -1 if there is none."""
        ious = self.matches.ious[self.matches.found]
        return float(ious.mean()) if len(ious) else -1.0


def category_tables(
    ground_truth: dict,
    results: list[dict],
    source: str,
    limits: tuple[int, ...] = LIMITS,
    verified: Mapping[int, Set[int]] | None = None,
    forgiving: Mapping[int, Set[int]] | None = None,
    wanted: Sequence[str] = IOU_TYPES,
) -> tuple[dict[int, str], dict[str, list[CategoryTable]]]:
    """Names of the categories by id, ids ascending, and for each IoU type that is wanted and can be scored a
    table of each category in that order.

    verified: image id -> the categories whose detections count in it (all, if not given).
    forgiving: category id -> images where a detection of it that finds nothing does not count. Raises
    DataError, naming the ground truth by `source`.
    """
    kinds = [kind for kind in _scored_types(ground_truth, results, source) if kind in wanted]
    categories = {category["id"]: category for category in ground_truth["categories"]}
    order = sorted(categories)
    tables = {kind: [] for kind in kinds}
    with contextlib.redirect_stdout(io.StringIO()):  # the official code prints as it goes
        truths = _truths_by_category(ground_truth)
        detections = _detections_by_category(ground_truth, results)
        for category_id in order:
            found = detections.pop(category_id, [])
            if verified is not None:
                found = [one for one in found if category_id in verified[one["image_id"]]]
            pair = truths.pop(category_id), found
            forgiven = (forgiving or {}).get(category_id, frozenset())
            for kind in kinds:
                table = _score_category(
                    ground_truth["images"], categories[category_id], *pair, kind, limits, forgiven
                )
                tables[kind].append(table)
    names = names_of(categories)
    return {category_id: names[category_id] for category_id in order}, tables


def joined(tables: list[CategoryTable]) -> dict[str, np.ndarray]:
    """precision [10, 101, K, 4, L] and recall [10, K, 4, L] of these categories."""
    return {
        "precision": np.concatenate([table.precision for table in tables], axis=2),
        "recall": np.concatenate([table.recall for table in tables], axis=1),
    }


def mean_of(values: np.ndarray) -> float:
    """The official mean: over what is above -1; -1 if nothing is."""
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0


def ap_by_iou(tables: list[CategoryTable]) -> dict[str, float]:
    """AP at each of the IoU thresholds, the last limit's, over these categories."""
    if not tables:
        return dict.fromkeys(THRESHOLDS, -1.0)
    precision = joined(tables)["precision"][:, :, :, 0, -1]
    return {name: mean_of(values) for name, values in zip(THRESHOLDS, precision, strict=True)}


def scores_of(
    names: Sequence[str],
    tables: dict[str, list[CategoryTable]],
    limits: int,
    summarise: Callable[[list[CategoryTable]], dict],
    summarise_all: Callable[[list[CategoryTable]], dict] | None = None,
) -> Scores:
    """Metrics and matches of the tables that `category_tables` made, whose limits are so many.

    summarise: makes the numbers of one category's table (of none, where a type was not scored);
    summarise_all: those of all, if they are other ones.
    """
    metrics = {}
    for kind in IOU_TYPES:
        found = tables.get(kind, [])
        metrics[kind] = (summarise_all or summarise)(found)
        metrics[kind]["AP_by_IoU"] = ap_by_iou(found)
        metrics[kind]["per_class"] = _class_metrics(names, tables, kind, limits, summarise)
    matches = {
        kind: dict(zip(names, (table.matches for table in found), strict=True))
        for kind, found in tables.items()
    }
    return Scores(metrics, matches)


def _class_metrics(
    names: Sequence[str], tables: dict[str, list[CategoryTable]], kind: str, limits: int, summarise: Callable
) -> dict[str, dict]:
    """For each class what `summarise` makes of its table alone, "mean_iou", and "instances": how many there
    are to find, which any of the tables knows."""
    unknown = [CategoryTable.nothing(limits)] * len(names)
    counted = next(iter(tables.values()), unknown)
    return {
        name: summarise([table]) | {"instances": one.matches.truths, "mean_iou": table.mean_iou}
        for name, table, one in zip(names, tables.get(kind, unknown), counted, strict=True)
    }


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


def names_of(categories: dict) -> dict:
    """Category id -> a name of its own."""
    plain = {k: str(category.get("name", k)) for k, category in categories.items()}
    counts = Counter(plain.values())
    taken = {name for name, count in counts.items() if count == 1}
    names = {}
    for k, name in plain.items():
        if counts[name] > 1:
            name = f"{name} ({k})"
            while name in taken:
                name += f" ({k})"
            taken.add(name)
        names[k] = name
    return names


def _truths_by_category(ground_truth: dict) -> dict:
    """Category id -> copies of its annotations, numbered anew: the official code keeps ids as float64, which
    a large one does not fit into. Those of unknown images or categories do not count."""
    images = {image["id"] for image in ground_truth["images"]}
    categories = {category["id"] for category in ground_truth["categories"]}
    numbers, copies = {}, {}
    for annotation in ground_truth["annotations"]:  # of a repeated id the last stands for all, officially
        own = annotation["id"]
        number = numbers.setdefault(own, len(numbers) + 1) if own != 0 else 0  # officially 0 is never found
        crowd = int(bool(annotation.get("iscrowd")))
        copies[own] = {**annotation, "id": number, "iscrowd": crowd}
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
        known = [{k: v for k, v in result.items() if k != "bbox" or v} for result in results]
        for detection in reader.loadRes(known).dataset["annotations"]:
            grouped[detection["category_id"]].append(detection)
    return grouped


def _coco(images: list[dict], categories: list[dict], annotations: list[dict]) -> COCO:
    coco = COCO()
    coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
    coco.createIndex()
    return coco


def _score_category(
    images: list[dict],
    category: dict,
    truths: list[dict],
    detections: list[dict],
    kind: str,
    limits: tuple[int, ...],
    forgiven: Set[int],
) -> CategoryTable:
    used = {entry["image_id"] for entry in [*truths, *detections]}
    if not used:
        return CategoryTable.nothing(len(limits))
    images = [image for image in images if image["id"] in used]
    evaluation = COCOeval(_coco(images, [category], truths), _coco(images, [category], detections), kind)
    evaluation.params.maxDets = list(limits)
    evaluation.evaluate()
    for picture in evaluation.evalImgs:
        if picture is not None and picture["image_id"] in forgiven:
            picture["dtIgnore"] = np.logical_or(picture["dtIgnore"], picture["dtMatches"] == 0)
    evaluation.accumulate()
    found = _matches(evaluation, len(evaluation.params.imgIds))
    return CategoryTable(evaluation.eval["precision"], evaluation.eval["recall"], found)


def _matches(evaluation: COCOeval, pictures: int) -> Matches:
    """Of objects of any size at IoU 0.5: the first area band's pictures, their first threshold."""
    parts = [Matches.none()]
    for picture in evaluation.evalImgs[:pictures]:
        if picture is None:
            continue
        counted = ~np.asarray(picture["dtIgnore"][0], bool)
        partner = np.asarray(picture["dtMatches"][0])
        key = picture["image_id"], picture["category_id"]
        column = {truth["id"]: number for number, truth in enumerate(evaluation._gts[key])}
        ious = np.zeros(len(partner))
        for row in np.flatnonzero(partner > 0):
            ious[row] = evaluation.ious[key][row, column[partner[row]]]
        truths = int(np.count_nonzero(np.asarray(picture["gtIgnore"]) == 0))
        scores = np.asarray(picture["dtScores"], float)
        parts.append(Matches(scores[counted], (partner > 0)[counted], truths, ious[counted]))
    return Matches.join(parts)
