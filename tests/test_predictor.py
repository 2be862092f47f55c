"""From network pixels back to picture pixels, and the predict command, with a detector whose answers are
known."""

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

import yoloseg
from yoloseg import predict
from yoloseg.data.datafile import load_datasets
from yoloseg.data.instances import Instance
from yoloseg.data.letterbox import letterbox_matrix
from yoloseg.errors import DataError, UsageError
from yoloseg.inference import keras_finder as finder_module
from yoloseg.inference.exported import ExportedFile
from yoloseg.inference.predictor import Predictor
from yoloseg.inference.sources import Frame, Source, open_source

IMGSZ = (96, 128)
CLASSES = ("bear", "otter", "tiger")
MODEL = SimpleNamespace(classes=CLASSES, imgsz=IMGSZ, score_threshold=0.25, max_detections=3)


class FakeDetector:
    """Finds what `FakeDetector.objects` holds, (score, class, box in network pixels), and remembers its
    inputs."""

    objects = ()

    def __init__(self, model):
        self.model, FakeDetector.seen = model, []

    def detect(self, images, score_threshold, max_detections, regions):
        FakeDetector.seen.append((images, score_threshold, max_detections, regions))
        assert images.dtype == np.uint8 and images.shape == (1, *IMGSZ, 3)
        slots = max_detections
        found = {
            "boxes": np.zeros((1, slots, 4), np.float32),
            "scores": np.zeros((1, slots), np.float32),
            "classes": np.zeros((1, slots), np.int32),
        }
        objects = sorted(self.objects, reverse=True)[:slots]
        for i, (score, kind, box) in enumerate(objects):
            found["scores"][0, i], found["classes"][0, i], found["boxes"][0, i] = score, kind, box
        count = int((found["scores"] >= max(score_threshold, 1e-9)).sum())
        return found | {"count": np.array([count]), "masks": [np.ones((count, 28, 28), np.float32)]}


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    monkeypatch.setattr(finder_module, "Detector", FakeDetector)
    monkeypatch.setattr(FakeDetector, "objects", ())


def through(box, matrix):
    corners = np.array(box).reshape(2, 2)
    return (corners * matrix[[0, 1], [0, 1]] + matrix[:, 2]).ravel()


@pytest.mark.parametrize(("height", "width"), [(480, 640), (100, 400), (400, 100), (33, 47)])
def test_boxes_and_masks_come_back_in_picture_pixels(height, width):
    box = np.array([0.25 * width, 0.5 * height, 0.75 * width, 0.9 * height])
    FakeDetector.objects = [(0.8, 1, through(box, letterbox_matrix(height, width, IMGSZ)))]
    found = Predictor(MODEL).predict_image(np.zeros((height, width, 3), np.uint8), path="a.jpg")
    assert (found.path, found.class_ids.tolist(), found.class_names) == ("a.jpg", [1], ["otter"])
    assert found.boxes.dtype == np.float32
    np.testing.assert_allclose(found.boxes, [box], atol=1e-3)
    y, x = np.mgrid[:height, :width] + 0.5
    inside = (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])
    assert (found.masks[0] & inside).sum() / (found.masks[0] | inside).sum() > 0.9


def test_the_picture_is_letterboxed_and_not_copied():
    image = np.full((100, 400, 3), 255, np.uint8)
    found = Predictor(MODEL, max_detections=7).predict_image(image)
    assert found.image is image and len(found) == 0 and found.masks.shape == (0, 100, 400)
    seen, threshold, slots, regions = FakeDetector.seen[0]
    assert (threshold, slots) == (0.25, 7)
    np.testing.assert_array_equal(regions, [[0, 32, 128, 64]])
    assert (seen[0, 34:62] == 255).all() and (seen[0, :30] == 114).all() and (seen[0, 66:] == 114).all()


def test_boxes_stay_within_the_picture():
    whole = through([0, 0, 333, 200], letterbox_matrix(200, 333, IMGSZ))
    FakeDetector.objects = [(0.8, 0, whole + [-1, -1, 1, 1])]
    found = Predictor(MODEL).predict_image(np.zeros((200, 333, 3), np.uint8))
    np.testing.assert_array_equal(found.boxes, [[0, 0, 333, 200]])


