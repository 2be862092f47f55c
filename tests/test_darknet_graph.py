"""Darknet's layers, graphs and decoding beside OpenCV's DNN, which reads the same files, and beside loops."""

import sys
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import cv2
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent / "references"))
from darknet_graphs import Cfg, random_weights, yolov4, yolov4_tiny

import yoloseg.darknet
from yoloseg.darknet import graph
from yoloseg.darknet.decode import NMS_IOU, candidates, overlaps, suppress
from yoloseg.darknet.graph import build_graph
from yoloseg.darknet.layers import PaddedMaxPooling
from yoloseg.darknet.plan import Yolo, read_plan
from yoloseg.darknet.variables import read_values, set_variables
from yoloseg.errors import WeightsError
from yoloseg.inference.predictor import Predictor
from yoloseg.modeling import blocks
from yoloseg.modeling.network import YoloSeg

needs_opencv = pytest.mark.skipif(
    not hasattr(cv2.dnn, "readNetFromDarknet"),
    reason=f"OpenCV {cv2.__version__} does not read Darknet's files; versions below 5 do",
)
TOLERANCE = 1e-4  # of the largest value


def written(cfg, folder):
    paths = folder / "x.cfg", folder / "x.weights"
    paths[0].write_text(str(cfg))
    paths[1].write_bytes(random_weights(cfg))
    return paths


@contextmanager
def opencvs_epsilon():
    """Networks are made with the 1e-6 that OpenCV's importer adds to variances; ours is Darknet's, 1e-5."""
    with patch.object(graph, "BATCH_NORM_EPSILON", 1e-6), patch.object(blocks, "BATCH_NORM_EPSILON", 1e-6):
        yield


def ours(paths):
    """The plan and the network of all layers' outputs, as OpenCV makes it."""
    plan = read_plan(paths[0])
    with opencvs_epsilon():
        network = build_graph(plan, all_layers=True)
    set_variables(network, plan, read_values(plan, paths[1])[1])
    return plan, network


def opencv(paths, image, names):
    """Outputs [h, w, c] of OpenCV's layers."""
    network = cv2.dnn.readNetFromDarknet(*map(str, paths))
    network.enableFusion(False)
    network.enableWinograd(False)
    network.setInput(cv2.dnn.blobFromImage(image))
    return [output[0].transpose(1, 2, 0) for output in network.forward(names)]


def last_name(paths):
    return cv2.dnn.readNetFromDarknet(*map(str, paths)).getLayerNames()[-1]


def picture(*shape):
    return np.random.default_rng(1).random((*shape, 3), np.float32)


def assert_close(one, other):
    assert one.shape == other.shape
    assert np.abs(one - other).max() <= TOLERANCE * np.abs(other).max()


def small(build, side=(19, 22)):
    """A cfg of one convolution of 8 channels, then what `build` adds."""
    cfg = Cfg(*side)
    cfg.conv(8, 3)
    build(cfg)
    return cfg


SMALL = {
    "grouped": lambda cfg: cfg.conv(12, 3, groups=4),
    "grouped, stride": lambda cfg: cfg.conv(8, 3, 2, groups=8),
    "5x5": lambda cfg: cfg.conv(6, 5),
    "7x7, stride 3": lambda cfg: cfg.conv(6, 7, 3),
    "even kernel": lambda cfg: cfg.conv(6, 2, 2),
    "no norm": lambda cfg: cfg.conv(6, 3, activation="linear", normalised=False),
    "route of two": lambda cfg: (cfg.conv(4, 1), cfg.route(1, 0)),
    "part": lambda cfg: cfg.route(0, groups=2, group_id=1),
    "part, four": lambda cfg: cfg.route(0, groups=4, group_id=2),
    "shortcut": lambda cfg: (cfg.conv(8, 1), cfg.conv(8, 3), cfg.shortcut(0)),
    "upsample": lambda cfg: cfg.upsample(),
    "upsample by 3": lambda cfg: cfg.upsample(3),
}
SMALL |= {
    f"pool {size}, {stride}": lambda cfg, size=size, stride=stride: cfg.maxpool(size, stride)
    for size in (1, 2, 3, 4, 5, 9, 13)
    for stride in (1, 2, 3)
}
SMALL |= {
    name: lambda cfg, name=name: cfg.conv(8, 1, activation=name)
    for name in ("mish", "leaky", "relu", "swish", "logistic")
}


