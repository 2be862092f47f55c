"""The model as a file, its proposals against NumPy, and what goes wrong with files."""

import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from keras import ops

import yoloseg
from yoloseg.errors import UsageError, WeightsError
from yoloseg.modeling.architecture import LEVELS, STRIDES
from yoloseg.modeling.detector import Detector
from yoloseg.modeling.network import FORMAT_VERSION, YoloSeg, save_model

ANCHORS = [[(stride * 1.5, stride * 2.5), (stride * 3, stride * 2)] for stride in STRIDES]
CLASSES = ("bear", "otter", "tiger")
IMGSZ = (64, 96)


def make_model(seed=0, **options):
    """Random weights that see something: livelier heads, so that scores, boxes and classes differ."""
    keras.utils.set_random_seed(seed)
    model = YoloSeg("n", options.pop("classes", CLASSES), ANCHORS, IMGSZ, **options)
    for layer in model.network.layers:
        part = layer.name.split("_")[-1]
        if part in ("boxes", "objectness", "classes"):
            kernel, bias = layer.get_weights()
            scale = {"boxes": 3, "objectness": 8, "classes": 20}[part]
            layer.set_weights([kernel * scale, bias * 0])
    return model


def pictures(count=1):
    return np.random.default_rng(5).integers(0, 256, (count, *IMGSZ, 3)).astype(np.uint8)


def to_numpy(values):
    return keras.tree.map_structure(ops.convert_to_numpy, values)


@pytest.fixture(scope="module")
def model():
    return make_model(score_threshold=0.125)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model.keras"
    save_model(model, path)
    return path


RELOAD = """
import sys, warnings
warnings.simplefilter("error")
import numpy as np, keras, yoloseg
model = yoloseg.load(sys.argv[1])
images = np.load(sys.argv[2])
outputs = model(images)
found = {f"{level}/{name}": keras.ops.convert_to_numpy(outputs[level][name])
         for level in outputs for name in outputs[level]}
embeddings = [outputs[level]["embedding"] for level in outputs]
rois = np.float32([[[3, 4, 40, 50], [10, 0, 96, 64]]])
found["masks"] = keras.ops.convert_to_numpy(model.mask_logits(embeddings, rois))
found["config"] = np.array([repr(model.get_config())])
found["scale"] = np.array(model.network.get_layer("rescale").scale)
np.savez(sys.argv[3], **found)
"""


def test_reloads_bit_equal_in_a_fresh_process(model, saved, tmp_path):
    images = pictures()
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", RELOAD, saved, tmp_path / "images.npy", tmp_path / "found.npz"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    found = np.load(tmp_path / "found.npz")
    outputs = model(images)
    for level in LEVELS:
        for name, values in to_numpy(outputs[level]).items():
            np.testing.assert_array_equal(found[f"{level}/{name}"], values)
            assert values.std() > 0
    rois = np.float32([[[3, 4, 40, 50], [10, 0, 96, 64]]])
    masks = to_numpy(model.mask_logits([outputs[level]["embedding"] for level in LEVELS], rois))
    np.testing.assert_array_equal(found["masks"], masks)
    assert masks.std() > 0
    assert str(found["config"][0]) == repr(model.get_config())
    assert found["scale"] == 1 / 255


def test_a_file_carries_all_that_predictions_need(saved):
    loaded = yoloseg.load(saved)
    assert loaded.classes == CLASSES
    assert loaded.anchors == tuple(tuple((float(w), float(h)) for w, h in level) for level in ANCHORS)
    assert loaded.imgsz == IMGSZ
    assert loaded.score_threshold == 0.125
    assert loaded.format_version == FORMAT_VERSION
    assert loaded.size == "n"
    assert [path.name for path in saved.parent.iterdir()] == ["model.keras"]


def test_other_options_reload(tmp_path):
    model = make_model(
        classes_per_anchor=False, two_stage_nms=False, nms_iou=0.3, candidates=50, max_detections=300
    )
    save_model(model, tmp_path / "m.keras")
    loaded = yoloseg.load(tmp_path / "m.keras")
    assert loaded.get_config() == model.get_config() and loaded.max_detections == 300
    for one, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(one), to_numpy(other))


# What is no weights file


def rewrite(source, path, change):
    """Copies a `.keras` file; change(config, files) may alter its config and the bytes of its members."""
    with zipfile.ZipFile(source) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(files["config.json"])
    change(document, files)
    files["config.json"] = json.dumps(document).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def refused(path, *words):
    with pytest.raises(WeightsError) as caught:
        yoloseg.load(path)
    for word in (path.name, *words):
        assert word in str(caught.value)


def test_missing_file(tmp_path):
    refused(tmp_path / "none.keras", "no such weights file")
    refused(tmp_path, "no such weights file")


