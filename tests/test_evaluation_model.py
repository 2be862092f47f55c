"""Evaluation with a detector that knows the answers (or half of them)."""

import json
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from yoloseg.data.letterbox import letterbox_matrix
from yoloseg.data.records import Annotation, Dataset, Record
from yoloseg.errors import DataError, UsageError
from yoloseg.evaluation import evaluate_model
from yoloseg.evaluation.coco_metrics import coco_metrics
from yoloseg.evaluation.evaluate_model import evaluate, evaluate_in_detail
from yoloseg.evaluation.ground_truth import coco_ground_truth

IMGSZ = (96, 128)
SIZES = ((90, 200), (150, 60), (96, 128), (40, 40), (333, 500))


def picture(index):
    """Of one grey value, by which the detector knows which picture it is."""
    height, width = SIZES[index]
    return np.full((height, width, 3), 20 + 10 * index, np.uint8)


def make_dataset():
    records = []
    for index, (height, width) in enumerate(SIZES):
        annotations = []
        for k, (fx, fy) in enumerate([(0.05, 0.1), (0.5, 0.4)][: index % 3]):
            w, h = 0.4 * width, 0.5 * height
            x, y = round(fx * width), round(fy * height)
            angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
            polygon = np.stack([x + w / 2 + w / 2 * np.cos(angle), y + h / 2 + h / 2 * np.sin(angle)], 1)
            polygon = polygon.astype(np.float32)
            (x0, y0), (x1, y1) = polygon.min(0), polygon.max(0)
            box = (float(x0), float(y0), float(x1), float(y1))
            annotations.append(Annotation(k, (polygon,), box, cv2.contourArea(polygon)))
        records.append(Record(100 + index, partial(picture, index), height, width, tuple(annotations)))
    return Dataset("ellipses", ("round", "flat"), (4, 2), records)