@needs_opencv
@pytest.mark.parametrize("case", SMALL)
def test_layers(case, tmp_path):
    paths = written(small(SMALL[case]), tmp_path)
    image = picture(19, 22)
    _, network = ours(paths)
    theirs = opencv(paths, image, [last_name(paths)])[0]
    assert_close(np.asarray(network(image[None])[-1])[0], theirs)


@pytest.mark.parametrize("activation", ["leaky", "relu", "mish", "swish", "logistic"])
def test_shortcut_with_activation(activation, tmp_path):
    """OpenCV has none after a shortcut's sum other than by fusion: beside NumPy."""
    formula = {
        "leaky": lambda x: np.where(x > 0, x, 0.1 * x),
        "relu": lambda x: np.maximum(x, 0),
        "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
        "swish": lambda x: x / (1 + np.exp(-x)),
        "logistic": lambda x: 1 / (1 + np.exp(-x)),
    }[activation]
    cfg = small(lambda cfg: (cfg.conv(8, 1, activation="linear"), cfg.shortcut(0, activation)))
    _, network = ours(written(cfg, tmp_path))
    first, second, summed = (np.asarray(one, np.float64) for one in network(picture(19, 22)[None]))
    np.testing.assert_allclose(summed, formula(first + second), rtol=1e-5, atol=1e-6)


def test_parts_of_two_layers(tmp_path):
    """Of each source the part, not of both together."""
    cfg = small(lambda cfg: (cfg.conv(4, 1), cfg.route(0, 1, groups=2, group_id=1)))
    _, network = ours(written(cfg, tmp_path))
    first, second, joined = map(np.asarray, network(picture(19, 22)[None]))
    np.testing.assert_array_equal(joined, np.concatenate([first[..., 4:], second[..., 2:]], -1))