@pytest.mark.parametrize("content", [b"", b"epoch 1\n", b"<!DOCTYPE html><title>404</title>", b"PK\x03\x04"])
def test_files_that_are_something_else(content, tmp_path):
    path = tmp_path / "w.keras"
    path.write_bytes(content)
    refused(path, "truncated or no .keras file")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_file(share, saved, tmp_path):
    content = saved.read_bytes()
    (tmp_path / "w.keras").write_bytes(content[: int(share * len(content))])
    refused(tmp_path / "w.keras", "truncated")


def test_damaged_weights(saved, tmp_path):
    content = bytearray(saved.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = bytes(1000)
    (tmp_path / "w.keras").write_bytes(content)
    refused(tmp_path / "w.keras")


def test_truncated_weights_within_the_zip(saved, tmp_path):
    def change(_, files):
        files["model.weights.h5"] = files["model.weights.h5"][:5000]

    refused(rewrite(saved, tmp_path / "w.keras", change))


def test_zip_files_that_hold_no_model(saved, tmp_path):
    path = tmp_path / "w.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    refused(path, "holds no Keras model")
    for content in ("not json", "[]", "{}", '{"registered_name": "yoloseg>YoloSeg", "config": 3}'):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", content)
        refused(path, "holds no Keras model")

    def without_weights(_, files):
        del files["model.weights.h5"]

    refused(rewrite(saved, path, without_weights))


def test_another_keras_model(tmp_path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "w.keras")
    refused(tmp_path / "w.keras", "Sequential", "not a YoloSeg network")


@pytest.mark.parametrize(("version", "advice"), [(FORMAT_VERSION + 1, "update yoloseg"), (None, "anew")])
def test_other_format_version(version, advice, saved, tmp_path):
    def change(document, _):
        document["config"]["format_version"] = version

    refused(rewrite(saved, tmp_path / "w.keras", change), f"model format {version}", advice)


def test_weights_of_other_shapes_name_layer_and_sizes(saved, tmp_path):
    def more_classes(document, _):
        document["config"]["classes"] = list("abcde")

    path = rewrite(saved, tmp_path / "w.keras", more_classes)
    refused(path, "P2_classes", "(1, 1, 64, 6)", "(1, 1, 64, 10)", "5 classes")

    def other_size(document, _):
        document["config"]["size"] = "s"

    refused(rewrite(saved, tmp_path / "v.keras", other_size), "stem_conv", "(3, 3, 3, 8)", "(3, 3, 3, 16)")


def test_config_of_no_network(saved, tmp_path):
    def change(document, _):
        document["config"]["size"] = "xxl"

    refused(rewrite(saved, tmp_path / "w.keras", change), "xxl")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("x", CLASSES, ANCHORS, IMGSZ), "size 'x'"),
        (("n", (), ANCHORS, IMGSZ), "at least one class"),
        (("n", CLASSES, ANCHORS[:3], IMGSZ), "4 lists"),
        (("n", CLASSES, [*ANCHORS[:3], ANCHORS[3][:1]], IMGSZ), "equally many"),
        (("n", CLASSES, [[]] * 4, IMGSZ), "equally many"),
        (("n", CLASSES, [*ANCHORS[:3], [(5, 0), (3, 3)]], IMGSZ), "positive"),
        (("n", CLASSES, [*ANCHORS[:3], [(5, 5), (float("nan"), 3)]], IMGSZ), "positive"),
        (("n", CLASSES, ANCHORS, (416, 400)), "multiples of 32"),
        (("n", CLASSES, ANCHORS, (0, 32)), "multiples of 32"),
        (("n", CLASSES, ANCHORS, (416,)), "multiples of 32"),
    ],
)
def test_networks_that_cannot_be_built(arguments, word):
    with pytest.raises(UsageError, match=word):
        YoloSeg(*arguments)


# Proposals


def iou(p, q):
    sides = np.maximum(np.minimum(p[2:], q[2:]) - np.maximum(p[:2], q[:2]), 0)
    overlap = sides[0] * sides[1]
    return overlap / max((p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1]) - overlap, 1e-6)


def greedy(found, threshold):
    """found: list of (score, box, class, level). What greedy suppression keeps, best first."""
    kept = []
    for one in sorted(found, key=lambda one: -one[0]):
        if one[0] > 0 and all(iou(one[1], other[1]) <= threshold for other in kept):
            kept.append(one)
    return kept


