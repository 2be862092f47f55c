"""The command on results files, ground truth from records, and the accumulator."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from yoloseg.data.records import Annotation, Dataset, Record
from yoloseg.data.summary import crowded
from yoloseg.errors import DataError
from yoloseg.evaluate import main
from yoloseg.evaluation.accumulator import DetectionAccumulator, encode_mask
from yoloseg.evaluation.category_tables import names_of
from yoloseg.evaluation.coco_metrics import METRIC_NAMES, coco_metrics
from yoloseg.evaluation.ground_truth import coco_ground_truth

SQUARE = encode_mask(np.pad(np.ones((10, 10), bool), ((5, 15), (5, 25))))


def triangle(x, y, side):
    return np.array([[x, y], [x + side, y], [x, y + side]], np.float32)


def annotation(polygon, class_index=0, area=None, crowd=False):
    x0, y0 = map(float, polygon.min(0))
    x1, y1 = map(float, polygon.max(0))
    box_area = (x1 - x0) * (y1 - y0)
    area = box_area if area == "box" else box_area / 2 if area is None else area
    return Annotation(class_index, (polygon,), (x0, y0, x1, y1), area, crowd)


def dataset(*annotations):
    record = Record(7, lambda: np.zeros((200, 200, 3), np.uint8), 200, 200, tuple(annotations))
    empty = Record(9, record.source, 200, 200)
    return Dataset("made up", ("a", "b"), (3, 8), [record, empty])


def test_right_areas_are_kept():
    data = dataset(annotation(triangle(10, 10, 60)), annotation(triangle(50, 60, 90), 1))
    truth, report = coco_ground_truth(data)
    assert [a["area"] for a in truth["annotations"]] == [1800.0, 4050.0]
    assert (report.objects, report.differ, report.recomputed) == (2, 0, 0)
    assert "as in the file" in str(report)
    assert truth["categories"] == [{"id": 3, "name": "a"}, {"id": 8, "name": "b"}]
    assert [image["id"] for image in truth["images"]] == [7, 9]
    first = truth["annotations"][0]
    assert (first["id"], first["image_id"], first["category_id"], first["iscrowd"]) == (1, 7, 3, 0)
    assert first["bbox"] == [10, 10, 60, 60]
    assert first["segmentation"] == [[10, 10, 70, 10, 10, 70]]


def test_box_areas_are_recomputed_and_reported():
    data = dataset(
        annotation(triangle(10, 10, 60), area="box"),
        annotation(triangle(50, 60, 90), area="box"),
        annotation(triangle(90, 20, 40)),
        annotation(triangle(20, 20, 50), area=123.0, crowd=True),
    )
    truth, report = coco_ground_truth(data)
    for entry in truth["annotations"][:3]:
        rle = coco_mask.merge(coco_mask.frPyObjects(entry["segmentation"], 200, 200))
        assert entry["area"] == float(coco_mask.area(rle))
    assert truth["annotations"][3]["area"] == 123.0
    assert (report.objects, report.differ, report.box_areas, report.recomputed) == (3, 2, 2, 3)
    assert "2 of 3" in str(report) and "2 are box areas" in str(report) and "3 recomputed" in str(report)


def test_a_single_wrong_area_is_mended_alone():
    data = dataset(
        annotation(triangle(10, 10, 60), area=10000.0),
        annotation(triangle(50, 60, 90)),
        annotation(triangle(90, 20, 40)),
    )
    truth, report = coco_ground_truth(data)
    assert 1750 < truth["annotations"][0]["area"] < 1900
    assert [a["area"] for a in truth["annotations"][1:]] == [4050.0, 800.0]
    assert (report.differ, report.box_areas, report.recomputed) == (1, 0, 1)


def test_rle_and_crowds_are_kept():
    mask = np.zeros((200, 200), bool)
    mask[20:60, 30:90] = True
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    data = dataset(Annotation(1, rle, (30, 20, 90, 60), 2400.0, crowd=True))
    entry = coco_ground_truth(data)[0]["annotations"][0]
    assert entry["segmentation"] == rle and entry["iscrowd"] == 1 and entry["category_id"] == 8


def test_accumulator_takes_masks_and_rle(tmp_path):
    masks = np.zeros((2, 30, 40), bool)
    masks[0, 5:10, 5:25] = masks[1, 20:, 30:] = True
    found = DetectionAccumulator((3, 8))
    boxes = np.array([[5, 5, 25, 10], [30, 20, 40, 30]], np.float32)
    scores = np.array([0.75, 0.1], np.float32)
    found.add(7, boxes, scores, np.array([1, 0]), masks)
    found.add(9, boxes, scores, np.array([0, 0]), [encode_mask(mask) for mask in masks])
    assert found.results[0]["bbox"] == [5, 5, 20, 5] and found.results[0]["category_id"] == 8
    assert found.results[1]["score"] == float(np.float32(0.1))
    assert [r["segmentation"] for r in found.results[:2]] == [r["segmentation"] for r in found.results[2:]]
    assert np.array_equal(coco_mask.decode(found.results[1]["segmentation"]), masks[1])
    found.save(tmp_path / "predictions.json")
    assert json.loads((tmp_path / "predictions.json").read_text()) == found.results
    DetectionAccumulator((3,)).save(tmp_path / "none.json")
    assert json.loads((tmp_path / "none.json").read_text()) == []


@pytest.fixture
def files(tmp_path):
    data = dataset(annotation(triangle(10, 10, 60)), annotation(triangle(50, 60, 90), 1))
    truth, _ = coco_ground_truth(data)
    results = [
        {
            "image_id": 7,
            "category_id": a["category_id"],
            "score": 0.5,
            "bbox": a["bbox"],
            "segmentation": a["segmentation"],
        }
        for a in truth["annotations"]
    ]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(results))
    return tmp_path, truth, results


def run(folder, *more):
    names = ["--results", str(folder / "results.json"), "--annotations", str(folder / "truth.json")]
    return main([*names, *more])


def test_command_scores_a_results_file(files, capsys):
    folder, truth, results = files
    assert run(folder, "--out", str(folder / "scores.json")) == 0
    metrics = json.loads((folder / "scores.json").read_text())
    assert metrics == coco_metrics(truth, results)
    assert list(metrics) == ["bbox", "segm"]
    assert list(metrics["segm"])[:12] == list(METRIC_NAMES) and metrics["segm"]["AP"] == pytest.approx(1)
    assert metrics["segm"]["APs"] == -1
    assert metrics["bbox"]["per_class"]["a"]["instances"] == 1
    assert run(folder, "--out", str(folder / "deep" / "folder")) == 0
    assert json.loads((folder / "deep" / "folder" / "metrics.json").read_text()) == metrics
    table = capsys.readouterr().out
    assert "AP50" in table and "1.000" in table and "…" not in table


@pytest.mark.parametrize("name", ["results.json", "truth.json"])
def test_the_metrics_are_not_written_over_what_they_are_of(files, capsys, name):
    folder, *_ = files
    before = (folder / name).read_bytes()
    assert run(folder, "--out", str(folder / name)) == 2
    assert "would be written over" in capsys.readouterr().err and (folder / name).read_bytes() == before


def test_the_metrics_are_not_written_over_the_detections(tmp_path, capsys):
    flags = ["--weights", "w.keras", "--data", "shapes", "--save-json"]
    assert main([*flags, "--out", str(tmp_path / "predictions.json")]) == 2
    assert "would be written over" in capsys.readouterr().err


def test_the_metrics_are_not_written_over_those_of_a_training_that_is_not_finished(files, capsys):
    folder, *_ = files
    (folder / "state.json").write_text("{}")
    for out in (folder, folder / "metrics.json"):
        assert run(folder, "--out", str(out)) == 2
        assert "a training that is not finished" in capsys.readouterr().err
    assert not (folder / "metrics.json").exists()
    assert run(folder, "--out", str(folder / "scores.json")) == 0
    (folder / "state.json").unlink()


def test_a_results_file_may_begin_with_a_byte_order_mark(files):
    folder, *_ = files
    text = (folder / "results.json").read_text()
    (folder / "results.json").write_text(text, encoding="utf-8-sig")
    assert run(folder) == 0


def test_names_of_categories_are_their_own():
    names = {1: "cat", 2: "cat", 3: "cat (2)", 4: "dog", 5: "cat"}
    found = names_of({k: {"name": name} for k, name in names.items()})
    assert found == {1: "cat (1)", 2: "cat (2) (2)", 3: "cat (2)", 4: "dog", 5: "cat (5)"}


def test_command_takes_an_empty_results_file(files):
    folder, _, _ = files
    (folder / "results.json").write_text("[]")
    assert run(folder, "--out", str(folder)) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["segm"]["AP"] == metrics["bbox"]["AR1"] == 0


def test_command_notes_what_the_official_code_ignores(files, capsys):
    folder, truth, results = files
    truth["annotations"][0]["id"] = 0
    small = {"size": [10, 10], "counts": encode_mask(np.ones((10, 10), bool))["counts"]}
    results[1]["segmentation"] = small
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "results.json").write_text(json.dumps(results))
    assert run(folder) == 0
    notes = capsys.readouterr().err
    assert "annotation id 0" in notes and "1 masks are not of their picture's size" in notes


@pytest.mark.parametrize("ids", [(2**53 + 1, 2**53 + 2), ("1", "b"), (-1, -2), (1.5, 2.5)])
def test_ids_are_only_names(files, ids):
    """The official code keeps them as float64; what it scores nevertheless, and what it could, is scored."""
    _, truth, results = files
    expected = coco_metrics(truth, results)
    assert expected["segm"]["per_class"]["a"]["mean_iou"] == 1
    for annotation, own in zip(truth["annotations"], ids, strict=True):
        annotation["id"] = own
        annotation["iscrowd"] = None
    assert coco_metrics(truth, results) == expected
    masks_alone = [one | {"bbox": None, "segmentation": SQUARE} for one in results]
    without = [{k: v for k, v in one.items() if k != "bbox"} for one in masks_alone]
    assert coco_metrics(truth, masks_alone)["segm"] == coco_metrics(truth, without)["segm"]


@pytest.mark.parametrize(
    ("key", "changed", "message"),
    [
        ("annotations", {"id": None}, "annotations[0] is not an object with an 'id'"),
        ("annotations", {"id": [1]}, "annotations[0] is not an object with an 'id'"),
        ("annotations", {"image_id": [1]}, "annotations[0] (id 1): 'image_id' is [1]"),
        ("annotations", {"category_id": {}}, "annotations[0] (id 1): 'category_id' is {}"),
        ("annotations", {"iscrowd": "yes"}, "annotations[0] (id 1): 'iscrowd' is 0 or 1, not 'yes'"),
        ("images", {"id": {}}, "images[0] is not an object with an 'id'"),
        ("categories", {"id": "3"}, "of the categories some ids are numbers and some are texts"),
        ("images", {"id": "7"}, "of the images some ids are numbers and some are texts"),
    ],
)
def test_command_refuses_bad_ground_truth(files, capsys, key, changed, message):
    folder, truth, _ = files
    truth[key][0] |= changed
    (folder / "truth.json").write_text(json.dumps(truth))
    assert run(folder) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "truth.json" in error and message in error and "Traceback" not in error


def test_command_says_before_the_work_what_it_cannot_do(files, capsys):
    folder, _, _ = files
    (folder / "notes.txt").write_text("mine")
    (folder / "results.json").unlink()  # which it would miss next
    assert run(folder, "--out", str(folder / "notes.txt")) == 2
    assert "cannot write" in capsys.readouterr().err and (folder / "notes.txt").read_text() == "mine"
    assert run(folder, "--conf", "0.5") == 2
    assert "--conf is for --weights" in capsys.readouterr().err
    for flags in (["--max-detections", "100"], ["--task", "vis", "--max-detections", "500"]):
        assert run(folder, *flags) == 2
        assert "--max-detections is for --weights" in capsys.readouterr().err


def test_command_counts_more_detections_where_asked_for(files, capsys):
    folder, truth, results = files
    assert run(folder, "--max-detections", "500", "--out", str(folder)) == 0
    assert "500 detections of a class in a picture count" in capsys.readouterr().err
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == coco_metrics(truth, results, most=500) and "AR500" in metrics["segm"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: '[{"image_id": 7', "broken JSON at line 1"),
        (lambda r: {"annotations": r}, "JSON list"),
        (lambda r: [*r, 5], "detection 2 is not an object"),
        (lambda r: [r[0] | {"score": 10**400}], "detection 0: score 1000"),
        (lambda r: "[" + "1" * 5000 + "]", "not a file of annotations"),
        (lambda r: [r[0], r[1] | {"image_id": 8}], "detection 1: image_id 8"),
        (lambda r: [r[0] | {"image_id": "7"}], "detection 0: image_id '7'"),
        (lambda r: [r[0], r[1] | {"category_id": 1}], "detection 1: category_id 1"),
        (lambda r: [{k: v for k, v in r[0].items() if k != "score"}], "no 'score'"),
        (lambda r: [r[0] | {"score": float("nan")}], "score nan"),
        (lambda r: [r[0], {k: v for k, v in r[1].items() if k != "bbox"}], "detection 1: 'bbox'"),
        (lambda r: [{k: v for k, v in r[0].items() if k != "bbox"}], "compressed RLE"),
        (lambda r: [r[0] | {"segmentation": {"size": [3, 3]}}], "'segmentation' is neither"),
        (
            lambda r: [r[0] | {"segmentation": SQUARE | {"counts": SQUARE["counts"][:-2]}}],
            "do not add up to 30 x 40",
        ),
        (lambda r: [r[0] | {"segmentation": SQUARE | {"counts": SQUARE["counts"] + "11"}}], "do not add up"),
        (lambda r: [r[0] | {"segmentation": SQUARE | {"counts": "\u00e9"}}], "do not add up"),
        (lambda r: [r[0] | {"segmentation": {"size": [3, 3], "counts": [4, 4]}}], "do not add up"),
        (lambda r: [r[0] | {"segmentation": {"size": [3, 3], "counts": []}}], "do not add up"),
    ],
)
def test_command_refuses_bad_results(files, capsys, change, message):
    folder, _, results = files
    changed = change(results)
    text = changed if isinstance(changed, str) else json.dumps(changed)
    (folder / "results.json").write_text(text)
    assert run(folder, "--out", str(folder / "scores.json")) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "results.json" in error and message in error
    assert not (folder / "scores.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [[], ["--weights", "w.keras"], ["--results", "r.json", "--data", "shapes"], ["--data", "shapes"]],
)
def test_command_wants_one_pair_of_flags(arguments, capsys):
    assert main(arguments) == 2
    assert "--weights and --data, or --results and --annotations" in capsys.readouterr().err


def test_missing_file(files, capsys):
    folder, _, _ = files
    assert main(["--results", str(folder / "no.json"), "--annotations", str(folder / "truth.json")]) == 2
    assert "no.json: cannot be read" in capsys.readouterr().err


def test_results_for_unhashable_image():
    truth = {"images": [], "categories": [], "annotations": []}
    with pytest.raises(DataError, match="image_id"):
        coco_metrics(truth, [{"image_id": [1], "category_id": 1, "score": 1, "bbox": [0, 0, 1, 1]}])


def test_pictures_with_more_objects_than_are_looked_for_are_told():
    data = dataset(
        *(annotation(triangle(10 * k, 10, 9)) for k in range(3)), annotation(triangle(0, 60, 9), crowd=True)
    )
    assert crowded(data, 3) is None
    note = crowded(data, 2)
    assert note.startswith("made up: 1 picture has more than 2 objects, up to 3, and at most 2 detections")