class KnowingDetector:
    """Answers with the ground truth, moved to network pixels; then with false detections of score 0.2."""

    def __init__(self, dataset, false=0, model_class=(2, 0)):
        self.dataset, self.false, self.model_class = dataset, false, model_class
        self.calls = []

    def detect(self, images, score_threshold, max_detections, regions):
        assert images.dtype == np.uint8 and images.shape[1:] == (*IMGSZ, 3)
        self.calls.append((len(images), score_threshold, max_detections))
        batch = len(images)
        boxes = np.zeros((batch, max_detections, 4), np.float32)
        scores = np.zeros((batch, max_detections), np.float32)
        classes = np.zeros((batch, max_detections), np.int32)
        counts, masks = np.zeros(batch, int), []
        y, x = (np.mgrid[:28, :28] + 0.5) / 14 - 1
        ellipse = np.clip((1 - np.hypot(x, y)) * 14 + 0.5, 0, 1).astype(np.float32)
        for slot, image in enumerate(images):
            index = round((float(image[IMGSZ[0] // 2, IMGSZ[1] // 2, 0]) - 20) / 10)
            if index >= len(SIZES):  # the grey filling of the last batch
                masks.append(np.zeros((0, 28, 28), np.float32))
                continue
            record = self.dataset.records[index]
            matrix = letterbox_matrix(record.height, record.width, IMGSZ)
            n = 0
            for annotation in record.annotations:
                corners = np.array(annotation.box).reshape(2, 2) @ matrix[:, :2].T + matrix[:, 2]
                boxes[slot, n], scores[slot, n] = corners.reshape(4), 0.9 - 0.1 * n
                classes[slot, n] = self.model_class[annotation.class_index]
                n += 1
            for _ in range(self.false):
                boxes[slot, n], scores[slot, n], classes[slot, n] = (50, 40, 60, 50), 0.2, self.model_class[0]
                n += 1
            counts[slot] = n
            masks.append(np.repeat(ellipse[None], n, 0))
        return {"boxes": boxes, "scores": scores, "classes": classes, "count": counts, "masks": masks}


CLASSES = ("flat", "other", "round")
MODEL = SimpleNamespace(classes=CLASSES, imgsz=IMGSZ, score_threshold=0.5, max_detections=50)


def run(detector, dataset, **more):
    return evaluate(MODEL, dataset, detector=detector, batch_size=2, progress=False, **more)


def test_a_knowing_detector_is_nearly_perfect(tmp_path):
    dataset = make_dataset()
    detector = KnowingDetector(dataset)
    options = {"detector": detector, "batch_size": 2, "progress": False}
    evaluation = evaluate_in_detail(MODEL, dataset, results_file=tmp_path / "predictions.json", **options)
    metrics = evaluation.metrics
    assert metrics["bbox"]["AP"] == pytest.approx(1)
    assert metrics["segm"]["AP75"] == pytest.approx(1) and metrics["segm"]["AP"] > 0.85
    assert set(metrics["segm"]["per_class"]) == {"round", "flat"}
    assert detector.calls == [(2, 0.001, 100)] * 3
    assert metrics["images"] == 5 and metrics["detections"] == 4
    assert metrics["best_f1"] == {"f1": 1, "precision": 1, "recall": 1}
    assert metrics["best_f1_threshold"] == pytest.approx(0.8)
    json.dumps(metrics, allow_nan=False)

    results = json.loads((tmp_path / "predictions.json").read_text())
    truth, _ = coco_ground_truth(dataset)
    assert coco_metrics(truth, results) == {"bbox": metrics["bbox"], "segm": metrics["segm"]}
    sizes = {record.image_id: [record.height, record.width] for record in dataset.records}
    assert all(result["segmentation"]["size"] == sizes[result["image_id"]] for result in results)


def test_best_threshold_leaves_false_detections_out():
    dataset = make_dataset()
    metrics = run(KnowingDetector(dataset, false=3), dataset)
    assert metrics["detections"] == 4 + 3 * 5
    assert metrics["best_f1"]["precision"] == 1 and metrics["best_f1"]["recall"] == 1
    assert metrics["best_f1_threshold"] == pytest.approx((0.8 + 0.2) / 2)


def test_classes_the_dataset_lacks_are_left_out():
    dataset = make_dataset()
    metrics = run(KnowingDetector(dataset, model_class=(1, 1)), dataset)
    assert metrics["detections"] == 0
    assert metrics["segm"]["AP"] == 0
    assert metrics["best_f1_threshold"] == -1 and metrics["best_f1"]["f1"] == -1


def test_as_many_detections_as_the_model_keeps_unless_the_metrics_count_more():
    for own, kept in ((20, 100), (400, 400)):
        dataset, model = make_dataset(), SimpleNamespace(**vars(MODEL) | {"max_detections": own})
        detector = KnowingDetector(dataset)
        metrics = evaluate(model, dataset, detector=detector, batch_size=4, progress=False)
        assert {pictures for pictures, *_ in detector.calls} == {400 // kept}, "as much memory"
        assert {most for _, _, most in detector.calls} == {kept} and f"AR{kept}" in metrics["segm"]


def test_detections_are_written_before_they_are_scored(tmp_path, monkeypatch):
    """Scoring may take long, or more memory than there is."""

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate_model, "score", killed)
    dataset = make_dataset()
    with pytest.raises(KeyboardInterrupt):
        run(KnowingDetector(dataset), dataset, results_file=tmp_path / "predictions.json")
    assert len(json.loads((tmp_path / "predictions.json").read_text())) == 4


def test_refusals():
    dataset = make_dataset()
    with pytest.raises(DataError, match="no pictures"):
        run(None, Dataset("none", ("round",), (1,), []))
    with pytest.raises(UsageError, match="do not know the class tree"):
        run(None, Dataset("trees", ("round", "tree"), (1, 2), dataset.records))
    with pytest.raises(UsageError, match="at least 1"):
        run(KnowingDetector(dataset), dataset, max_detections=0)
