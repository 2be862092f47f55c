"""Darknet's detectors as exported files: in each format the boxes that `DarknetDetector.find` finds."""

import json
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from exports import PICTURE, operators
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent / "references"))
from darknet_graphs import Cfg, random_weights

import yoloseg
from yoloseg import darknet, export
from yoloseg.darknet import decode, decode_ops
from yoloseg.darknet.plan import Yolo
from yoloseg.data.records import Dataset
from yoloseg.errors import UsageError
from yoloseg.exporting import export_model
from yoloseg.exporting.box_graph import BoxGraph
from yoloseg.exporting.stretch import stretch_frames
from yoloseg.inference.exported import SavedModelFile

IMGSZ = (64, 96)
CLASSES = ("a", "b", "c")
SLOTS = 40
# landscape, portrait, and of the network's own size
PICTURES = [PICTURE, np.ascontiguousarray(PICTURE[:, :70]), np.ascontiguousarray(PICTURE[40:104, 20:116])]
FILES = {
    ("stretched", "savedmodel"): "saved",
    ("stretched", "litert"): "x.tflite",
    ("stretched", "onnx"): "x.onnx",
    ("letterboxed", "litert"): "x.tflite",
}


def stretched():
    """Two heads of YOLOv4's kind, pools and grouped convolutions."""
    cfg = Cfg(*IMGSZ)
    cfg.conv(8, 3, 2)
    cfg.conv(16, 3, 2, activation="mish", groups=8)
    whole = cfg.conv(16, 3, 2, groups=2)
    pools = [cfg.maxpool(5), cfg.maxpool(2)]
    cfg.route(whole, groups=2, group_id=1)
    fine = cfg.route(cfg.conv(16, 1), *pools)
    cfg.conv(24, 1, activation="linear", normalised=False)
    cfg.yolo("0,1,2", 3, 1.2)
    cfg.route(fine)
    cfg.maxpool(3, 2)
    cfg.conv(24, 1, activation="linear", normalised=False)
    cfg.yolo("3,4,5", 3, 1.05, nms_kind="diounms", beta_nms=0.6)
    return cfg


def letterboxed():
    """A shortcut and an upsampled map; decoded as YOLOv4-CSP does."""
    cfg = Cfg(*IMGSZ)
    cfg.text[0] += "letter_box=1\n"
    cfg.conv(8, 3, 2)
    cfg.conv(8, 3, 2, activation="swish")
    first = cfg.conv(8, 3, 2)
    cfg.conv(8, 3)
    fine = cfg.shortcut(first)
    cfg.maxpool(2, 2)
    small = cfg.conv(8, 1)
    cfg.route(cfg.upsample(), fine)
    cfg.conv(24, 1, activation="logistic", normalised=False)
    cfg.yolo("0,1,2", 3, 2.0, new_coords=1)
    cfg.route(small)
    cfg.conv(24, 1, activation="logistic", normalised=False)
    cfg.yolo("3,4,5", 3, 2.0, new_coords=1, nms_kind="greedynms")
    return cfg


def written(cfg, folder):
    """x.weights, beside x.cfg and x.names."""
    (folder / "x.cfg").write_text(str(cfg))
    (folder / "x.names").write_text("\n".join(CLASSES))
    (folder / "x.weights").write_bytes(random_weights(cfg, 8))
    return folder / "x.weights"


@pytest.fixture(scope="module")
def detectors(tmp_path_factory):
    """Thresholds leave twenty boxes in PICTURE."""
    made = {}
    for cfg in (stretched, letterboxed):
        detector = darknet.load_beside(written(cfg(), tmp_path_factory.mktemp(cfg.__name__)))
        scores = detector.find([PICTURE], 0.0, 100)[0].scores
        detector.score_threshold = float(scores[19] + scores[20]) / 2
        made[cfg.__name__] = detector
    return made


@pytest.fixture(scope="module")
def files(detectors, tmp_path_factory):
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in detectors}
    return {
        (kind, format): export_model(detectors[kind], folders[kind] / name, format, max_detections=SLOTS)
        for (kind, format), name in FILES.items()
    }


