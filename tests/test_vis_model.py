"""The tracker on a set of clips: ground truth, tracks, scores and the report."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotated import write
from pycocotools import mask as coco_mask

import yoloseg
from yoloseg.data.datafile import load_datasets
from yoloseg.data.instances import Instance
from yoloseg.data.shapes import load_shapes
from yoloseg.errors import DataError, UsageError
from yoloseg.evaluate import main
from yoloseg.evaluation import vis_model
from yoloseg.evaluation.identity import identity_score
from yoloseg.evaluation.track_iou import Track, Tracks
from yoloseg.evaluation.vis_model import evaluate_tracks
from yoloseg.evaluation.vis_report import save_track_plot, track_review, write_vis_report
from yoloseg.inference.exported import ExportedFile
from yoloseg.inference.finder import Found
from yoloseg.inference.predictor import Predictor
from yoloseg.modeling.detector import Detector
from yoloseg.modeling.network import YoloSeg
from yoloseg.modeling.roi_align import roi_align


class Oracle:
    """A Finder that knows the true masks of a set's frames, by their pixels; objects of one class are taken
    for another where `confuse` says so."""

    imgsz = (64, 96)
    score_threshold = 0.5
    max_detections = 100

    def __init__(self, dataset, confuse=None):
        self.classes = dataset.classes
        self.confuse = confuse or {}
        self.known = {dataset.read_image(i).tobytes(): record for i, record in enumerate(dataset.records)}

    def find(self, pictures, score_threshold, max_detections):
        return [self._one(self.known[picture.tobytes()]) for picture in pictures]

    def _one(self, record):
        found = [Instance.from_annotation(one) for one in record.annotations]
        boxes = np.array([one.box(record.height, record.width) for one in found], np.float32).reshape(-1, 4)
        kinds = np.array([self.confuse.get(one.class_index, one.class_index) for one in found], int)
        masks = [one.crop(box, 28) / 255.0 for one, box in zip(found, boxes, strict=True)]
        masks = np.array(masks, np.float32).reshape(-1, 28, 28)
        return Found(boxes, np.full(len(found), 0.9, np.float32), kinds, masks)


@pytest.fixture(scope="module")
def shapes():
    return load_shapes("val", clips=3, frames=8, height=96, width=128)


class Framed(ExportedFile):
    """An exported file that takes frames of 64 x 96 pixels alone."""

    def __init__(self, classes):
        document = {"format": "yoloseg", "format_version": 1, "classes": classes}
        document |= {"input": {"imgsz": [64, 96], "frame": [64, 96]}}
        document |= {"score_threshold": 0, "max_detections": 9}
        super().__init__(Path("framed.onnx"), document)

    def run(self, picture):
        raise AssertionError("no frame is looked at")


def test_a_clip_of_a_size_that_a_file_does_not_take_is_refused_first():
    clips = [load_shapes("val", clips=1, frames=2, height=side, width=96) for side in (64, 96)]
    records = [
        replace(record, frame_of=(f"clip{clip}", number), image_id=10 * clip + number)
        for clip, made in enumerate(clips)
        for number, record in enumerate(made.records)
    ]
    dataset = replace(clips[0], records=records)
    with pytest.raises(UsageError, match="takes frames of 64 x 96 pixels .* not 96 x 96"):
        evaluate_tracks(Framed(dataset.classes), dataset, progress=False)


def test_true_masks_score_nearly_one(shapes, tmp_path):
    evaluation = evaluate_tracks(Oracle(shapes), shapes, progress=False)
    metrics = evaluation.metrics
    assert (metrics["clips"], metrics["frames"]) == (3, 24)
    assert metrics["segm"]["AP50"] > 0.95 and metrics["segm"]["AP"] > 0.6  # grids of 28 x 28 round masks
    assert metrics["identity"]["IDF1"] > 0.95 and metrics["identity"]["switches"] == 0
    truths = [one for one in evaluation.ground_truth["annotations"]]
    assert abs(len(evaluation.results) - len(truths)) <= 2
    page = write_vis_report(tmp_path, evaluation, "tracks of <shapes>").read_text()
    assert "tracks of &lt;shapes&gt;" in page and page.count("data:image/png") == 5
    review = track_review(evaluation.tracks)
    assert review.confusion[:-1, :-1].trace() >= 0.9 * len(truths)


def test_confused_classes_show_in_the_confusion_matrix(shapes):
    confused = shapes.classes.index("disc"), shapes.classes.index("box")
    evaluation = evaluate_tracks(Oracle(shapes, dict([confused])), shapes, progress=False)
    row = track_review(evaluation.tracks).confusion[confused[0]]
    assert row[confused[1]] >= 0.8 * row.sum() > 0
    assert evaluation.metrics["segm"]["per_class"]["disc"]["AP"] == 0


def test_command(shapes, tmp_path, monkeypatch, capsys):
    path = write("youtube-vis", tmp_path)
    content = json.loads((tmp_path / "instances.json").read_text())
    content["annotations"].pop()  # never seen: it counts in the file, not for a reader
    (tmp_path / "instances.json").write_text(json.dumps(content))
    dataset = load_datasets(path, ("val",))["val"]
    monkeypatch.setattr(yoloseg, "load", lambda path: Oracle(dataset))
    flags = ["--task", "vis", "--weights", "w", "--data", str(path), "--out", str(tmp_path / "out")]
    assert main([*flags, "--save-json"]) == 0
    assert "YouTube-VIS metrics" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    results = tmp_path / "out" / "predictions.json"
    again = ["--annotations", str(tmp_path / "instances.json"), "--results", str(results)]
    assert main(["--task", "vis", *again, "--out", str(tmp_path / "again.json")]) == 0
    scored = json.loads((tmp_path / "again.json").read_text())
    for name in ("AP", "AP50", "AR10"):
        assert metrics["segm"][name] == pytest.approx(scored["segm"][name]) and metrics["segm"][name] > 0
    assert (tmp_path / "out" / "report.html").exists()


def test_what_is_no_clip_is_refused(tmp_path, shapes):
    dataset = load_datasets(write("coco", tmp_path), ("train",))["train"]
    with pytest.raises(DataError, match="is no frame of a clip"):
        evaluate_tracks(Oracle(dataset), dataset, progress=False)
    with pytest.raises(UsageError, match="do not know the class 'disc'"):
        evaluate_tracks(Oracle(dataset), shapes, progress=False)


def test_plot_of_no_track(tmp_path):
    save_track_plot({"ground truth": [], "found": []}, {1: "cat"}, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_embeddings_are_weighted_means_of_the_maps():
    model = YoloSeg("n", ("a", "b"), [[(8, 8)], [(16, 16)], [(32, 32)], [(64, 64)]], (64, 96))
    detector = Detector(model)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, 64, 96, 3), np.uint8)
    found = detector.propose(image, 20)
    masks = rng.random((3, 28, 28)).astype(np.float32)
    vectors = detector.embeddings(found, 0, masks)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    weight = masks.reshape(3, 14, 2, 14, 2).mean((2, 4))
    parts = []
    for level, stride in zip(found["embeddings"], (4, 8, 16, 32), strict=True):
        level = level - level.mean((1, 2), keepdims=True)
        cuts = np.asarray(roi_align(level, found["boxes"][:, :3], stride))[0]
        parts.append((cuts * weight[..., None]).sum((1, 2)) / weight.sum((1, 2))[:, None])
    expected = np.concatenate(parts, 1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-4)
    assert detector.embeddings(found, 0, masks[:0]).shape == (0, vectors.shape[1])
    result = Predictor(model, score_threshold=0.0, max_detections=5, embeddings=True).predict_image(image[0])
    assert result.embeddings.shape == (len(result), vectors.shape[1])


def test_tracks_are_written_before_they_are_scored(shapes, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(vis_model, "vis_score", killed)
    path = tmp_path / "predictions.json"
    with pytest.raises(KeyboardInterrupt):
        evaluate_tracks(Oracle(shapes), shapes, progress=False, results_file=path)
    kept = json.loads(path.read_text())
    assert len(kept) == len(
        {(one["video_id"], one["category_id"], str(one["segmentations"])) for one in kept}
    )
    assert {one["video_id"] for one in kept} == {1, 2, 3}


def test_scoring_takes_memory_for_the_pairs_that_meet():
    """Of 40 true and 40 found tracks of 2,000 frames each meets one other; all pairs were 26 MB an array."""
    size = {"size": [8, 8], "counts": coco_mask.encode(np.ones((8, 8), np.uint8, order="F"))["counts"]}
    boxes, area = np.tile([0.0, 0.0, 8.0, 8.0], (2000, 1)), np.full(2000, 64)
    tracks = []
    for k in range(40):
        shown = np.arange(2000) // 50 == k
        masks = tuple(size if one else None for one in shown)
        tracks.append(Track(k + 1, 0.9, False, 64.0, masks, area * shown, boxes * shown[:, None]))
    tracks = Tracks({1: "one"}, {(1, 1): tracks}, {(1, 1): tracks})
    tracemalloc.start()
    numbers = identity_score(tracks)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert numbers["HOTA"] == pytest.approx(1) and numbers["IDF1"] == 1 and numbers["switches"] == 0
    assert peak < 20e6, peak
