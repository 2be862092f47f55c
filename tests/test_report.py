"""The error review, its figures and report.html, on detections made by hand."""

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from pycocotools import mask as coco_mask
from test_evaluation_model import MODEL, KnowingDetector, make_dataset

from yoloseg.data.label_plot import letterboxed_boxes, save_label_plot
from yoloseg.data.records import Annotation, Dataset, Record
from yoloseg.evaluation.best_f1 import Matches, best_f1
from yoloseg.evaluation.evaluate_model import evaluate_in_detail
from yoloseg.evaluation.figures import (
    line_style,
    precision_recall,
    save_confusion_matrix,
    save_f1_curve,
    save_pr_curve,
)
from yoloseg.evaluation.report import write_report
from yoloseg.evaluation.review import Review, crowding, review
from yoloseg.modeling.architecture import LEVELS
from yoloseg.training.curves import save_curves
from yoloseg.training.losses import LOSSES

SIDE = 40


def rle(x0, y0, x1, y1):
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[y0:y1, x0:x1] = 1
    return coco_mask.encode(mask)


def truth_of(*objects, image_id=1):
    """objects: (category, box, crowd)."""
    return {
        "images": [{"id": image_id, "height": SIDE, "width": SIDE}],
        "categories": [{"id": 7, "name": "a"}, {"id": 3, "name": "b"}],
        "annotations": [
            {
                "id": i + 1,
                "image_id": image_id,
                "category_id": k,
                "segmentation": rle(*box),
                "iscrowd": int(crowd),
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "area": (box[2] - box[0]) * (box[3] - box[1]),
            }
            for i, (k, box, crowd) in enumerate(objects)
        ],
    }


def detection(category, box, score, image_id=1):
    return {"image_id": image_id, "category_id": category, "score": score, "segmentation": rle(*box)}


def test_review_of_every_kind_of_error():
    truth = truth_of(
        (3, (0, 0, 10, 10), False),     # found
        (7, (20, 0, 30, 10), False),    # taken for b
        (7, (0, 20, 10, 30), False),    # missed
        (3, (20, 20, 40, 40), True),    # a crowd
    )
    results = [
        detection(3, (0, 0, 10, 9), 0.9),
        detection(3, (0, 0, 9, 10), 0.8),       # the same object once more: false
        detection(3, (20, 0, 30, 10), 0.7),
        detection(3, (22, 22, 30, 30), 0.6),    # on the crowd
        detection(7, (22, 22, 30, 30), 0.5),    # on a crowd of another class: false
        detection(7, (0, 20, 10, 30), 0.2),     # below the threshold
    ]
    found = review(truth, results, 0.3)
    (one,) = found.pictures
    assert (one.found, one.confused, one.missed, one.false, one.ignored) == (1, 1, 1, 2, 1)
    assert one.errors == 4 and found.classes == ("b", "a")  # by category id
    assert found.confusion.tolist() == [[1, 0, 0], [1, 0, 1], [1, 1, 0]]


def test_own_class_is_served_before_a_better_scored_other_class():
    truth = truth_of((3, (0, 0, 10, 10), False))
    results = [detection(7, (0, 0, 10, 10), 0.9), detection(3, (0, 0, 10, 8), 0.5)]
    (one,) = review(truth, results, 0.1).pictures
    assert (one.found, one.confused, one.missed, one.false) == (1, 0, 0, 1)


def test_on_a_crowd_of_its_class_it_is_not_taken_for_another():
    truth = truth_of((3, (0, 0, 20, 20), True), (7, (0, 0, 10, 10), False))
    (one,) = review(truth, [detection(3, (0, 0, 10, 10), 0.9)], 0.1).pictures
    assert (one.found, one.confused, one.missed, one.false, one.ignored) == (0, 0, 1, 0, 1)