def test_dropout(tmp_path):
    cfg = small(lambda cfg: cfg.add("dropout", 8, probability=0.5))
    _, network = ours(written(cfg, tmp_path))
    before, after = network(picture(19, 22)[None])
    np.testing.assert_array_equal(before, after)


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 6), st.integers(5, 9), st.integers(5, 9))
def test_pooling(size, stride, padding, height, width):
    """As Darknet's loop: windows begin at -(padding // 2), pixels outside never win."""
    shape = [(side + padding - size) // stride + 1 for side in (height, width)]
    ends = [(count - 1) * stride - padding // 2 for count in shape]
    if min(shape) < 1 or padding // 2 >= size or ends[0] >= height or ends[1] >= width:
        return  # the plan refuses these
    values = -np.random.default_rng(0).random((height, width)).astype(np.float32)
    expected = np.zeros(shape, np.float32)
    for y in range(shape[0]):
        for x in range(shape[1]):
            top, left = y * stride - padding // 2, x * stride - padding // 2
            window = values[max(top, 0) : top + size, max(left, 0) : left + size]
            expected[y, x] = window.max()
    found = PaddedMaxPooling(size, stride, padding)(values[None, :, :, None])
    np.testing.assert_array_equal(np.asarray(found)[0, :, :, 0], expected)


@needs_opencv
@pytest.mark.parametrize("graph", [yolov4, yolov4_tiny])
def test_narrow_at_416(graph, tmp_path):
    """The graphs with an eighth of the channels: what feeds the yolo layers."""
    paths = written(graph(416, 416, 3, narrow=8), tmp_path)
    with opencvs_epsilon():
        detector = yoloseg.darknet.load(*paths)
    image = picture(416, 416)
    found = opencv(paths, image, [f"conv_{index}" for index in detector.plan.outputs])
    for output, theirs in zip(detector.outputs(image), found, strict=True):
        assert_close(output, theirs)


@needs_opencv
def test_yolov4(tmp_path):
    """All channels: C3, C4, C5, the neck's maps and what feeds the yolo layers, and our size `l` from the
    same file."""
    paths = written(yolov4(96, 128), tmp_path)
    image = picture(96, 128)
    plan, network = ours(paths)
    maps = dict(
        zip(
            [layer.index for layer in plan.layers if not isinstance(layer, Yolo)],
            network.predict_on_batch(image[None]),
            strict=True,
        )
    )
    names = {index: f"mish_{index + 1}" for index in (54, 85, 104)}  # OpenCV counts these from 1
    names |= {index: f"leaky_{index + 1}" for index in (116, 126, 136)}
    names |= {index: f"conv_{index}" for index in plan.outputs}
    theirs = dict(zip(names, opencv(paths, image, list(names.values())), strict=True))
    for index, expected in theirs.items():
        assert_close(maps[index][0], expected)

    with opencvs_epsilon():
        model = YoloSeg("l", ["thing"], [[(16.0, 16.0)]] * 4)
    report = yoloseg.darknet.load_into(model, paths[1])
    assert len(report.loaded) == 2 * (92 + 12)  # to P3, then N4 and N5
    layers = {
        54: "csp3_merge_act",
        85: "csp4_merge_act",
        104: "csp5_merge_act",
        116: "spp_out2_act",
        126: "P4_mix4_act",
        136: "P3_mix4_act",
    }
    outputs = [model.network.get_layer(name).output for name in layers.values()]
    part = keras.Model(model.network.inputs, outputs)
    for index, found in zip(layers, part.predict_on_batch(image[None] * 255), strict=True):
        assert_close(found[0], theirs[index])


def literal(output, head, imgsz, threshold):
    """Darknet's loops, one number at a time."""

    def sigmoid(x):
        return x if head.new_coords else 1 / (1 + np.exp(-np.float64(x)))

    found = []
    rows, columns, _ = output.shape
    for y in range(rows):
        for x in range(columns):
            for a, (w, h) in enumerate(head.anchors):
                t = output[y, x, a * (5 + head.classes) :][: 5 + head.classes].astype(np.float64)
                s = head.scale
                cx = (sigmoid(t[0]) * s - (s - 1) / 2 + x) / columns
                cy = (sigmoid(t[1]) * s - (s - 1) / 2 + y) / rows
                sides = (t[2:4] * 2) ** 2 if head.new_coords else np.exp(t[2:4])
                bw, bh = sides * (w / imgsz[1], h / imgsz[0])
                for k in range(head.classes):
                    score = sigmoid(t[4]) * sigmoid(t[5 + k])
                    if score >= threshold:
                        found.append((cx - bw / 2, cy - bh / 2, cx + bw / 2, cy + bh / 2, score, k))
    return np.array(found)


@pytest.mark.parametrize("new_coords, scale", [(False, 1.0), (False, 1.2), (True, 2.0)])
def test_decoding(new_coords, scale):
    rng = np.random.default_rng(0)
    head = Yolo(0, (0,), (3, 4, 18), ((10, 20), (30, 15)), 4, scale, new_coords, "greedynms", 0.6)
    output = rng.random((3, 4, 18)) if new_coords else rng.normal(0, 2, (3, 4, 18))
    output = output.astype(np.float32)
    expected = literal(output, head, (96, 128), 0.2)
    boxes, scores, class_ids = candidates(output, head, (96, 128), 0.2)
    assert len(expected) > 10
    np.testing.assert_array_equal(class_ids, expected[:, 5])
    np.testing.assert_allclose(scores, expected[:, 4], rtol=1e-5)
    np.testing.assert_allclose(boxes, expected[:, :4], rtol=1e-5, atol=1e-6)
    output[..., 2:5] = 1e30  # of a network gone astray
    assert np.isfinite(candidates(output, head, (96, 128), 0.2)[0]).all()


@needs_opencv
@pytest.mark.parametrize("new_coords", [False, True])
def test_decoding_is_opencvs(new_coords, tmp_path):
    """Its yolo layers: centre and sides in fractions, scores where they are above 0.2."""
    paths = written(yolov4_tiny(64, 96, 3, narrow=4), tmp_path)
    if new_coords:  # as YOLOv4-CSP
        text = paths[0].read_text().replace("activation=linear", "activation=logistic")
        paths[0].write_text(text.replace("scale_x_y=1.05", "scale_x_y=2.0\nnew_coords=1"))
    with opencvs_epsilon():
        detector = yoloseg.darknet.load(*paths)
    image = picture(64, 96)
    network = cv2.dnn.readNetFromDarknet(*map(str, paths))
    network.setInput(cv2.dnn.blobFromImage(image))
    theirs = network.forward(network.getUnconnectedOutLayersNames())
    for output, head, rows in zip(detector.outputs(image), detector.plan.heads, theirs, strict=True):
        boxes, scores, class_ids = candidates(output, head, detector.imgsz, 0.25)
        box, number = np.nonzero(rows[:, 5:] >= 0.25)
        assert len(box) == len(scores) > 5
        np.testing.assert_array_equal(class_ids, number)
        np.testing.assert_allclose(scores, rows[box, 5 + number], atol=1e-4)
        centre, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        np.testing.assert_allclose(np.concatenate([centre, sides], 1), rows[box, :4], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["greedynms", "diounms"])
def test_suppression(kind):
    rng = np.random.default_rng(0)
    corner = rng.random((60, 2))
    boxes = np.concatenate([corner, corner + 0.2 + 0.5 * rng.random((60, 2))], 1)
    scores, class_ids = rng.random(60), rng.integers(0, 3, 60)
    alive, expected = np.ones(60, bool), []
    for i in np.argsort(-scores):
        if not alive[i]:
            continue
        expected.append(i)
        for j in range(60):
            if class_ids[j] == class_ids[i] and _overlap(boxes[i], boxes[j], kind) > NMS_IOU:
                alive[j] = False
    found = suppress(boxes, scores, class_ids, kind, 0.6, 100)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(suppress(boxes, scores, class_ids, kind, 0.6, 5), expected[:5])
    assert 5 < len(expected) < 60


def _overlap(a, b, kind):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    iou = width * height / (areas - width * height)
    if kind == "greedynms":
        return iou
    hull = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    distance = ((a[0] + a[2] - b[0] - b[2]) ** 2 + (a[1] + a[3] - b[1] - b[3]) ** 2) / 4
    return iou - (distance / hull) ** 0.6


def test_overlap_of_itself():
    box = np.array([0.1, 0.2, 0.3, 0.5])
    for kind in ("greedynms", "diounms"):
        np.testing.assert_allclose(overlaps(box, box[None], kind, 0.6), [1])


@pytest.mark.parametrize("letter_box", [False, True])
def test_find(letter_box, tmp_path):
    """Boxes lie in pixels of the picture: a picture twice as large has boxes twice as large."""
    paths = written(yolov4_tiny(64, 96, 3, narrow=8), tmp_path)
    if letter_box:
        paths[0].write_text(paths[0].read_text().replace("batch=1", "letter_box=1"))
    detector = yoloseg.darknet.load(*paths, ["a", "b", "c"])
    small = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8), 8, 0), 12, 1)
    large = np.repeat(np.repeat(small, 2, 0), 2, 1)
    if letter_box:
        assert detector.image(large[:, :96]).shape == (64, 96, 3)
        assert (detector.image(large[:, :64])[:, [0, -1]] == 0.5).all()
    np.testing.assert_allclose(detector.image(small), small / 255, atol=1e-6)
    one, two = (detector.find([image], 0.2, 50)[0] for image in (small, large))
    assert len(one) == len(two) > 3
    np.testing.assert_allclose(two.boxes, one.boxes * 2, atol=0.05)
    np.testing.assert_allclose(two.scores, one.scores, atol=1e-3)
    assert one.masks.shape == (len(one), 28, 28)
    assert (np.diff(one.scores) <= 0).all() and one.boxes.dtype == np.float32
    assert (one.boxes[:, 2:] <= [96, 64]).all() and (one.boxes >= 0).all()
    assert len(detector.find([small], 1.0, 50)[0].boxes) == 0
    result = Predictor(detector, score_threshold=0.2).predict_image(small)
    assert set(result.class_names) <= {"a", "b", "c"} and result.draw().shape == small.shape
    for box, mask in zip(result.boxes, result.masks, strict=True):
        left, top, right, bottom = np.ceil(box - 0.5).astype(int)  # of the pixels whose centres lie in it
        whole = np.zeros_like(mask)
        whole[top:bottom, left:right] = True
        np.testing.assert_array_equal(mask, whole)


def test_batchnorm_is_folded_as_darknet_does(tmp_path):
    """scale (x - mean) / sqrt(variance + 1e-5) + bias, as AlexeyAB's `fuse_conv_batchnorm`: of small
    variances an epsilon of 1e-6, as OpenCV has it, would make more than twice as much."""
    cfg = Cfg(4, 4)
    cfg.conv(3, 1, activation="linear")
    paths = written(cfg, tmp_path)
    plan = read_plan(paths[0])
    _, (values,) = read_values(plan, paths[1])
    values |= {"variance": np.array([1e-6, 1e-5, 1e-4], np.float32)}
    network = build_graph(plan)
    set_variables(network, plan, [values])
    image = picture(4, 4)
    found = np.asarray(network(image[None]))[0]
    plain = image @ values["weights"][:, :, 0, 0].T
    expected = (plain - values["mean"]) / np.sqrt(values["variance"] + 1e-5)
    np.testing.assert_allclose(found, expected * values["scale"] + values["bias"], rtol=1e-4, atol=1e-4)


def test_no_heads(tmp_path):
    with pytest.raises(WeightsError, match="has no .yolo. layer"):
        yoloseg.darknet.load(*written(small(lambda cfg: None), tmp_path))
