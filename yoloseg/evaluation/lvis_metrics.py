"""Average precision of sets that are annotated in a federated way, as LVIS defines it.

Gupta, Dollar and Girshick 2019 (arXiv 1908.03195), section 3: of a picture it is known which classes it shows
and which it surely does not; a detection of any other class does not count there. Classes of which not every
object of the picture is annotated forgive what finds nothing. At most 300 detections count in a picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from yoloseg.data.lvis import FREQUENCIES
from yoloseg.errors import DataError, shown
from yoloseg.evaluation.category_tables import (
    IOU_TYPES,
    CategoryTable,
    Scores,
    category_tables,
    joined,
    mean_of,
    scores_of,
)
from yoloseg.evaluation.coco_files import check_ground_truth, check_results

LIMIT = 300
LVIS_NAMES = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR@300", "ARs@300", "ARm@300", "ARl@300",
)  # fmt: skip
_AREAS = ("", "s", "m", "l")


def lvis_metrics(
    ground_truth: dict,
    results: list[dict],
    source: str = "results",
    truth_source: str = "ground truth",
) -> dict[str, dict]:
    """{"bbox": M, "segm": M}: the thirteen official numbers `LVIS_NAMES` as floats, -1 where nothing is to
    measure; M["per_class"] and M["AP_by_IoU"] as in `coco_metrics`.

    `ground_truth`: LVIS v1 instances dict, `results`: list of COCO result dicts; neither is changed. Of a
    picture the LIMIT detections with the highest scores count. Crowds are objects like others, and so are
    annotations with `ignore`, which no published file has and the official code leaves out. Otherwise as
    `coco_metrics`, also in which of the two types are scored. Raises DataError, naming the results by
    `source` and the ground truth by `truth_source`.
    """
    check_lvis_ground_truth(ground_truth, truth_source)
    check_results(results, ground_truth, source)
    return lvis_score(ground_truth, results, truth_source).metrics


def lvis_score(
    ground_truth: dict,
    results: list[dict],
    truth_source: str = "ground truth",
    kinds: Sequence[str] = IOU_TYPES,
) -> Scores:
    """`lvis_metrics` with the matches that the numbers were made of, for data that needs no check. kinds: the
    IoU types to score; the others are -1 throughout."""
    annotations = [{**annotation, "iscrowd": 0} for annotation in ground_truth["annotations"]]
    truth = {**ground_truth, "annotations": annotations}
    forgiving = defaultdict(set)
    for image in truth["images"]:
        for category_id in image["not_exhaustive_category_ids"]:
            forgiving[category_id].add(image["id"])
    limited = highest(results)
    known = verified(truth)
    by_id, tables = category_tables(truth, limited, truth_source, (LIMIT,), known, forgiving, kinds)
    frequency = {category["id"]: category["frequency"] for category in truth["categories"]}
    groups = [frequency[category_id] for category_id in by_id]
    names = list(by_id.values())
    return scores_of(names, tables, 1, _summarise, lambda found: _summarise(found, groups))


def verified(ground_truth: dict) -> dict[int, set[int]]:
    """Image id -> the categories that are known to be in the image or not: their detections count there."""
    known = {image["id"]: set(image["neg_category_ids"]) for image in ground_truth["images"]}
    for annotation in ground_truth["annotations"]:
        if annotation["image_id"] in known:
            known[annotation["image_id"]].add(annotation["category_id"])
    return known


def check_lvis_ground_truth(ground_truth: Any, source: str) -> None:
    """Raises DataError unless `ground_truth` is an LVIS v1 instances dict that AP can be measured on."""
    check_ground_truth(ground_truth, source)
    for index, image in enumerate(ground_truth["images"]):
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            if not isinstance(image.get(key), list) or not all(type(k) is int for k in image[key]):
                where = f"{source}: images[{index}] (id {image['id']})"
                raise DataError(f"{where} has no list of category ids `{key}`; is it an LVIS file?")
    for index, category in enumerate(ground_truth["categories"]):
        if category.get("frequency") not in FREQUENCIES:
            where = f"{source}: categories[{index}] (id {category['id']})"
            value = shown(category.get("frequency"))
            raise DataError(f"{where}: its `frequency` must be r, c or f, not {value}")


def highest(results: list[dict]) -> list[dict]:
    """Of each picture the LIMIT detections with the highest scores, the first among equals."""
    by_image = defaultdict(list)
    for result in results:
        by_image[result["image_id"]].append(result)
    kept = []
    for found in by_image.values():
        if len(found) > LIMIT:
            found = sorted(found, key=lambda one: one["score"], reverse=True)[:LIMIT]
        kept += found
    return kept


def _summarise(tables: list[CategoryTable], groups: list[str] | None = None) -> dict[str, float]:
    """The thirteen numbers over these categories; groups: their frequencies, not asked for of one alone."""
    if not tables:
        return dict.fromkeys(LVIS_NAMES, -1.0)
    both = joined(tables)
    precision, recall = both["precision"][..., 0], both["recall"][..., 0]  # [10, 101, K, 4], [10, K, 4]
    numbers = {"AP": mean_of(precision[..., 0])}
    numbers |= {"AP50": mean_of(precision[0, ..., 0]), "AP75": mean_of(precision[5, ..., 0])}
    for band, name in enumerate(_AREAS[1:], 1):
        numbers[f"AP{name}"] = mean_of(precision[..., band])
    for name in FREQUENCIES:
        own = [k for k, group in enumerate(groups or ()) if group == name]
        numbers[f"AP{name}"] = mean_of(precision[:, :, own, 0])
    for band, name in enumerate(_AREAS):
        numbers[f"AR{name}@{LIMIT}"] = mean_of(recall[..., band])
    return numbers