def test_where_not_every_object_is_annotated_none_is_false():
    truth = truth_of((3, (0, 0, 10, 10), False), (7, (0, 20, 10, 30), False))
    results = [
        *(detection(3, (0, 0, 10, 10), 0.9), detection(3, (20, 20, 30, 30), 0.8)),
        *(detection(7, (0, 20, 10, 30), 0.9), detection(7, (20, 0, 30, 10), 0.8)),
    ]
    truth["images"][0]["not_exhaustive_category_ids"] = [3]
    found = review(truth, results, 0.1)
    (one,) = found.pictures
    assert (one.found, one.missed, one.false, one.ignored) == (2, 0, 1, 1)
    assert found.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_object_and_every_detection_is_counted_once(seed):
    rng = np.random.default_rng(seed)

    def box():
        x0, y0 = (int(v) for v in rng.integers(0, SIDE - 10, 2))
        w, h = (int(v) for v in rng.integers(4, 10, 2))
        return x0, y0, x0 + w, y0 + h

    objects = [(int(rng.choice([3, 7])), box(), bool(rng.random() < 0.2)) for _ in range(rng.integers(0, 6))]
    truth = truth_of(*objects)
    boxes = [one[1] if rng.random() < 0.5 else box() for one in objects * 2]
    results = [detection(int(rng.choice([3, 7])), one, float(rng.random())) for one in boxes]
    found = review(truth, results, 0.25)
    (one,) = found.pictures
    kept = sum(result["score"] >= 0.25 for result in results)
    assert one.found + one.confused + one.missed == sum(not crowd for _, _, crowd in objects)
    assert one.found + one.confused + one.false + one.ignored == kept
    assert found.confusion[:-1].sum() == one.found + one.confused + one.missed
    assert found.confusion[-1].sum() == one.false
    assert found.confusion.diagonal()[:-1].sum() == one.found


def test_crowding_leaves_crowds_out():
    truth = truth_of((3, (0, 0, 5, 5), False), (3, (9, 9, 15, 15), True))
    assert crowding(truth) == {"1": [1], "2 to 4": [], "5 to 9": [], "10 and more": []}


def test_precision_and_recall_over_falling_scores():
    matches = Matches(np.array([0.2, 0.9, 0.5]), np.array([True, True, False]), 4, np.zeros(3))
    scores, precision, recall = precision_recall(matches)
    assert scores.tolist() == [0.9, 0.5, 0.2]
    assert precision == pytest.approx([1, 1 / 2, 2 / 3]) and recall == pytest.approx([1 / 4, 1 / 4, 2 / 4])


def test_curves_are_drawn_with_and_without_anything_to_draw(tmp_path):
    some = {"a": Matches(np.array([0.9, 0.3]), np.array([True, False]), 2, np.zeros(2)), "b": Matches.none()}
    for name, per_class in (("some", some), ("none", {"a": Matches.none()}), ("empty", {})):
        for save in (save_pr_curve, save_f1_curve):
            path = tmp_path / f"{name}-{save.__name__}.png"
            save(per_class, path)
            assert cv2.imread(str(path)).shape[1] > 400


def lines_of(monkeypatch, draw) -> dict[str, np.ndarray]:
    """What `draw` plots, by the label of each line."""
    lines, plot = {}, Axes.plot
    record = lambda axes, x, y, **more: lines.update({more["label"]: y}) or plot(axes, x, y, **more)  # noqa: E731
    monkeypatch.setattr(Axes, "plot", record)
    draw()
    return lines


def test_the_highest_point_of_the_f1_curve_is_the_best_f1(tmp_path, monkeypatch):
    """Also where a class has detections, but no object."""
    per_class = {
        "a": Matches(np.array([0.9, 0.8, 0.3]), np.array([True, True, False]), 3, np.zeros(3)),
        "absent": Matches(np.array([0.85, 0.5]), np.array([False, False]), 0, np.zeros(2)),
    }
    lines = lines_of(monkeypatch, lambda: save_f1_curve(per_class, tmp_path / "f1.png"))
    assert set(lines) == {"a (3)", "all classes together"}
    best = best_f1(Matches.join(list(per_class.values())))
    assert best.f1 == pytest.approx(2 / 3) and lines["all classes together"].max() == pytest.approx(best.f1)
    assert lines["a (3)"].max() == pytest.approx(4 / 5)


