"""COCO average precision and recall of boxes and masks: the official numbers."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from functools import partial

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yoloseg.errors import UsageError
from yoloseg.evaluation.category_tables import (
    IOU_TYPES,
    LIMITS,
    CategoryTable,
    Scores,
    category_tables,
    joined,
    scores_of,
)
from yoloseg.evaluation.coco_files import check_ground_truth, check_results

METRIC_NAMES = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip


def coco_metrics(
    ground_truth: dict | COCO,
    results: list[dict],
    source: str = "results",
    truth_source: str = "ground truth",
    most: int = LIMITS[-1],
) -> dict[str, dict]:
    """{"bbox": M, "segm": M}: the twelve official numbers `METRIC_NAMES` as floats, -1 where nothing is to
    measure.

    M["per_class"] maps a category's name to the same twelve numbers of that category alone, "instances", the
    number of objects to find (crowds not counted), and "mean_iou", the mean IoU of those found at IoU 0.5
    with what found them. Names that occur twice are told apart as "name (id)". M["AP_by_IoU"] maps "0.50" to
    "0.95" to the AP at that IoU.

    `ground_truth`: COCO instances dict (or pycocotools COCO), `results`: list of COCO result dicts; neither
    is changed. Results are understood as the official `COCO.loadRes` does: the first detection decides. If it
    has a "bbox", all must, and a detection's area (for the size bands) is its box's, also for masks. If not,
    box and area come from the mask. Masks are scored if any detection has one, boxes unless the first
    detection's is empty; no detection at all scores both. A type that is not scored is -1 throughout. At most
    100 detections of a category in a picture count, or `most`, above 10, after which AR100 is named then.
    Raises UsageError for another `most`, DataError, naming the results by `source` and the ground truth by
    `truth_source`.
    """
    if most <= LIMITS[-2]:
        raise UsageError(f"most must be above {LIMITS[-2]}, for which AR{LIMITS[-2]} stands, got {most}")
    if isinstance(ground_truth, COCO):
        ground_truth = ground_truth.dataset
    check_ground_truth(ground_truth, truth_source)
    check_results(results, ground_truth, source)
    return score(ground_truth, results, truth_source, most).metrics


def score(
    ground_truth: dict,
    results: list[dict],
    truth_source: str = "ground truth",
    most: int = LIMITS[-1],
    kinds: Sequence[str] = IOU_TYPES,
) -> Scores:
    """`coco_metrics` with the matches that the numbers were made of, for data that needs no check. kinds: the
    IoU types to score; the others are -1 throughout."""
    limits = (*LIMITS[:-1], most)
    names, tables = category_tables(ground_truth, results, truth_source, limits, wanted=kinds)
    return scores_of(list(names.values()), tables, len(limits), partial(_summarise, most))


def _summarise(most: int, tables: list[CategoryTable]) -> dict[str, float]:
    """The official twelve numbers over these categories; the last limit is `most`."""
    names = [f"AR{most}" if name == "AR100" else name for name in METRIC_NAMES]
    if not tables:
        return dict.fromkeys(names, -1.0)
    evaluation = COCOeval(iouType="bbox")
    evaluation.eval = joined(tables)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.summarize()
    return dict(zip(names, map(float, evaluation.stats), strict=True))