def test_threshold_and_number_of_detections():
    FakeDetector.objects = [(s, 0, [10, 10, 90, 60]) for s in (0.9, 0.5, 0.26, 0.2)]
    image = np.zeros((96, 128, 3), np.uint8)
    assert len(Predictor(MODEL).predict_image(image)) == 3
    assert len(Predictor(MODEL, score_threshold=0.0).predict_image(image)) == 3, "the model's own number"
    assert len(Predictor(MODEL, score_threshold=0.0, max_detections=9).predict_image(image)) == 4
    assert len(Predictor(MODEL, score_threshold=0.4).predict_image(image)) == 2
    assert len(Predictor(MODEL, max_detections=1).predict_image(image)) == 1


@pytest.mark.parametrize(
    "arguments", [{"score_threshold": 1.5}, {"score_threshold": float("nan")}, {"max_detections": 0}]
)
def test_numbers_out_of_range(arguments):
    with pytest.raises(UsageError):
        Predictor(MODEL, **arguments)


def test_calls_take_any_source_and_fail_at_once():
    predictor = Predictor(MODEL)
    found = list(predictor([np.zeros((20, 30, 3), np.uint8), np.zeros((40, 30, 3), np.uint8)]))
    assert [(r.path, r.masks.shape[1:]) for r in found] == [("array0", (20, 30)), ("array1", (40, 30))]
    with pytest.raises(DataError, match="no such file"):
        predictor("nowhere.jpg")
    with pytest.raises(UsageError, match="must be uint8"):
        predictor.predict_image(np.zeros((20, 30), np.uint8))


def test_package_exports():
    assert yoloseg.__version__ == "0.1.0" and yoloseg.Predictor is Predictor and callable(yoloseg.load)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = yoloseg.nonsense


@pytest.fixture
def _loaded(monkeypatch):
    monkeypatch.setattr(yoloseg, "load", lambda path: MODEL)
    FakeDetector.objects = [(0.9, 2, [32, 24, 96, 72])]


def write_picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((96, 128, 3), 114, np.uint8))


@pytest.mark.usefixtures("_loaded")
def test_command_draws_pictures_and_writes_json(tmp_path, capsys):
    for name in ("in/a.png", "in/b/c.png"):
        write_picture(tmp_path / name)
    (tmp_path / "in/broken.png").write_bytes(b"none")
    arguments = [
        "--weights",
        "w.keras",
        "--source",
        f"{tmp_path}/in/**/*.png",
        "--out",
        str(tmp_path / "out"),
    ]
    assert predict.main([*arguments, "--save-json"]) == 0
    printed = capsys.readouterr()
    assert "score threshold 0.25 (stored in w.keras)" in printed.out and "a.png: 1 tiger" in printed.out
    assert "2 pictures, 2 instances: 2 tiger" in printed.out and "ms a picture" in printed.out
    assert "skipped, 1 unreadable" in printed.err and "broken.png" in printed.err
    drawn = cv2.imread(str(tmp_path / "out/b/c.png"))
    assert drawn.shape == (96, 128, 3) and (drawn[48, 64] != 114).any() and (drawn[90, 10] == 114).all()
    content = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["a.png", "b/c.png"]
    assert content["categories"][2] == {"id": 3, "name": "tiger"}
    first = content["annotations"][0]
    assert (first["image_id"], first["category_id"], first["bbox"]) == (1, 3, [32, 24, 64, 48])
    assert first["area"] == coco_mask.decode(first["segmentation"]).sum() > 2800


@pytest.mark.usefixtures("_loaded")
@pytest.mark.parametrize("to", ["coco", "yolo", "labelme"])
def test_predictions_become_labels_to_correct(to, tmp_path, capsys):
    """Read back as a data set, they are what was found."""
    for name in ("in/a.png", "in/b/c.png"):
        write_picture(tmp_path / name)
    arguments = ["--weights", "w.keras", "--source", f"{tmp_path}/in/**/*.png", "--out", f"{tmp_path}/out"]
    assert predict.main([*arguments, "--save-labels", to]) == 0
    assert f"labels: {tmp_path}/out/labels/data.yaml" in capsys.readouterr().out
    dataset = load_datasets(tmp_path / "out" / "labels" / "data.yaml", ("train",))["train"]
    mask = Predictor(MODEL).predict_image(np.full((96, 128, 3), 114, np.uint8)).masks[0]
    assert len(dataset) == 2 and not dataset.problems
    for record in dataset.records:
        (found,) = record.annotations
        assert dataset.classes[found.class_index] == "tiger"
        drawn = Instance.from_annotation(found).rasterise(96, 128) > 0
        assert (drawn & mask).sum() / (drawn | mask).sum() > 0.95
        assert (record.read_image() == 114).all()
    assert predict.main([*arguments, "--save-labels", to]) == 2
    assert "labels exists, or would hold drawings" in capsys.readouterr().err