def test_the_mean_of_the_precision_over_recall_is_the_ap(tmp_path, monkeypatch):
    """COCO's: at each of 101 recalls the best precision that is reached there or beyond."""
    half = Matches(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), 4, np.zeros(3))
    all_found = Matches(np.array([0.5]), np.array([True]), 1, np.zeros(1))
    lines = lines_of(monkeypatch, lambda: save_pr_curve({"a": half, "b": all_found}, tmp_path / "pr.png"))
    first = (26 + 25 * 2 / 3) / 101  # recall 0.00 to 0.25, then to 0.50
    assert lines["a (4)"].mean() == pytest.approx(first) and lines["b (1)"].mean() == 1
    assert lines["mean of 2 classes"].mean() == pytest.approx((first + 1) / 2)


def test_twenty_lines_differ():
    styles = [(line["color"], line["linestyle"]) for line in map(line_style, range(20))]
    assert len(set(styles)) == 20


def test_names_are_drawn_as_they_are(tmp_path, monkeypatch):
    names = ("$", "$$", "$1-2$", "_other", "long " * 50)
    per_class = {name: Matches(np.array([0.9]), np.array([True]), 1, np.zeros(1)) for name in names}
    lines = lines_of(monkeypatch, lambda: save_pr_curve(per_class, tmp_path / "pr.png"))
    assert " _other (1)" in lines, "a legend leaves out what starts with an underscore"
    assert max(map(len, lines)) < 50
    confusion = np.eye(6, dtype=int)
    save_confusion_matrix(Review((), confusion, names, 0.5), tmp_path / "confusion.png")
    empty = Record(2, lambda: np.zeros((50, 100, 3), np.uint8), 50, 100)
    save_label_plot(Dataset("$$", names, (1, 2, 3, 4, 5), [empty]), (64, 64), tmp_path / "labels.png")
    assert all((tmp_path / f"{name}.png").stat().st_size > 1000 for name in ("pr", "confusion", "labels"))


def test_confusion_of_very_many_classes(tmp_path, monkeypatch):
    """The 60 with the most errors one by one, the others together; nobody is lost."""
    count = 1203
    confusion = np.diag(np.arange(1, count + 2))
    confusion[-1, -1] = 0
    confusion[5, 900], confusion[7, -1], confusion[-1, 30], confusion[1000, 1001] = 90, 80, 70, 60
    names = tuple(f"class {k}" for k in range(count))
    drawn, imshow = [], Axes.imshow
    record = lambda axes, shares, **more: drawn.append((axes, shares)) or imshow(axes, shares, **more)  # noqa: E731
    monkeypatch.setattr(Axes, "imshow", record)
    save_confusion_matrix(Review((), confusion, names, 0.5), tmp_path / "confusion.png")
    height, width = cv2.imread(str(tmp_path / "confusion.png")).shape[:2]
    assert height < 3500 and width < 3500
    ((axes, shares),) = drawn
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert len(labels) == 62 and labels[-2:] == ["1143 other classes", "no object"]
    assert {"class 5", "class 7", "class 30", "class 900", "class 1000", "class 1001"} < set(labels)
    at = labels.index
    assert shares[at("class 5"), at("class 900")] == pytest.approx(90 / 96)
    assert shares[at("class 7"), -1] == pytest.approx(80 / 88) and shares[-1, at("class 30")] == 1
    assert shares[at("1143 other classes"), at("1143 other classes")] == 1
    confusion[:60, -1] = 99  # these are drawn one by one
    confusion[100, 101] = 3
    save_confusion_matrix(Review((), confusion, names, 0.5), tmp_path / "confusion.png")
    assert drawn.pop()[0].get_yticklabels()[-2].get_text() == "1143 other classes (63 mixed up)"
    few = Review((), np.array([[0, 0, 0], [0, 2, 1], [0, 0, 0]]), ("absent", "seen"), 0.5)
    save_confusion_matrix(few, tmp_path / "few.png")
    assert drawn[1][1].tolist() == [[2 / 3, 1 / 3], [0, 0]]


