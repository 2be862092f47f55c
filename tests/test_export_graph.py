"""The graph that is exported, and its variants: folding, letterbox, raw, int8."""

from dataclasses import replace
from functools import partial
from unittest.mock import patch

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from exports import IMGSZ, PICTURE, SLOTS, correlation, network, operators, same_instances

import yoloseg
from yoloseg.data.letterbox import letterbox, picture_region
from yoloseg.data.records import Dataset, Record
from yoloseg.exporting import export_model
from yoloseg.exporting.fold import folded
from yoloseg.exporting.frames import letterbox_frames
from yoloseg.exporting.graph import RawGraph
from yoloseg.exporting.metadata import metadata
from yoloseg.exporting.quantize import quantize
from yoloseg.inference.benchmark import untrained_network
from yoloseg.inference.raw import postprocess
from yoloseg.modeling.detector import Detector
from yoloseg.modeling.network import YoloSeg
from yoloseg.modeling.sizes import SIZES


@pytest.fixture(scope="module")
def model():
    return network()


def test_folding_changes_nothing(model):
    images = np.random.default_rng(0).integers(0, 256, (2, *IMGSZ, 3)).astype(np.float32)
    for layer in model.network.layers:  # statistics that folding must get right
        if layer.name == "csp2_down_bn":
            values = [np.random.default_rng(1).uniform(0.5, 2, w.shape) for w in layer.get_weights()]
            before = layer.get_weights()
            layer.set_weights(values)
            break
    expected, found = model.network(images), folded(model.network, IMGSZ)(images)
    layer.set_weights(before)
    for level in expected:
        for name in expected[level]:
            scale = np.abs(expected[level][name]).max()
            np.testing.assert_allclose(found[level][name], expected[level][name], atol=1e-4 * scale)


@pytest.fixture(scope="module")
def base():
    return untrained_network("n", IMGSZ, PICTURE)


SHAPES = [(64, 96), (128, 192), (48, 64), (33, 50), (150, 60), (1, 400), (300, 2), (480, 640), (70, 105)]


def test_letterbox_in_the_graph_is_opencvs():
    """For frames of any size and of one, which are different graphs."""
    any_size = tf.function(
        lambda frames: letterbox_frames(frames, IMGSZ),
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)],
    )
    rng = np.random.default_rng(0)
    for height, width in SHAPES:
        frame = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        expected = letterbox(frame, IMGSZ).astype(int)
        for images, place in (any_size(frame[None]), letterbox_frames(tf.constant(frame[None]), IMGSZ)):
            difference = np.abs(images[0].numpy() - expected)
            assert difference.max() <= 1, (height, width)  # OpenCV enlarges with fixed-point weights
            assert height < IMGSZ[0] or (difference > 0).mean() < 1e-3
            np.testing.assert_allclose(place.region[0], picture_region(height, width, IMGSZ), rtol=1e-5)
            boxes = place.to_frame(place.region[:, None])[0]  # but for a cut half pixel
            cut = 0.51 / float(place.scale[0, 0, 0])
            np.testing.assert_allclose(boxes, [[0, 0, width, height]], atol=cut)


def heavier():
    """Size n with what only m and l have: Mish and the dense branch of the mask subnet."""
    size = replace(SIZES["n"], backbone_activation="mish", dense_branch=True)
    with patch.dict(SIZES, n=size):
        return network()


@pytest.mark.parametrize("parts", ["of n", "of m"])
def test_raw_files_find_the_same_with_numpy_between(parts, model, tmp_path):
    model = model if parts == "of n" else heavier()
    path = export_model(model, tmp_path / "raw.tflite", "litert", max_detections=SLOTS, raw=True)
    names = {name for name, _ in operators(path)}
    assert not names & {"TOPK_V2", "GATHER", "GATHER_ND", "WHILE", "BATCH_MATMUL"}
    expected = yoloseg.Predictor(model, max_detections=SLOTS).predict_image(PICTURE)
    same_instances(yoloseg.Predictor(yoloseg.load(path)).predict_image(PICTURE), expected)


