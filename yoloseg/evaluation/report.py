"""report.html: one file with every picture and table of a run, to be opened without a server."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from yoloseg.data.records import Dataset
from yoloseg.data.samples import read_instances
from yoloseg.evaluation.evaluate_model import Evaluation
from yoloseg.evaluation.figures import save_confusion_matrix, save_f1_curve, save_pr_curve
from yoloseg.evaluation.html import figure, table, write_page
from yoloseg.evaluation.review import PictureReview, Review, crowding, review
from yoloseg.evaluation.table import number_text, recall_name
from yoloseg.inference.drawing import draw_instances, grid, shrunk
from yoloseg.inference.results import save_picture

WORST = 12  # pictures shown in the error review


def write_report(
    folder: Path,
    evaluation: Evaluation,
    dataset: Dataset,
    title: str,
    notes: Sequence[str] = (),
    pictures: Sequence[tuple[str, str]] = (),
) -> Path:
    """Writes pr_curve.png, f1_curve.png, confusion_matrix.png, worst_pictures.jpg and report.html.

    dataset: what was evaluated. notes: lines under the title. pictures: (file name in `folder`, caption) of
    pictures that were drawn before, shown between the tables and the error review; those that are not there
    are left out. Returns the path of report.html.
    """
    masks = evaluation.scores.per_class.get("segm", {})
    save_pr_curve(masks, folder / "pr_curve.png")
    save_f1_curve(masks, folder / "f1_curve.png")
    threshold = max(evaluation.metrics["best_f1_threshold"], 0.001)
    found = review(evaluation.ground_truth, evaluation.results, threshold)
    save_confusion_matrix(found, folder / "confusion_matrix.png")
    worst = sorted((one for one in found.pictures if one.errors), key=lambda one: -one.errors)[:WORST]
    if worst:
        save_worst_pictures(evaluation, dataset, worst, threshold, folder / "worst_pictures.jpg")
    at = _threshold_text(evaluation, threshold)
    drawn = [
        *pictures,
        ("pr_curve.png", "Precision over recall of masks at IoU 0.5."),
        ("f1_curve.png", "F1 of masks at IoU 0.5 over the score threshold."),
        ("confusion_matrix.png", f"What objects were taken for, at {at}."),
    ]
    body = [
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(note)}</p>" for note in notes),
        "<h2>Accuracy</h2>",
        _metrics_table(evaluation.metrics),
        "<h2>Per class</h2>",
        _class_table(evaluation.metrics),
        "<h2>By size and by crowding</h2>",
        _band_table(evaluation),
        *(figure(folder / name, caption) for name, caption in drawn if (folder / name).exists()),
        "<h2>Errors</h2>",
        _error_summary(found),
    ]
    if worst:
        caption = "The pictures with the most errors: ground truth left, predictions right."
        body += [figure(folder / "worst_pictures.jpg", caption), _worst_table(worst, dataset)]
    write_page(folder / "report.html", title, body)
    return folder / "report.html"


def save_worst_pictures(
    evaluation: Evaluation, dataset: Dataset, worst: Sequence[PictureReview], threshold: float, path: Path
) -> None:
    """A contact sheet: ground truth left, the detections with score >= threshold right."""
    position = {record.image_id: index for index, record in enumerate(dataset.records)}
    tiles, captions = [], []
    for one in worst:
        index = position[one.image_id]
        image = dataset.read_image(index)
        results = [
            result
            for result in evaluation.results
            if result["image_id"] == one.image_id and result["score"] >= threshold
        ]
        drawn = draw_ground_truth(image, dataset, index), draw_results(image, dataset, results)
        tiles += [shrunk(picture, 400) for picture in drawn]
        captions += [f"{dataset.records[index].short_name}: ground truth"]
        captions += [f"missed {one.missed}, other class {one.confused}, false {one.false}"]
    save_picture(path, grid(tiles, 4, captions, longest_side=400))


def draw_results(image: np.ndarray, dataset: Dataset, results: Sequence[dict]) -> np.ndarray:
    """COCO results of one picture over a copy of it."""
    index = {category_id: k for k, category_id in enumerate(dataset.category_ids)}
    boxes = np.array([result["bbox"] for result in results], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    ids = np.array([index[result["category_id"]] for result in results], int)
    scores = np.array([result["score"] for result in results])
    return draw_instances(
        image,
        boxes,
        ids,
        [dataset.classes[k] for k in ids],
        scores,
        mask_of=lambda i: coco_mask.decode(results[i]["segmentation"]) > 0,
    )


def draw_ground_truth(image: np.ndarray, dataset: Dataset, index: int) -> np.ndarray:
    """The annotations of record `index` over its picture, crowds left out."""
    height, width = image.shape[:2]
    found = [instance for instance in read_instances(dataset.records[index]) if not instance.crowd]
    boxes = np.array([instance.box(height, width) for instance in found], np.float32).reshape(-1, 4)
    ids = np.array([instance.class_index for instance in found], int)
    names = [dataset.classes[k] for k in ids]
    return draw_instances(image, boxes, ids, names, mask_of=lambda i: found[i].rasterise(height, width) > 0)


def _metrics_table(metrics: dict) -> str:
    names = [name for name, value in metrics["bbox"].items() if isinstance(value, float)]
    rows = [
        (title, *(number_text(metrics[kind][name]) for name in names))
        for title, kind in (("boxes", "bbox"), ("masks", "segm"))
    ]
    by_iou = metrics["bbox"]["AP_by_IoU"]
    rows_by_iou = [
        (title, *(number_text(metrics[kind]["AP_by_IoU"][threshold]) for threshold in by_iou))
        for title, kind in (("boxes", "bbox"), ("masks", "segm"))
    ]
    return table(("metrics", *names), rows) + table(("AP at IoU", *by_iou), rows_by_iou)


def _class_table(metrics: dict) -> str:
    rows, recall = [], recall_name(metrics["segm"])
    for name, boxes in metrics["bbox"]["per_class"].items():
        masks = metrics["segm"]["per_class"][name]
        values = (boxes["AP"], boxes["AP50"], masks["AP"], masks["AP50"], masks[recall], masks["mean_iou"])
        rows.append((name, str(boxes["instances"]), *map(number_text, values)))
    numbers = ("box AP", "box AP50", "mask AP", "mask AP50", f"mask {recall}", "mean mask IoU")
    return table(("class", "objects", *numbers), rows)


def _band_table(evaluation: Evaluation) -> str:
    """Mask AP and AR by the object's size (COCO's bands), mask AP and AP50 by objects in the picture."""
    masks = evaluation.metrics["segm"]
    rows = [
        (f"{name} objects", number_text(masks[f"AP{key}"]), "", number_text(masks[recall_name(masks, key)]))
        for name, key in (("small", "s"), ("medium", "m"), ("large", "l"))
    ]
    for name, ids in crowding(evaluation.ground_truth).items():
        chosen = set(ids)
        if not chosen:
            continue
        truth = evaluation.ground_truth
        part = truth | {
            "images": [image for image in truth["images"] if image["id"] in chosen],
            "annotations": [one for one in truth["annotations"] if one["image_id"] in chosen],
        }
        results = [result for result in evaluation.results if result["image_id"] in chosen]
        found = evaluation.scorer(part, results, kinds=("segm",)).metrics["segm"]
        label = f"pictures with {name} object{'' if name == '1' else 's'} ({len(ids)})"
        values = (found["AP"], found["AP50"], found[recall_name(found)])
        rows.append((label, *map(number_text, values)))
    return table(("masks", "AP", "AP50", "AR"), rows)


def _error_summary(found: Review) -> str:
    total = {
        name: sum(getattr(one, name) for one in found.pictures)
        for name in ("found", "confused", "missed", "false")
    }
    objects = total["found"] + total["confused"] + total["missed"]
    return (
        f"<p>At score {found.threshold:.3f}, masks at IoU 0.5: of {objects} objects {total['found']} were "
        f"found, {total['confused']} taken for another class, {total['missed']} missed; {total['false']} "
        "detections are of none of these: background, a second time the same object, or not half of it.</p>"
    )


def _threshold_text(evaluation: Evaluation, threshold: float) -> str:
    known = evaluation.metrics["best_f1_threshold"] > 0
    return f"score {threshold:.3f}" + (", which has the best F1" if known else "; no mask found an object")


def _worst_table(worst: Sequence[PictureReview], dataset: Dataset) -> str:
    names = {record.image_id: record.short_name for record in dataset.records}
    rows = [
        (names[one.image_id], *map(str, (one.found, one.confused, one.missed, one.false))) for one in worst
    ]
    return table(("picture", "found", "another class", "missed", "false"), rows)