@pytest.mark.parametrize("classes, panels", [(1, (5, 8)), (2, (6, 10))])
def test_balancing_weights_are_drawn_where_they_were_learned(tmp_path, classes, panels, monkeypatch):
    """Two rows of panels; a training of one class has no class loss, but its weight."""
    each = [f"{loss}_{level}" for loss in LOSSES for level in LEVELS]
    logged = [name for name in each if classes > 1 or not name.startswith("class")]
    columns = ["epoch", *logged, *(f"w_{name}" for name in each), "learning_rate"]
    columns += ["box_AP", "box_AP50", "mask_AP", "mask_AP50"]
    widths, markers, plot = [], set(), Axes.plot
    watch = lambda axes, *a, **more: markers.add(more["marker"]) or plot(axes, *a, **more)  # noqa: E731
    monkeypatch.setattr(Axes, "plot", watch)
    for weight in ("0.0", "0.25"):
        row = [weight if name.startswith("w_") else "nan" if "AP" in name else "1.0" for name in columns]
        table = tmp_path / "results.csv"
        table.write_text(",".join(columns) + "\n" + ",".join(row) + "\n")
        save_curves(table, tmp_path / "curves.png")
        widths.append(cv2.imread(str(tmp_path / "curves.png")).shape[1])
    assert markers == {"o"}, "of a single epoch no line could be seen"
    assert widths == [360 * ((count + 1) // 2) for count in panels]


def test_the_report_holds_every_picture_and_number(tmp_path):
    dataset = make_dataset()
    detector = KnowingDetector(dataset, false=2)
    evaluation = evaluate_in_detail(MODEL, dataset, detector=detector, batch_size=2, progress=False)
    dataset.records[0] = replace(dataset.records[0], frame_of=("walk", 7))
    cv2.imwrite(str(tmp_path / "extra.png"), np.zeros((8, 8, 3), np.uint8))
    # a threshold that lets the false detections in, so that there is something to review
    evaluation.metrics["best_f1_threshold"] = 0.1
    pictures = [("extra.png", "An <extra> picture."), ("absent.png", "Not there.")]
    path = write_report(tmp_path, evaluation, dataset, "a <run>", ["noted"], pictures)
    page = path.read_text(encoding="utf-8")
    drawn = ("pr_curve.png", "f1_curve.png", "confusion_matrix.png", "worst_pictures.jpg")
    assert all((tmp_path / name).stat().st_size > 1000 for name in drawn)
    assert page.count("<img src='data:image/") == 5 and "http" not in page and "src='data" in page
    assert "a &lt;run&gt;" in page and "An &lt;extra&gt; picture." in page and "Not there." not in page
    assert "of 4 objects 4 were found, 0 taken for another class, 0 missed; 10 detections" in page
    assert "<td>walk 7</td>" in page, "pictures are named by what they are found by"
    scored = evaluation.scorer(evaluation.ground_truth, evaluation.results, kinds=("segm",)).metrics
    assert scored["segm"] == evaluation.metrics["segm"] and scored["bbox"]["AP"] == -1
    mask_ap = f"{evaluation.metrics['segm']['AP']:.3f}"
    assert re.search(rf"<td>masks</td><td>{mask_ap}</td>", page)
    assert "pictures with 1 object (" in page and "pictures with 2 to 4 objects (" in page


def test_label_plot_of_letterboxed_boxes(tmp_path):
    square = np.array([[0, 0], [10, 0], [10, 20], [0, 20]], np.float32)
    annotations = (
        Annotation(0, (square,), (0, 0, 10, 20), 200.0),
        Annotation(1, (square,), (0, 0, 10, 20), 200.0, crowd=True),
    )
    record = Record(1, lambda: np.zeros((50, 100, 3), np.uint8), 50, 100, annotations)
    empty = Record(2, lambda: np.zeros((50, 100, 3), np.uint8), 50, 100)
    dataset = Dataset("two", ("a", "b"), (1, 2), [record, empty])
    boxes, counts = letterboxed_boxes(dataset, (64, 64))
    assert boxes == pytest.approx(np.array([[0, 16, 6.4, 28.8]])) and counts.tolist() == [1, 0]
    save_label_plot(dataset, (64, 64), tmp_path / "labels.png", np.array([[5.0, 5.0]]))
    assert cv2.imread(str(tmp_path / "labels.png")).std() > 5
    save_label_plot(Dataset("none", ("a",), (1,), [empty]), (64, 64), tmp_path / "none.png")