def same(found, expected, pixels=0.01, score=1e-4):
    """Boxes whose scores differ by less than the tolerance may have changed places."""
    assert len(found) == len(expected) and (np.diff(found.scores) <= 0).all()
    assert found.masks.shape == expected.masks.shape and (found.masks == expected.masks.max()).all()
    left = np.ones(len(found), bool)
    for box, value, number in zip(expected.boxes, expected.scores, expected.class_ids, strict=True):
        near = (np.abs(found.boxes - box) <= pixels).all(1) & (np.abs(found.scores - value) <= score)
        near = np.nonzero(near & (found.class_ids == number) & left)[0]
        assert len(near), (box, value, number)
        left[near[0]] = False


@pytest.mark.parametrize(("kind", "format"), FILES)
def test_files_find_what_the_detector_finds(kind, format, detectors, files):
    detector, loaded = detectors[kind], yoloseg.load(files[kind, format])
    assert loaded.classes == CLASSES and loaded.imgsz == IMGSZ and not loaded.masks
    threshold = loaded.score_threshold
    assert threshold == detector.score_threshold
    for picture in PICTURES:
        found, expected = (f.find([picture], threshold, SLOTS)[0] for f in (loaded, detector))
        assert len(expected) > 5 and len(set(expected.class_ids)) > 1
        # LiteRT's file has its pictures letterboxed outside, on a grey that is half a level lighter
        apart = kind == "letterboxed" and format == "litert" and picture.shape[:2] != IMGSZ
        same(found, expected, *((0.5, 2e-3) if apart else ()))
    assert len(loaded.find([PICTURE], threshold, 3)[0]) == 3
    assert len(loaded.find([PICTURE], 1.0, 3)[0]) == 0
    result = yoloseg.Predictor(loaded).predict_image(PICTURE)
    assert len(result) == 20 and set(result.class_names) <= set(CLASSES)
    assert result.draw().shape == PICTURE.shape


def test_batches_and_encoded_pictures(detectors, files):
    frames, detector = np.stack([PICTURE, PICTURE[::-1]]), detectors["stretched"]
    model = tf.saved_model.load(str(files["stretched", "savedmodel"]))
    assert set(model.signatures) == {"serving_default", "encoded"}
    both = model.signatures["serving_default"](frames=tf.constant(frames))
    content = [tf.io.encode_png(picture) for picture in PICTURES]
    encoded = model.signatures["encoded"](image_bytes=tf.constant([png.numpy() for png in content]))
    for found, pictures in ((both, frames), (encoded, PICTURES)):
        for i, expected in enumerate(detector.find(list(pictures), detector.score_threshold, SLOTS)):
            count = int(found["num_detections"][i])
            assert count == len(expected)
            np.testing.assert_allclose(found["scores"][i, :count], expected.scores, atol=1e-4)
            np.testing.assert_array_equal(found["classes"][i, :count], expected.class_ids)
            np.testing.assert_allclose(found["boxes"][i, :count], expected.boxes, atol=0.01)
            assert not any(np.any(found[name][i, count:]) for name in ("boxes", "scores", "classes"))
    session = yoloseg.load(files["stretched", "onnx"])._session
    names = [output.name for output in session.get_outputs()]
    for name, values in zip(names, session.run(names, {"frames": frames}), strict=True):
        np.testing.assert_allclose(values, both[name], atol=0.01)


def test_letterboxing_in_the_graph(detectors):
    detector = detectors["letterboxed"]
    graph = BoxGraph(detector, SLOTS, detector.score_threshold)
    for picture in PICTURES:
        expected, found = detector.find([picture], detector.score_threshold, SLOTS)[0], graph(picture[None])
        count = int(found["num_detections"][0])
        assert count == len(expected) > 5
        np.testing.assert_allclose(found["boxes"][0, :count], expected.boxes, atol=0.01)
        np.testing.assert_allclose(found["scores"][0, :count], expected.scores, atol=1e-4)
        np.testing.assert_array_equal(found["classes"][0, :count], expected.class_ids)


def test_nothing_found(detectors):
    found = BoxGraph(detectors["stretched"], SLOTS, 0.9999)(PICTURE[None])
    assert found["boxes"].shape == (1, SLOTS, 4)
    assert not any(np.any(values) for values in found.values())


def test_a_single_head(tmp_path):
    cfg = Cfg(*IMGSZ)
    cfg.conv(8, 3, 2)
    cfg.conv(24, 1, activation="linear", normalised=False)
    cfg.yolo("0,1,2", 3, 1.0)
    detector = darknet.load_beside(written(cfg, tmp_path))
    expected = detector.find([PICTURE], 0.1, SLOTS)[0]
    found = BoxGraph(detector, SLOTS, 0.1)(PICTURE[None])
    assert int(found["num_detections"][0]) == len(expected) == SLOTS
    np.testing.assert_allclose(found["boxes"][0], expected.boxes, atol=0.01)