def reference_proposals(outputs, image, model, candidates, of_all_levels):
    """Decoding and two-stage suppression of one picture, cell by cell."""
    survivors = []
    for i, (level, stride) in enumerate(zip(LEVELS, STRIDES, strict=True)):
        dense = {name: values[image].astype(float) for name, values in outputs[level].items()}
        found = []
        for row, column in np.ndindex(dense["boxes"].shape[:2]):
            for a, (wa, ha) in enumerate(model.anchors[i]):
                score, kind = 1 / (1 + np.exp(-dense["objectness"][row, column, a])), 0
                if "classes" in dense:
                    shape = (2, -1) if model.classes_per_anchor else (1, -1)
                    logits = dense["classes"][row, column].reshape(shape)[a if shape[0] == 2 else 0]
                    probabilities = np.exp(logits) / np.exp(logits).sum()
                    score, kind = score * probabilities.max(), int(probabilities.argmax())
                tx, ty, tw, th = dense["boxes"][row, column, 4 * a : 4 * a + 4]
                x, y = (column + 0.5) * stride + tx * wa, (row + 0.5) * stride + ty * ha
                w, h = wa * np.exp(np.clip(tw, -4, 4)), ha * np.exp(np.clip(th, -4, 4))
                box = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
                box = np.clip(box, 0, [IMGSZ[1], IMGSZ[0]] * 2)
                found.append((score, box, kind, i))
        found = sorted(found, key=lambda one: -one[0])[:candidates]
        sides = [one[1][2:] - one[1][:2] for one in found]
        consistent = [s.min() >= 5e-4 * min(IMGSZ) and s.min() >= 1e-3 * s.max() for s in sides]
        found = [one for one, fine in zip(found, consistent, strict=True) if fine]
        survivors += greedy(found, model.nms_iou) if model.two_stage_nms else found
    survivors = sorted(survivors, key=lambda one: -one[0])[:of_all_levels]
    return greedy(survivors, model.nms_iou)


@pytest.mark.parametrize(
    "options",
    [{}, {"classes_per_anchor": False}, {"classes": ("one",)}, {"two_stage_nms": False}],
    ids=["default", "classes a cell", "one class", "one stage"],
)
def test_proposals_are_those_of_plain_loops(options):
    model = make_model(seed=3, nms_iou=0.4, candidates=70, **options)
    outputs = model(pictures(2))
    assert [model.budget(slots) for slots in (60, 100, 120)] == [(70, 280), (100, 400), (480, 480)]
    many, few = (to_numpy(model.propose(outputs, slots)) for slots in (120, 60))
    outputs = to_numpy(outputs)
    for image, slots in ((0, 60), (1, 60), (0, 120)):
        found = few if slots == 60 else many
        expected = reference_proposals(outputs, image, model, *model.budget(slots))[:slots]
        count = len(expected)
        assert 10 < count
        scores = [one[0] for one in expected]
        np.testing.assert_allclose(found["scores"][image, :count], scores, rtol=1e-4)
        assert (found["scores"][image, count:] == 0).all()
        np.testing.assert_allclose(found["boxes"][image, :count], [one[1] for one in expected], atol=1e-2)
        np.testing.assert_array_equal(found["classes"][image, :count], [one[2] for one in expected])
        np.testing.assert_array_equal(found["levels"][image, :count], [one[3] for one in expected])


def test_boxes_are_cut_at_the_border_of_the_region(model):
    images = pictures(2)
    regions = np.array([[0, 0, 96, 64], [10, 20, 50, 40]], np.float32)
    found = Detector(model).detect(images, 0.0, 30, regions)
    everywhere = Detector(model).detect(images, 0.0, 30)
    for slot, (x0, y0, x1, y1) in enumerate(regions):
        boxes = found["boxes"][slot][: found["count"][slot]]
        assert len(boxes) > 5
        assert (boxes[:, :2] >= [x0, y0]).all() and (boxes[:, 2:] <= [x1, y1]).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()  # nothing that lies in the padding alone
    np.testing.assert_array_equal(found["boxes"][0], everywhere["boxes"][0])
    assert (everywhere["boxes"][1][:, 0] < 10).any()


# The detector


def test_detector_pays_only_for_masks_above_the_threshold(model):
    detector = Detector(model)
    images = pictures(2)
    everything = detector.detect(images, 0.0, 20)
    threshold = float(np.sort(everything["scores"].ravel())[-7])
    found = detector.detect(images, threshold, 20)
    np.testing.assert_array_equal(found["count"], (everything["scores"] >= threshold).sum(1))
    assert found["count"].sum() == 7
    embeddings = detector.propose(images, 20)["embeddings"]
    for image, count in enumerate(found["count"]):
        masks = found["masks"][image]
        assert masks.shape == (count, 28, 28) and masks.dtype == np.float32
        one = [level[image : image + 1] for level in embeddings]
        logits = to_numpy(model.mask_logits(one, found["boxes"][image : image + 1, :count]))[0]
        np.testing.assert_allclose(masks, 1 / (1 + np.exp(-logits)), atol=1e-5)
    nothing = detector.detect(images, 1.1, 20)
    assert list(nothing["count"]) == [0, 0] and nothing["masks"][1].shape == (0, 28, 28)


def test_a_batch_is_its_single_pictures(model):
    detector = Detector(model)
    images = pictures(2)
    both = detector.detect(images, 0.2, 15)
    for image in range(2):
        one = detector.detect(images[image : image + 1], 0.2, 15)
        for name in ("boxes", "scores", "classes", "count"):
            np.testing.assert_allclose(both[name][image], one[name][0], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(both["masks"][image], one["masks"][0], atol=1e-4)
        assert len(one["masks"][0]) > 0