@pytest.mark.usefixtures("_loaded")
def test_command_turns_a_video_into_a_video(tmp_path, capsys):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12, (131, 97))
    for _ in range(9):
        writer.write(np.full((97, 131, 3), 114, np.uint8))
    writer.release()
    arguments = [
        "--weights",
        "w.keras",
        "--source",
        str(path),
        "--out",
        str(tmp_path / "out"),
        "--conf",
        "0.5",
    ]
    assert predict.main(arguments) == 0
    assert "score threshold 0.5 (--conf)" in capsys.readouterr().out
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["clip.mp4"]
    capture = cv2.VideoCapture(str(tmp_path / "out/clip.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 9 and capture.get(cv2.CAP_PROP_FPS) == pytest.approx(12)
    good, frame = capture.read()
    assert good and frame.shape == (96, 130, 3)
    assert (
        np.abs(frame[48, 65].astype(int) - 114).max() > 20
        and np.abs(frame[90, 5].astype(int) - 114).max() < 15
    )


@pytest.mark.usefixtures("_loaded")
def test_command_leaves_no_half_written_video(tmp_path, monkeypatch):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12, (64, 48))
    for _ in range(5):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    detect = FakeDetector.detect

    def fail_late(self, *arguments):
        if len(FakeDetector.seen) == 3:
            raise RuntimeError("out of memory")
        return detect(self, *arguments)

    monkeypatch.setattr(FakeDetector, "detect", fail_late)
    with pytest.raises(RuntimeError):
        predict.main(["--weights", "w.keras", "--source", str(path), "--out", str(tmp_path / "out")])
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.usefixtures("_loaded")
@pytest.mark.parametrize(
    ("source", "out", "extra", "message"),
    [
        ("in", "in", [], "would overwrite the source"),
        ("gone", "out", [], "gone: no such file or folder"),
        ("in", "out", ["--conf", "2"], "score threshold must lie in 0..1"),
        ("bad", "out", [], "nothing could be read"),
    ],
)
def test_command_refuses_with_one_line(tmp_path, capsys, source, out, extra, message):
    write_picture(tmp_path / "in/a.png")
    for name in ("x.jpg", "y.jpg"):
        (tmp_path / "bad").mkdir(exist_ok=True)
        (tmp_path / "bad" / name).write_bytes(b"")
    arguments = ["--weights", "w.keras", "--source", str(tmp_path / source), "--out", str(tmp_path / out)]
    assert predict.main([*arguments, *extra]) == 2
    assert message in capsys.readouterr().err
    assert sorted(Path(tmp_path / "in").iterdir()) == [tmp_path / "in/a.png"]


class Framed(ExportedFile):
    """An exported file that takes frames of 96 x 128 pixels alone."""

    def __init__(self):
        document = {"format": "yoloseg", "format_version": 1, "classes": CLASSES, "score_threshold": 0}
        sizes = {"imgsz": IMGSZ, "frame": [96, 128]}
        super().__init__(Path("framed.onnx"), document | {"max_detections": 9, "input": sizes})

    def run(self, picture):
        raise AssertionError("no picture is looked at")


def test_a_picture_of_a_size_that_a_file_does_not_take_is_refused_first(tmp_path, capsys, monkeypatch):
    write_picture(tmp_path / "in/a.png")
    assert cv2.imwrite(str(tmp_path / "in/b.png"), np.zeros((50, 70, 3), np.uint8))
    monkeypatch.setattr(yoloseg, "load", lambda path: Framed())
    out = ["--out", str(tmp_path / "out")]
    assert predict.main(["--weights", "framed.onnx", "--source", str(tmp_path / "in"), *out]) == 2
    told = capsys.readouterr().err
    assert "b.png: framed.onnx takes frames of 96 x 128 pixels" in told and "not 50 x 70" in told
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match=r"array1: framed.onnx takes"):
        Predictor(Framed())([np.zeros((96, 128, 3), np.uint8), np.zeros((9, 9, 3), np.uint8)])