def test_int8_files_compute_what_fake_quantisation_computes(model, tmp_path):
    pictures = [np.roll(PICTURE, 20 * k, axis=1) for k in range(8)]
    records = [Record(k, partial(np.asarray, p), 150, 200, ()) for k, p in enumerate(pictures)]
    dataset = Dataset("pictures", model.classes, tuple(range(len(model.classes))), records)
    path, image = tmp_path / "int8.tflite", letterbox(PICTURE, IMGSZ)[None]
    quantised = []

    def spy(graph, *args):
        quantize(graph, *args)
        quantised.append(graph)

    with patch("yoloseg.exporting.quantize.quantize", spy):
        export_model(model, path, "litert", precision="int8", calibration=dataset, raw=True)
    kernels = [types[1] for name, types in operators(path) if name == "CONV_2D"]
    last = 13  # boxes, objectness and classes of four levels, and the mask logits, stay in float
    assert kernels.count("INT8") == len(kernels) - last > 80
    found = Interpreter(str(path)).get_signature_runner("serving_default")(frames=image)
    (rounded,), exact = quantised, RawGraph(model, 20)(image)
    # ties round the other way, and random weights carry that on from layer to layer: deep maps differ most.
    # (the least of a level's four maps, their mean)
    same = {"P2": (0.95, 0.95), "P3": (0.8, 0.85), "P4": (0.75, 0.8), "P5": (0.5, 0.7)}
    near = {"P2": (0.93, 0.94), "P3": (0.65, 0.75), "P4": (0.4, 0.55), "P5": (0.2, 0.4)}
    maps = rounded(image)
    for other, bounds in ((found, same), (exact, near)):
        for level, (least, mean) in bounds.items():
            each = {name: correlation(maps[name], other[name]) for name in maps if name.startswith(level)}
            assert len(each) == 4 and min(each.values()) > least, each
            assert np.mean(list(each.values())) > mean, each


@pytest.mark.parametrize(
    ("options", "slots"),
    [
        ({"classes_per_anchor": True}, SLOTS),
        ({"classes": ["one"]}, SLOTS),
        # the best 480 boxes of all levels, which leave fewer
        ({"two_stage_nms": False, "nms_iou": 0.02, "candidates": 50}, 120),
    ],
    ids=str,
)
def test_raw_postprocessing_is_keras(options, slots, base):
    """Every kind of head and suppression, against Keras' own proposals and masks; nothing is exported."""
    config = base.get_config() | options
    model = YoloSeg.from_config(config)
    for layer in base.network.layers:
        if not layer.name.endswith("_classes"):
            model.network.get_layer(layer.name).set_weights(layer.get_weights())
    model.mask_subnet.set_weights(base.mask_subnet.get_weights())
    graph, region = RawGraph(model, slots), picture_region(150, 200, IMGSZ)
    image = letterbox(PICTURE, IMGSZ)[None]
    outputs = {name: value.numpy() for name, value in graph(image).items()}
    document = metadata(
        model, frame=IMGSZ, max_detections=slots, threshold=0.0, precision="float32", raw=True
    )
    found = postprocess(outputs, document, lambda cuts: graph.masks(*cuts)["masks"].numpy(), region)
    expected = Detector(model).detect(image, 0.0, slots, np.array([region]))
    count = len(found["scores"])
    assert not expected["scores"][0, count:].any()
    np.testing.assert_allclose(found["scores"], expected["scores"][0, :count], rtol=1e-3)
    np.testing.assert_allclose(found["boxes"], expected["boxes"][0, :count], atol=0.05)
    np.testing.assert_array_equal(found["classes"], expected["classes"][0, :count])
    np.testing.assert_allclose(found["masks"], expected["masks"][0], atol=5e-3)
    if slots > SLOTS:
        assert 10 < count < slots