def test_metadata(files):
    with zipfile.ZipFile(files["stretched", "litert"]) as archive:
        document = json.loads(archive.read("metadata.json"))
    assert document["masks"] is False and "masks" not in document["outputs"]
    assert document["input"]["stretched"] is True and document["cfg"] == "x.cfg"
    with zipfile.ZipFile(files["letterboxed", "litert"]) as archive:
        document = json.loads(archive.read("metadata.json"))
    assert document["input"]["stretched"] is False and "127.5" in document["input"]["letterbox"]


def test_files_of_earlier_versions_have_masks(files):
    path = files["stretched", "savedmodel"] / "assets.extra" / "metadata.json"
    document = json.loads(path.read_text())
    del document["masks"]
    path.write_text(json.dumps(document))
    assert SavedModelFile(path.parents[1]).masks


SHAPES = [(64, 96), (128, 192), (48, 64), (33, 50), (150, 60), (1, 400), (300, 2), (480, 640), (720, 1281)]


def test_stretching_in_the_graph_is_opencvs():
    """For frames of any size and of one, which are different graphs."""
    any_size = tf.function(
        lambda frames: stretch_frames(frames, IMGSZ),
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)],
    )
    rng = np.random.default_rng(0)
    for height, width in SHAPES:
        frame = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        expected = cv2.resize(frame, IMGSZ[::-1], interpolation=cv2.INTER_LINEAR).astype(int)
        for images, place in (any_size(frame[None]), stretch_frames(tf.constant(frame[None]), IMGSZ)):
            difference = np.abs(images[0].numpy() - expected)
            assert difference.max() <= 1, (height, width)
            assert (difference > 0).mean() < 1e-3  # exact on x86
            np.testing.assert_allclose(place.to_frame(place.region[:, None])[0], [[0, 0, width, height]])


