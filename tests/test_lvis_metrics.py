"""Federated scores: parity with stored values of the official `lvis` package, and what they leave out."""

import copy
import json
from pathlib import Path

import pytest
from random_detections import random_lvis

from yoloseg.errors import DataError
from yoloseg.evaluate import main
from yoloseg.evaluation.coco_metrics import coco_metrics
from yoloseg.evaluation.lvis_metrics import LVIS_NAMES, lvis_metrics

REFERENCE = json.loads((Path(__file__).parent / "references" / "lvis_reference.json").read_text())


@pytest.mark.parametrize("name", REFERENCE)
def test_official_values(name):
    stored = REFERENCE[name]
    ground_truth, results = random_lvis(**stored["options"])
    assert len(results) == stored["detections"]  # the random set is the one that was scored
    before = copy.deepcopy((ground_truth, results))
    metrics = lvis_metrics(ground_truth, results)
    assert (ground_truth, results) == before
    for kind in ("bbox", "segm"):
        for key in LVIS_NAMES:
            expected = stored[kind][key] if kind in stored else -1
            assert metrics[kind][key] == pytest.approx(expected, abs=1e-9), (kind, key)


def test_ap_by_iou_and_mean_iou():
    """Their mean is AP; shifted masks are as good as their IoU."""
    ground_truth, results = random_lvis(1)
    for metrics in (lvis_metrics(ground_truth, results), coco_metrics(ground_truth, results)):
        for kind in ("bbox", "segm"):
            by_iou = metrics[kind]["AP_by_IoU"]
            assert list(by_iou)[0] == "0.50" and list(by_iou)[-1] == "0.95" and len(by_iou) == 10
            assert sum(by_iou.values()) / 10 == pytest.approx(metrics[kind]["AP"])
            assert by_iou["0.50"] == pytest.approx(metrics[kind]["AP50"])
    truth = {
        "images": [{"id": 1, "height": 20, "width": 20}],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0,
             "segmentation": [[0, 0, 10, 0, 10, 10, 0, 10]]},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [10, 10, 10, 10], "area": 100, "iscrowd": 0,
             "segmentation": [[10, 10, 20, 10, 20, 20, 10, 20]]},
        ],
    }  # fmt: skip
    found = [
        {"image_id": 1, "category_id": 1, "score": 0.9, "bbox": [0, 0, 10, 8],
         "segmentation": [[0, 0, 10, 0, 10, 8, 0, 8]]},
        {"image_id": 1, "category_id": 1, "score": 0.8, "bbox": [10, 10, 6, 10],
         "segmentation": [[10, 10, 16, 10, 16, 20, 10, 20]]},
        {"image_id": 1, "category_id": 1, "score": 0.7, "bbox": [10, 0, 4, 4],
         "segmentation": [[10, 0, 14, 0, 14, 4, 10, 4]]},
    ]  # fmt: skip
    classes = coco_metrics(truth, found)["segm"]["per_class"]
    assert classes["a"]["mean_iou"] == pytest.approx((0.8 + 0.6) / 2)
    assert classes["b"]["mean_iou"] == -1


def test_what_is_not_verified_does_not_count():
    ground_truth, results = random_lvis(3)
    image, category = ground_truth["images"][0], ground_truth["categories"][0]
    both = (image["id"], category["id"])
    ground_truth["annotations"] = [
        one for one in ground_truth["annotations"] if (one["image_id"], one["category_id"]) != both
    ]
    image["not_exhaustive_category_ids"] = []
    one = {"image_id": image["id"], "category_id": category["id"], "bbox": [1, 1, 9, 9], "score": 1.0}
    results = [{**result, "score": 0.5 * result["score"]} for result in results]
    for result in results:
        result.pop("segmentation")
    image["neg_category_ids"] = []
    without = lvis_metrics(ground_truth, results)
    assert lvis_metrics(ground_truth, [*results, one]) == without
    image["neg_category_ids"] = [category["id"]]
    name = category["name"]
    with_it = lvis_metrics(ground_truth, [*results, one])["bbox"]["per_class"][name]["AP"]
    assert with_it < without["bbox"]["per_class"][name]["AP"]
    image["not_exhaustive_category_ids"] = [category["id"]]
    forgiven = lvis_metrics(ground_truth, [*results, one])["bbox"]["per_class"][name]["AP"]
    assert forgiven == pytest.approx(without["bbox"]["per_class"][name]["AP"])


def test_command(tmp_path, capsys):
    ground_truth, results = random_lvis(4)
    truth, found, out = tmp_path / "gt.json", tmp_path / "found.json", tmp_path / "metrics.json"
    truth.write_text(json.dumps(ground_truth))
    found.write_text(json.dumps(results))
    flags = ["--task", "lvis", "--annotations", str(truth), "--results", str(found), "--out", str(out)]
    assert main(flags) == 0
    written = json.loads(out.read_text())
    for kind in ("bbox", "segm"):
        assert {key: written[kind][key] for key in LVIS_NAMES} == pytest.approx(REFERENCE["set 4"][kind])
    shown = capsys.readouterr().out
    assert "APr" in shown and "AR@300" in shown and "0.95" in shown
    del ground_truth["images"][3]["neg_category_ids"]
    truth.write_text(json.dumps(ground_truth))
    assert main(flags) == 2
    message = capsys.readouterr().err
    assert "gt.json" in message and "images[3]" in message and "neg_category_ids" in message


def test_bad_frequency():
    ground_truth, results = random_lvis(5)
    ground_truth["categories"][1]["frequency"] = "often"
    with pytest.raises(DataError, match=r"categories\[1\].*frequency.*often"):
        lvis_metrics(ground_truth, results)
