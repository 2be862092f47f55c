"""Exported files: the same instances as Keras, in processes that know nothing of yoloseg."""

import json
import shutil
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from tensorflow.core.protobuf import saved_model_pb2

import yoloseg
from yoloseg import export
from yoloseg.data.letterbox import letterbox, letterbox_region
from yoloseg.data.records import Dataset, Record
from yoloseg.errors import UsageError, WeightsError
from yoloseg.exporting import export_model
from yoloseg.exporting.fold import folded
from yoloseg.exporting.frames import letterbox_frames
from yoloseg.exporting.graph import RawGraph
from yoloseg.exporting.quantize import quantize
from yoloseg.inference.benchmark import rendered_picture, untrained_network
from yoloseg.modeling.network import save_model

IMGSZ = (64, 96)
PICTURE = rendered_picture(150, 200)
SLOTS = 8
EXPORT = Path(__file__).parents[1] / "export"
# What LiteRT may hold: operators that every build of the runtime has.
BUILTIN = {
    "ABS", "ADD", "BATCH_MATMUL", "BROADCAST_TO", "CAST", "CONCATENATION", "CONV_2D", "DEQUANTIZE",
    "DIV", "EXP", "FLOOR", "FLOOR_DIV", "FLOOR_MOD", "FULLY_CONNECTED", "GATHER", "GATHER_ND",
    "GREATER", "GREATER_EQUAL", "LEAKY_RELU", "LESS", "LOGICAL_AND", "LOGISTIC", "MAXIMUM",
    "MAX_POOL_2D", "MEAN", "MINIMUM", "MUL", "NEG", "NOT_EQUAL", "PACK", "PAD", "QUANTIZE", "RANGE",
    "REDUCE_ANY", "REDUCE_MAX", "REDUCE_MIN", "RELU", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "RSQRT",
    "SELECT", "SELECT_V2", "SHAPE", "SOFTMAX", "SQUARE", "SQUARED_DIFFERENCE", "SQUEEZE",
    "STRIDED_SLICE", "SUB", "SUM", "TILE", "TOPK_V2", "TRANSPOSE", "TRANSPOSE_CONV", "WHILE",
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    model = untrained_network("n", IMGSZ, PICTURE)
    scores = yoloseg.Predictor(model, score_threshold=0.0, max_detections=SLOTS).predict_image(PICTURE).scores
    model.score_threshold = float(scores[5]) * 0.9999  # six instances of the picture, and free slots
    return model


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """One file of each format; LiteRT for frames as they are and for the network's own."""
    folder = tmp_path_factory.mktemp("exported")
    made = {}
    for name, format, options in (
        ("savedmodel", "savedmodel", {}),
        ("animals.onnx", "onnx", {}),
        ("framed.tflite", "litert", {"frame": PICTURE.shape[:2]}),
    ):
        made[name] = export_model(model, folder / name, format, max_detections=SLOTS, **options)
    return made


def operators(path):
    """(name, types of its inputs) of every operator in every subgraph of a .tflite file."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    types = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    codes = [names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in model.operatorCodes]
    return [
        (codes[operator.opcodeIndex], [types[graph.tensors[i].type] for i in operator.inputs if i >= 0])
        for graph in model.subgraphs
        for operator in graph.operators
    ]


def same_instances(found, expected):
    """Within what float32 files promise. The masks of random weights are all near 0.5: no IoU to hold."""
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.5)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.mask_probabilities, expected.mask_probabilities, atol=5e-3)
    assert (found.masks == expected.masks).mean() > 0.99


@pytest.mark.parametrize("name", ["savedmodel", "animals.onnx", "framed.tflite"])
def test_files_find_what_keras_finds(name, model, files):
    expected = yoloseg.Predictor(model, max_detections=SLOTS).predict_image(PICTURE)
    assert len(expected) == 6
    loaded = yoloseg.load(files[name])
    assert loaded.classes == model.classes and loaded.imgsz == IMGSZ and loaded.max_detections == SLOTS
    predictor = yoloseg.Predictor(loaded)
    same_instances(predictor.predict_image(PICTURE), expected)
    # another shape: any size goes into these two, and LiteRT has a signature for letterboxed pictures
    tall = np.ascontiguousarray(PICTURE[:, :70])
    same_instances(
        predictor.predict_image(tall), yoloseg.Predictor(model, max_detections=SLOTS).predict_image(tall)
    )
    assert len(yoloseg.Predictor(loaded, max_detections=2).predict_image(PICTURE)) == 2
    assert len(yoloseg.Predictor(loaded, score_threshold=1.0).predict_image(PICTURE)) == 0


def test_raw_files_find_the_same_with_numpy_between(model, tmp_path):
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
    export_model(model, path, "litert", precision="int8", calibration=dataset, raw=True)
    kernels = [types[1] for name, types in operators(path) if name == "CONV_2D"]
    last = 13  # boxes, objectness and classes of four levels, and the mask logits, stay in float
    assert kernels.count("INT8") == len(kernels) - last > 80
    found = Interpreter(str(path)).get_signature_runner("serving_default")(frames=image)
    graph = RawGraph(model, 20)
    rounded, exact = RawGraph(model, 20), graph(image)
    quantize(rounded, dataset, 8)
    for name, expected in rounded(image).items():
        # ties round the other way, and 80 layers of random weights carry that on
        assert np.corrcoef(np.ravel(found[name]), np.ravel(expected))[0, 1] > 0.75, name
        assert np.corrcoef(np.ravel(expected), np.ravel(exact[name]))[0, 1] > 0.75, name


def test_litert_holds_built_in_operators_alone(files):
    names = {name for name, _ in operators(files["framed.tflite"])}
    assert names <= BUILTIN
    assert {"CONV_2D", "WHILE", "TOPK_V2", "TRANSPOSE_CONV"} <= names
    interpreter = Interpreter(str(files["framed.tflite"]))
    details = interpreter.get_signature_runner("serving_default").get_output_details()
    assert {name: tuple(detail["shape"]) for name, detail in details.items()} == {
        "boxes": (1, SLOTS, 4),
        "scores": (1, SLOTS),
        "classes": (1, SLOTS),
        "masks": (1, SLOTS, 28, 28),
        "num_detections": (1,),
    }


def test_empty_slots_are_zero(files):
    runner = Interpreter(str(files["framed.tflite"])).get_signature_runner("serving_default")
    found = runner(frames=PICTURE[None])
    assert found["num_detections"] == [6]
    for name in ("boxes", "scores", "classes", "masks"):
        assert not found[name][0, 6:].any() and found[name][0, :6].any()


ALONE = """
import sys, json
sys.modules["yoloseg"] = None  # cannot be imported here
import numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
frames = np.load(sys.argv[2])
default, pasted, encoded = (model.signatures[name] for name in ("serving_default", "pasted", "encoded"))
found = {k: v.numpy() for k, v in default(frames=tf.constant(frames)).items()}
found["pasted"] = pasted(frames=tf.constant(frames))["masks"].numpy()
files = tf.constant([tf.io.encode_png(frames[0]).numpy(), tf.io.encode_png(frames[0][:40, :60]).numpy()])
again = encoded(image_bytes=files)
assert np.abs(again["boxes"][0] - found["boxes"][0]).max() < 1e-3
assert again["boxes"][1].numpy().max() <= 60
nothing = default(frames=tf.zeros((1, 3, 5, 3), tf.uint8))
found["one"] = nothing["boxes"].numpy()
np.savez(sys.argv[3], **found)
"""


def test_a_savedmodel_needs_tensorflow_alone(model, files, tmp_path):
    frames = np.stack([PICTURE, PICTURE[::-1]])
    np.save(tmp_path / "frames.npy", frames)
    command = [sys.executable, "-c", ALONE, str(files["savedmodel"]), "frames.npy", "out.npz"]
    subprocess.run(command, check=True, cwd=tmp_path)
    found = np.load(tmp_path / "out.npz")
    predictor = yoloseg.Predictor(model, max_detections=SLOTS)
    assert found["one"].shape == (1, SLOTS, 4) and found["boxes"].shape == (2, SLOTS, 4)
    most = found["num_detections"].max()
    assert found["pasted"].shape == (2, most, 150, 25)
    for image, frame in enumerate(frames):
        expected = predictor.predict_image(np.ascontiguousarray(frame))
        count = found["num_detections"][image]
        assert count == len(expected)
        np.testing.assert_allclose(found["boxes"][image, :count], expected.boxes, atol=0.5)
        np.testing.assert_allclose(found["scores"][image, :count], expected.scores, atol=1e-3)
        masks = np.unpackbits(found["pasted"][image, :count], axis=-1, count=200).astype(bool)
        assert (masks != expected.masks).mean() < 0.01
        assert not found["pasted"][image, count:].any()


@pytest.mark.parametrize("program", ["savedmodel", "litert", "onnx"])
def test_programs_run_without_yoloseg(program, model, files, tmp_path):
    """On a picture and a video: masks are painted, and the scores printed are Keras'."""
    lines = (EXPORT / f"run_{program}.py").read_text().splitlines()
    assert len(lines) < 100 and not any("yoloseg" in line for line in lines if "import" in line)
    weights = {"savedmodel": "savedmodel", "litert": "framed.tflite", "onnx": "animals.onnx"}[program]
    cv2.imwrite(str(tmp_path / "in.png"), PICTURE[..., ::-1])
    writer = cv2.VideoWriter(str(tmp_path / "in.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (200, 150))
    for _ in range(3):
        writer.write(PICTURE[..., ::-1])
    writer.release()
    start = "import sys, runpy; sys.modules['yoloseg'] = None; sys.argv = sys.argv[1:]; "
    start += "runpy.run_path(sys.argv[0], run_name='__main__')"
    for source, target in (("in.png", "out.png"), ("in.mp4", "out.mp4")):
        arguments = [str(EXPORT / f"run_{program}.py"), str(files[weights]), source, target]
        command = [sys.executable, "-c", start, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        if source == "in.png":
            expected = yoloseg.Predictor(model, max_detections=SLOTS).predict_image(PICTURE)
            said = [float(line.rsplit(" ", 1)[1]) for line in done.stdout.splitlines()]
            np.testing.assert_allclose(said, expected.scores, atol=2e-3)
            drawn = cv2.imread(str(tmp_path / "out.png"))[..., ::-1]
            assert ((drawn != PICTURE).any(-1) & expected.masks[0]).sum() > 0.9 * expected.masks[0].sum()
    video = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_nothing_of_training_is_left(files):
    """Batch normalisation is folded; no dropout, no switch between training and inference."""
    content = saved_model_pb2.SavedModel.FromString((files["savedmodel"] / "saved_model.pb").read_bytes())
    graph = content.meta_graphs[0].graph_def
    nodes = [node for function in graph.library.function for node in function.node_def]
    kinds = {node.op for node in nodes}
    assert "Conv2D" in kinds
    assert not {kind for kind in kinds if "BatchNorm" in kind or "Random" in kind or "Dropout" in kind}
    words = ("moving_mean", "gradient", "learning_phase")
    assert not any(word in node.name for node in nodes for word in words)


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
            np.testing.assert_array_equal(place.region[0], letterbox_region(height, width, IMGSZ))
            corner = tf.concat([place.region[:, None, 2:]] * 2, -1)
            np.testing.assert_allclose(place.to_frame(corner)[0, 0, :2], [width, height], atol=width + height)


def test_metadata_is_readable_without_the_package(files):
    with zipfile.ZipFile(files["framed.tflite"]) as archive:
        litert = json.loads(archive.read("metadata.json"))
    saved = json.loads((files["savedmodel"] / "assets.extra" / "metadata.json").read_text())
    properties = {p.key: p.value for p in onnx.load(files["animals.onnx"]).metadata_props}
    assert json.loads(properties["yoloseg"])["classes"] == saved["classes"] == litert["classes"]
    assert litert["input"]["frame"] == [150, 200] and saved["input"]["frame"] is None
    assert litert["input"]["imgsz"] == list(IMGSZ) and litert["max_detections"] == SLOTS
    assert onnx.load(files["animals.onnx"]).opset_import[0].version == 18


# Bad input


@pytest.mark.parametrize(
    ("format", "name", "options", "message"),
    [
        ("onnx", "a.onnx", {"precision": "float16"}, "precision float16 is for format litert"),
        ("savedmodel", "a", {"raw": True}, "--raw is for format litert"),
        ("litert", "a.tflite", {"precision": "int8"}, "needs pictures to calibrate on"),
        ("litert", "a.tflite", {"frame": (0, 5)}, "at least 1 pixel"),
        ("litert", "a.tflite", {"max_detections": 0}, "max_detections must lie in 1..800"),
        ("litert", "a.tflite", {"threshold": 1.5}, "0..1"),
        ("litert", "a.bin", {}, "ends in .tflite"),
        ("coreml", "a", {}, "is not one of savedmodel, litert, onnx"),
    ],
)
def test_what_cannot_be_exported(format, name, options, message, model, tmp_path):
    with pytest.raises(UsageError, match=message):
        export_model(model, tmp_path / name, format, **options)
    assert not list(tmp_path.iterdir())


def test_a_path_that_exists_is_kept(model, tmp_path):
    (tmp_path / "a.tflite").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        export_model(model, tmp_path / "a.tflite", "litert")
    assert (tmp_path / "a.tflite").read_text() == "mine"


def test_no_half_written_file_is_left(model, tmp_path, monkeypatch):
    def fail(graph, folder, frame, document):
        (folder / "saved_model.pb").write_text("half of it")
        raise RuntimeError("in the middle")

    monkeypatch.setattr("yoloseg.exporting.savedmodel.write_savedmodel", fail)
    with pytest.raises(RuntimeError):
        export_model(model, tmp_path / "a", "savedmodel")
    assert not list(tmp_path.iterdir())


def test_files_that_are_no_exports(tmp_path):
    (tmp_path / "a.tflite").write_bytes(b"TFL3 and more")
    (tmp_path / "a.onnx").write_bytes(b"not onnx")
    (tmp_path / "folder").mkdir()
    for name in ("a.tflite", "a.onnx", "folder", "missing.tflite", "missing.onnx"):
        with pytest.raises(WeightsError, match=name):
            yoloseg.load(tmp_path / name)


def test_frames_of_another_size(files, tmp_path):
    path = shutil.copytree(files["savedmodel"], tmp_path / "framed")
    document = json.loads((path / "assets.extra" / "metadata.json").read_text())
    document["input"]["frame"] = [50, 60]
    (path / "assets.extra" / "metadata.json").write_text(json.dumps(document))
    predictor = yoloseg.Predictor(yoloseg.load(path))
    predictor.predict_image(np.zeros((50, 60, 3), np.uint8))
    with pytest.raises(UsageError, match="takes frames of 50 x 60 pixels"):
        predictor.predict_image(PICTURE)


def test_the_command(model, tmp_path, capsys):
    weights = tmp_path / "model.keras"
    save_model(model, weights)
    arguments = ["--weights", str(weights), "--format", "litert", "--max-detections", "3"]
    assert export.main([*arguments, "--out", str(tmp_path / "a.tflite"), "--precision", "float16"]) == 0
    assert f"written: {tmp_path / 'a.tflite'}" in capsys.readouterr().out
    assert (tmp_path / "a.tflite").stat().st_size < 0.6 * weights.stat().st_size
    found = yoloseg.Predictor(yoloseg.load(tmp_path / "a.tflite")).predict_image(PICTURE)
    expected = yoloseg.Predictor(model, max_detections=3).predict_image(PICTURE)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0.05)
    assert export.main([*arguments, "--out", str(tmp_path / "b.tflite"), "--frame", "12"]) == 2
    assert "--frame is height x width" in capsys.readouterr().err