def test_drawings_are_named_as_the_sources_are_called(tmp_path):
    """A link has the name that people see, what it leads to may be called by its digest."""
    write_picture(tmp_path / "blobs/3f5a.png")
    (tmp_path / "photos").mkdir()
    for name in ("cat.png", "dog.png"):
        (tmp_path / "photos" / name).symlink_to(tmp_path / "blobs/3f5a.png")
    targets = predict._targets(open_source(tmp_path / "photos"), tmp_path / "out")
    assert list(targets.values()) == [tmp_path / "out/cat.png", tmp_path / "out/dog.png"]
    with pytest.raises(UsageError, match="would overwrite the source"):
        predict._targets(open_source(tmp_path / "photos"), tmp_path / "photos")


def test_files_that_lie_beside_a_source_are_not_overwritten(tmp_path):
    for name in ("clip.mov", "clip.mp4"):
        (tmp_path / name).write_bytes(b"")
    source = Source("video", [str(tmp_path / "clip.mov")], [str(tmp_path / "clip.mov")])
    with pytest.raises(UsageError, match=r"would overwrite .*clip\.mp4"):
        predict._targets(source, tmp_path)
    assert list(predict._targets(source, tmp_path / "out").values()) == [tmp_path / "out/clip.mp4"]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("rtsp://user:secret@host/live", r"rtsp_host_live\.mp4"),
        ("https://host/clip.mp4?Signature=" + "x" * 400, r"https_host_clip\.mp4_\w{8}\.mp4"),
        ("https://host/" + "y" * 400, "https_host_" + "y" * 89 + r"_\w{8}\.mp4"),
    ],
)
def test_recordings_of_streams_have_short_names_without_secrets(address, name):
    for kind in ("camera", "video"):
        (target,) = predict._targets(Source(kind, [address], [address]), Path("out")).values()
        assert target.parent == Path("out") and re.fullmatch(name, target.name)
    channels = [f"rtsp://host/monitor?channel={number}" for number in (1, 2)]
    names = [predict._targets(Source("camera", [one], [one]), Path("out"))[one] for one in channels]
    assert names[0] != names[1], "two channels of one recorder"


@pytest.mark.usefixtures("_loaded")
def test_a_camera_is_recorded_at_the_pace_of_its_clock(tmp_path, capsys, monkeypatch):
    """It gives more than the network can look at: the newest is taken, and the file lasts as long."""

    class Camera(Source):
        def __iter__(self):
            for number in range(60):
                time.sleep(0.005)
                yield Frame("camera0", np.full((48, 64, 3), number, np.uint8), number, number / 30)

    detect = FakeDetector.detect

    def slow(self, *arguments):
        time.sleep(0.04)
        return detect(self, *arguments)

    monkeypatch.setattr(FakeDetector, "detect", slow)
    camera = Camera("camera", ["camera0"], [0], fps={"camera0": 30.0})
    monkeypatch.setattr("yoloseg.inference.sources.open_source", lambda source: camera)
    assert predict.main(["--weights", "w.keras", "--source", "0", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr()
    capture = cv2.VideoCapture(str(tmp_path / "camera0.mp4"))
    seconds = capture.get(cv2.CAP_PROP_FRAME_COUNT) / capture.get(cv2.CAP_PROP_FPS)
    assert 1.4 < seconds < 2.1 and len(FakeDetector.seen) < 40
    assert f"{60 - len(FakeDetector.seen)} frames of the camera came too fast" in told.err


@pytest.mark.usefixtures("_loaded")
def test_feature_maps_of_pictures_that_cannot_be_read(tmp_path, capsys, monkeypatch):
    for name in ("x.jpg", "y.jpg"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr("yoloseg.modeling.network.load_model", lambda path: None)
    monkeypatch.setattr("yoloseg.inference.features.FeatureMaps", lambda model: None)
    arguments = ["--weights", "w.keras", "--source", str(tmp_path), "--out", str(tmp_path / "o")]
    assert predict.main([*arguments, "--features"]) == 2
    told = capsys.readouterr().err
    assert "skipped, 2 unreadable" in told and "nothing could be read" in told
