"""Parity with the official code, on random data made to be awkward."""

import contextlib
import copy
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from random_detections import random_data

from yoloseg.errors import DataError, UsageError
from yoloseg.evaluation.best_f1 import Matches, best_f1
from yoloseg.evaluation.coco_metrics import METRIC_NAMES, coco_metrics, score
from yoloseg.evaluation.table import recall_name


def official(ground_truth, results, kind, category_id=None):
    """The twelve numbers by pycocotools alone, all categories at once."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(ground_truth)
        truth.createIndex()
        if results:
            found = truth.loadRes(copy.deepcopy(results))
        else:
            found = COCO()
            found.dataset = {**truth.dataset, "annotations": []}
            found.createIndex()
        evaluation = COCOeval(truth, found, kind)
        if category_id is not None:
            evaluation.params.catIds = [category_id]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(METRIC_NAMES, evaluation.stats, strict=True))


def assert_official(ground_truth, results, kinds):
    before = copy.deepcopy((ground_truth, results))
    metrics = coco_metrics(ground_truth, results)
    assert (ground_truth, results) == before
    assert list(metrics) == ["bbox", "segm"]
    for kind, measured in metrics.items():
        assert set(measured) == {*METRIC_NAMES, "AP_by_IoU", "per_class"}
        if kind not in kinds:
            assert all(measured[name] == -1 for name in METRIC_NAMES)
            continue
        expected = official(ground_truth, results, kind)
        for name in METRIC_NAMES:
            assert measured[name] == pytest.approx(expected[name], abs=1e-9, rel=0), (kind, name)
        for category in ground_truth["categories"]:
            expected = official(ground_truth, results, kind, category["id"])
            for name in METRIC_NAMES:
                value = measured["per_class"][category["name"]][name]
                assert value == pytest.approx(expected[name], abs=1e-9, rel=0), (category, kind, name)
    return metrics


@pytest.mark.parametrize("seed", range(6))
def test_boxes_with_masks(seed):
    metrics = assert_official(*random_data(seed), ["bbox", "segm"])
    assert 0 < metrics["segm"]["AP"] < 1


@pytest.mark.parametrize("seed", range(2))
def test_masks_alone_give_their_boxes(seed):
    assert_official(*random_data(10 + seed, boxes=False), ["bbox", "segm"])


def test_polygon_results():
    assert_official(*random_data(20, masks="polygons"), ["bbox", "segm"])


def test_boxes_alone():
    assert_official(*random_data(30, masks=None), ["bbox"])


def test_more_than_a_hundred_detections_of_a_class():
    assert_official(*random_data(40, images=3, classes=1, per_image=260), ["bbox", "segm"])


def test_no_detections():
    ground_truth, _ = random_data(50)
    metrics = assert_official(ground_truth, [], ["bbox", "segm"])
    assert metrics["segm"]["AP"] == 0 and metrics["bbox"]["AR100"] == 0
    assert metrics["segm"]["per_class"]["class 4"]["AP"] == -1


def test_no_objects():
    ground_truth, results = random_data(60)
    ground_truth["annotations"] = []
    metrics = assert_official(ground_truth, results, ["bbox", "segm"])
    assert metrics["bbox"]["AP"] == -1


def test_all_crowds():
    ground_truth, results = random_data(70)
    for annotation in ground_truth["annotations"]:
        annotation["iscrowd"] = 1
    metrics = assert_official(ground_truth, results, ["bbox", "segm"])
    assert metrics["segm"]["AP"] == -1 and metrics["segm"]["per_class"]["class 0"]["instances"] == 0


def test_official_quirks_are_kept():
    """Annotation id 0 is never found; of a repeated id the last annotation stands for all."""
    ground_truth, results = random_data(80)
    annotations = ground_truth["annotations"]
    annotations[0]["id"] = 0
    annotations[3]["id"] = annotations[5]["id"]
    annotations[7]["image_id"] = 99999
    annotations[8]["category_id"] = 99999
    assert_official(ground_truth, results, ["bbox", "segm"])


def test_coco_object_is_accepted_and_crowd_flag_may_be_missing():
    ground_truth, results = random_data(90)
    for annotation in ground_truth["annotations"]:
        annotation["iscrowd"] = 0
    expected = coco_metrics(ground_truth, results)
    for annotation in ground_truth["annotations"]:
        del annotation["iscrowd"]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = ground_truth
        truth.createIndex()
    assert coco_metrics(truth, results) == expected


def test_ground_truth_without_masks_scores_boxes_only():
    ground_truth, results = random_data(100)
    for annotation in ground_truth["annotations"]:
        annotation["segmentation"] = []
    assert_official(ground_truth, results, ["bbox"])


def test_equal_names_are_told_apart():
    ground_truth, results = random_data(110)
    for category in ground_truth["categories"][:2]:
        category["name"] = "cat"
    assert {"cat (0)", "cat (5)"} <= set(coco_metrics(ground_truth, results)["bbox"]["per_class"])


def test_ground_truth_as_results_is_perfect():
    ground_truth, _ = random_data(120)
    results = [
        {k: a[k] for k in ("image_id", "category_id", "bbox", "segmentation")} | {"score": 1.0}
        for a in ground_truth["annotations"]
        if not a["iscrowd"]
    ]
    metrics = coco_metrics(ground_truth, results)
    assert metrics["bbox"]["AP"] == pytest.approx(1, abs=1e-9)
    assert metrics["segm"]["AP"] == pytest.approx(1, abs=1e-9)


def break_truth(change):
    ground_truth, results = random_data(130)
    change(ground_truth)
    return ground_truth, results


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.pop("images"), "no list 'images'"),
        (lambda g: g["annotations"][2].pop("area"), r"annotations\[2\] \(id 5\) has no 'area'"),
        (lambda g: g["annotations"][2].update(bbox=[1, 2]), "'bbox' must be"),
        (lambda g: g["annotations"][1].update(segmentation=None), r"annotations\[1\].*'segmentation'"),
        (lambda g: g["annotations"][1].update(segmentation=[[1, 2]]), "'segmentation' is neither"),
        (lambda g: g["images"][0].pop("height"), "height and width"),
    ],
)
def test_defective_ground_truth(change, message):
    with pytest.raises(DataError, match=message):
        coco_metrics(*break_truth(change))


def test_best_f1_by_hand():
    matches = Matches(np.array([0.9, 0.8, 0.8, 0.4, 0.2]), np.array([1, 1, 0, 1, 0], bool), 4, np.zeros(5))
    best = best_f1(matches)  # F1 after 1, 3, 4, 5 detections: 2/5, 4/7, 6/8, 6/9
    assert best.f1 == pytest.approx(0.75)
    assert (best.precision, best.recall) == (0.75, 0.75)
    assert best.threshold == pytest.approx(0.3)
    assert best_f1(Matches(np.array([0.9]), np.array([False]), 3, np.zeros(1))) is None
    assert best_f1(Matches.none()) is None


@pytest.mark.parametrize("seed", range(3))
def test_best_f1_by_trying_every_threshold(seed):
    """Drop what is below each score, ask the official code what is left: no threshold does better."""
    ground_truth, results = random_data(200 + seed)
    best = best_f1(score(ground_truth, results).matches("segm"))

    def f1_at(threshold):
        kept = [result for result in results if result["score"] >= threshold]
        matches = score(ground_truth, kept).matches("segm")
        return 2 * matches.found.sum() / (len(matches.found) + matches.truths)

    assert f1_at(best.threshold) == pytest.approx(best.f1)
    assert max(f1_at(threshold) for threshold in np.arange(0, 1.01, 0.1)) <= best.f1 + 1e-9


def test_faster_coco_eval_agrees():
    """The claim in coco_metrics.py about the other package."""
    faster = pytest.importorskip("faster_coco_eval")
    ground_truth, results = random_data(300)
    for annotation in ground_truth["annotations"]:
        annotation.setdefault("ignore", 0)
    metrics = coco_metrics(ground_truth, results)
    for kind in ("bbox", "segm"):
        truth = faster.COCO(copy.deepcopy(ground_truth))
        found = truth.loadRes(copy.deepcopy(results))
        evaluation = faster.COCOeval_faster(truth, found, kind, print_function=lambda *_: None)
        evaluation.run()
        for name, value in zip(METRIC_NAMES, evaluation.all_stats, strict=False):
            assert metrics[kind][name] == pytest.approx(value, abs=1e-9)


def test_more_than_a_hundred_detections_count_where_asked_for():
    """Against the official code with the same limit (not its `summarize`, whose AP is always of 100)."""
    rng = np.random.default_rng(0)
    corners = [(x * 12.0, y * 12.0) for x in range(15) for y in range(10)]
    truth = {
        "images": [{"id": 1, "height": 200, "width": 200}],
        "categories": [{"id": 1, "name": "dot"}],
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": [x, y, 8, 8], "area": 64, "iscrowd": 0}
            for i, (x, y) in enumerate(corners)
        ],
    }
    results = [
        {"image_id": 1, "category_id": 1, "bbox": [x + rng.uniform(0, 3), y, 8, 8], "score": rng.random()}
        for x, y in corners[:140]
    ]
    with pytest.raises(UsageError, match="most must be above 10"):
        coco_metrics(truth, results, most=10)
    hundred, more = score(truth, results).metrics["bbox"], score(truth, results, most=500).metrics["bbox"]
    assert hundred["AR100"] <= 100 / 150 and "AR500" not in hundred
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = truth
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(results), "bbox")
        evaluation.params.maxDets = [1, 10, 500]
        evaluation.evaluate()
        evaluation.accumulate()
    assert more["AP"] == pytest.approx(evaluation.eval["precision"][..., 0, 0, 2].mean())
    assert more["AR500"] == pytest.approx(evaluation.eval["recall"][..., 0, 0, 2].mean())
    assert more["AP50"] == pytest.approx(evaluation.eval["precision"][0, :, 0, 0, 2].mean())
    assert more["AP50"] > 1.2 * hundred["AP50"] and more["AR500"] > 1.2 * hundred["AR100"]
    names = [name.replace("100", "500") for name in METRIC_NAMES]
    assert list(more)[:12] == names and recall_name(more) == "AR500" and recall_name(hundred) == "AR100"
    assert recall_name(more, "s") == "ARs" and list(more["per_class"]["dot"])[:12] == names