@pytest.mark.parametrize("new_coords", [False, True])
def test_decoding_is_numpys(new_coords):
    """Of two pictures and two heads, all pairs of box and class above a threshold."""
    rng, imgsz, heads, outputs = np.random.default_rng(0), (96, 128), [], []
    for rows, columns, anchors in ((6, 8, ((10, 20), (30, 15))), (3, 4, ((60, 50), (20, 90), (9, 9)))):
        shape = (2, rows, columns, len(anchors) * 9)
        heads.append(Yolo(0, (0,), shape[1:], anchors, 4, 1.2, new_coords, "greedynms", 0.6))
        outputs.append((rng.random(shape) if new_coords else rng.normal(0, 2, shape)).astype(np.float32))
    outputs[0][0, 0, 0, 2:5] = 1e30  # of a network gone astray
    decoded = [decode_ops.decode(output, head, imgsz) for output, head in zip(outputs, heads, strict=True)]
    boxes, scores = (np.concatenate(parts, 1) for parts in zip(*decoded, strict=True))
    for picture in range(2):
        parts = [
            decode.candidates(output[picture], head, imgsz, 0.2)
            for output, head in zip(outputs, heads, strict=True)
        ]
        expected = [np.concatenate(values) for values in zip(*parts, strict=True)]
        box, number = np.nonzero(scores[picture] >= 0.2)
        assert len(box) == len(expected[1]) > 20
        np.testing.assert_array_equal(number, expected[2])
        np.testing.assert_allclose(scores[picture, box, number], expected[1], rtol=1e-5)
        np.testing.assert_allclose(boxes[picture, box], expected[0], rtol=1e-5, atol=1e-6)


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 4), st.integers(1, 140))
@settings(max_examples=30)
def test_best_pairs_are_the_best(seed, boxes, kinds, limit):
    rng = np.random.default_rng(seed)
    corners, scores = rng.random((2, boxes, 4), np.float32), rng.random((2, boxes, kinds), np.float32)
    found = {k: np.asarray(v) for k, v in decode_ops.best_pairs(corners, scores, limit).items()}
    count = min(limit, boxes * kinds)
    assert found["scores"].shape == (2, count)
    for picture in range(2):
        order = np.argsort(-scores[picture], axis=None)[:count]
        np.testing.assert_array_equal(found["scores"][picture], scores[picture].ravel()[order])
        np.testing.assert_array_equal(found["classes"][picture], order % kinds)
        np.testing.assert_array_equal(found["boxes"][picture], corners[picture][order // kinds])


@given(
    st.integers(0, 2**32), st.sampled_from(["default", "diounms"]), st.integers(1, 3), st.integers(1, 60)
)
@settings(max_examples=30)
def test_suppression_is_numpys(seed, nms_kind, kinds, limit):
    """On a grid of a 64th, where overlaps are the same numbers in both."""
    rng, count = np.random.default_rng(seed), 40
    corner = rng.integers(0, 40, (2, count, 2))
    boxes = np.concatenate([corner, corner + rng.integers(1, 30, (2, count, 2))], 2).astype(np.float32) / 64
    scores = -np.sort(-rng.random((2, count), np.float32))
    scores[1, 30:] = 0
    classes = rng.integers(0, kinds, (2, count)).astype(np.int32)
    found = {"boxes": boxes, "scores": scores, "classes": classes}
    found = {k: np.asarray(v) for k, v in decode_ops.suppress(found, nms_kind, 0.6, limit).items()}
    for picture, filled in enumerate((40, 30)):
        parts = (values[picture, :filled] for values in (boxes, scores, classes))
        kept = decode.suppress(*parts, nms_kind, 0.6, limit)
        assert (found["scores"][picture] > 0).sum() == len(kept)
        np.testing.assert_array_equal(found["scores"][picture, : len(kept)], scores[picture, kept])
        np.testing.assert_array_equal(found["classes"][picture, : len(kept)], classes[picture, kept])
        np.testing.assert_array_equal(found["boxes"][picture, : len(kept)], boxes[picture, kept])


def test_the_command(tmp_path, capsys):
    """In float16, with another network input than the cfg's."""
    weights, path = written(stretched(), tmp_path), tmp_path / "a.tflite"
    arguments = ["--weights", str(weights), "--format", "litert", "--out", str(path), "--imgsz", "64"]
    assert export.main([*arguments, "--precision", "float16", "--threshold", "0.3"]) == 0
    assert f"written: {path}" in capsys.readouterr().out
    assert ("DEQUANTIZE", ["FLOAT16"]) in operators(path)
    loaded = yoloseg.load(path)
    assert loaded.imgsz == (64, 64) and loaded.max_detections == 100 and loaded.score_threshold == 0.3
    detector = darknet.load_beside(weights, (64, 64))
    found, expected = (finder.find([PICTURE], 0.3, 10)[0] for finder in (loaded, detector))
    same(found, expected, 0.3, 2e-3)


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"raw": True}, "--raw is for networks of yoloseg, not for Darknet's"),
        ({"precision": "int8"}, "precision int8 is for networks of yoloseg, not for Darknet's"),
        ({"max_detections": 1001}, "max_detections must lie in 1..1000"),
        ({"threshold": -0.5}, "0..1"),
    ],
)
def test_what_cannot_be_exported(options, message, detectors, tmp_path):
    with pytest.raises(UsageError, match=message):
        export_model(detectors["stretched"], tmp_path / "a.tflite", "litert", **options)
    pictures = Dataset("many", CLASSES, (1, 2, 3), [None] * 8)
    with pytest.raises(UsageError, match="for networks of yoloseg"):
        export_model(
            detectors["stretched"], tmp_path / "a.tflite", "litert", precision="int8", calibration=pictures
        )
    assert not list(tmp_path.iterdir())


def test_paths_backends_and_frames(detectors, files, tmp_path, monkeypatch):
    (tmp_path / "a.onnx").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        export_model(detectors["stretched"], tmp_path / "a.onnx", "onnx")
    assert (tmp_path / "a.onnx").read_text() == "mine"
    loaded = yoloseg.load(files["stretched", "litert"])
    loaded.frame = (50, 60)
    with pytest.raises(UsageError, match="takes frames of 50 x 60 pixels"):
        loaded.find([PICTURE], 0.5, 10)
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with pytest.raises(UsageError, match="needs the TensorFlow backend, not jax"):
        export_model(detectors["stretched"], tmp_path / "a.tflite", "litert")


def test_weights_without_a_cfg(tmp_path, capsys):
    weights = written(stretched(), tmp_path)
    weights.with_suffix(".cfg").unlink()
    arguments = ["--weights", str(weights), "--format", "onnx", "--out", str(tmp_path / "a.onnx")]
    assert export.main(arguments) == 2
    assert "put it beside them as" in capsys.readouterr().err
    assert not (tmp_path / "a.onnx").exists()
