"""Exported files: the same instances as Keras, in processes that know nothing of yoloseg."""

import json
import runpy
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from exports import IMGSZ, PICTURE, SLOTS, correlation, network, operators, same_instances
from tensorflow.core.protobuf import saved_model_pb2

import yoloseg
from yoloseg import benchmark, export
from yoloseg.data.coco_writer import write_coco
from yoloseg.data.letterbox import letterbox
from yoloseg.data.records import Annotation, Dataset, Record
from yoloseg.errors import UsageError, WeightsError
from yoloseg.evaluation.evaluate_model import evaluate_in_detail
from yoloseg.exporting import export_model
from yoloseg.exporting.export import _slots
from yoloseg.exporting.graph import RawGraph
from yoloseg.inference.exported import exported_limits
from yoloseg.inference.keras_finder import KerasFinder
from yoloseg.modeling.network import load_model, save_model

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
    return network()


@pytest.fixture(scope="module")
def finder(model):
    """`model` as Keras runs it, its graph made once."""
    return KerasFinder(model)


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


@pytest.mark.parametrize("name", ["savedmodel", "animals.onnx", "framed.tflite"])
def test_files_find_what_keras_finds(name, model, finder, files):
    expected = yoloseg.Predictor(finder, max_detections=SLOTS).predict_image(PICTURE)
    assert len(expected) == 6
    loaded = yoloseg.load(files[name])
    assert loaded.classes == model.classes and loaded.imgsz == IMGSZ and loaded.max_detections == SLOTS
    predictor = yoloseg.Predictor(loaded)
    same_instances(predictor.predict_image(PICTURE), expected)
    # another shape: any size goes into these two, and LiteRT has a signature for letterboxed pictures
    tall = np.ascontiguousarray(PICTURE[:, :70])
    same_instances(
        predictor.predict_image(tall), yoloseg.Predictor(finder, max_detections=SLOTS).predict_image(tall)
    )
    assert len(yoloseg.Predictor(loaded, max_detections=2).predict_image(PICTURE)) == 2
    assert len(yoloseg.Predictor(loaded, score_threshold=1.0).predict_image(PICTURE)) == 0


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


def test_a_savedmodel_needs_tensorflow_alone(finder, files, tmp_path):
    frames = np.stack([PICTURE, PICTURE[::-1]])
    np.save(tmp_path / "frames.npy", frames)
    command = [sys.executable, "-c", ALONE, str(files["savedmodel"]), "frames.npy", "out.npz"]
    subprocess.run(command, check=True, cwd=tmp_path)
    found = np.load(tmp_path / "out.npz")
    predictor = yoloseg.Predictor(finder, max_detections=SLOTS)
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


def test_onnx_takes_batches(files):
    session = onnxruntime.InferenceSession(str(files["animals.onnx"]), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    frames = np.stack([PICTURE, PICTURE[::-1]])
    both = dict(zip(names, session.run(names, {"frames": frames}), strict=True))
    for image, frame in enumerate(frames):
        alone = dict(zip(names, session.run(names, {"frames": frame[None]}), strict=True))
        count = alone["num_detections"][0]
        assert both["num_detections"][image] == count
        np.testing.assert_allclose(both["boxes"][image, :count], alone["boxes"][0, :count], atol=0.5)
        np.testing.assert_allclose(both["scores"][image, :count], alone["scores"][0, :count], atol=1e-3)


@pytest.mark.parametrize("program", ["savedmodel", "litert", "onnx"])
def test_programs_run_without_yoloseg(program, finder, files, tmp_path):
    """On a picture and a video: masks are painted, and the scores printed are Keras'."""
    lines = (EXPORT / f"run_{program}.py").read_text().splitlines()
    assert len(lines) < 100 and not any("yoloseg" in line for line in lines if "import" in line)
    weights = {"savedmodel": "savedmodel", "litert": "framed.tflite", "onnx": "animals.onnx"}[program]
    cv2.imwrite(str(tmp_path / "in.png"), PICTURE[..., ::-1])
    writer = cv2.VideoWriter(str(tmp_path / "in.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (200, 150))
    for _ in range(3):
        writer.write(PICTURE[..., ::-1])
    writer.release()
    start = "import sys, runpy; sys.modules['yoloseg'] = None; program, *pairs = sys.argv[1:]\n"
    start += "for pair in pairs: sys.argv = [program, *pair.split(';')]; "
    start += "runpy.run_path(program, run_name='__main__'); print('---')"
    cv2.imwrite(str(tmp_path / "tall.png"), PICTURE[:, :70, ::-1])
    names = ["in.png", "in.mp4"] + ["tall.png"] * (program == "litert")  # the one that letterboxes itself
    pairs = [f"{files[weights]};{name};out_{name}" for name in names]
    command = [sys.executable, "-c", start, str(EXPORT / f"run_{program}.py"), *pairs]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *said_of_each, end = done.stdout.split("---\n")
    assert not end
    for name, said in zip(names, said_of_each, strict=True):
        if name.endswith("png"):
            picture = cv2.imread(str(tmp_path / name))[..., ::-1]
            expected = yoloseg.Predictor(finder, max_detections=SLOTS).predict_image(picture)
            said = [float(line.rsplit(" ", 1)[1]) for line in said.splitlines()]
            np.testing.assert_allclose(said, expected.scores, atol=2e-3)
            drawn = cv2.imread(str(tmp_path / f"out_{name}"))[..., ::-1]
            assert ((drawn != picture).any(-1) & expected.masks[0]).sum() > 0.9 * expected.masks[0].sum()
    video = cv2.VideoCapture(str(tmp_path / "out_in.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_nothing_of_training_is_left(model, files):
    """Batch normalisation is folded; no dropout, no switch between training and inference."""
    content = saved_model_pb2.SavedModel.FromString((files["savedmodel"] / "saved_model.pb").read_bytes())
    graph = content.meta_graphs[0].graph_def
    nodes = [node for function in graph.library.function for node in function.node_def]
    nodes += content.meta_graphs[0].graph_def.node
    kinds = {node.op for node in nodes}
    assert "Conv2D" in kinds
    assert not {kind for kind in kinds if "BatchNorm" in kind or "Random" in kind or "Dropout" in kind}
    words = ("_bn", "moving_", "gradient", "learning_phase")
    assert not {node.name for node in nodes for word in words if word in node.name}
    variables = tf.train.list_variables(str(files["savedmodel"] / "variables" / "variables"))
    layers = len([layer for layer in model.network.layers if "Conv2D" in type(layer).__name__])
    assert len(variables) < 2 * layers + 40  # a kernel and a bias each, the mask subnet, bookkeeping


def test_metadata_is_readable_without_the_package(files):
    with zipfile.ZipFile(files["framed.tflite"]) as archive:
        litert = json.loads(archive.read("metadata.json"))
    saved = json.loads((files["savedmodel"] / "assets.extra" / "metadata.json").read_text())
    properties = {p.key: p.value for p in onnx.load(files["animals.onnx"]).metadata_props}
    assert json.loads(properties["yoloseg"])["classes"] == saved["classes"] == litert["classes"]
    assert litert["input"]["frame"] == [150, 200] and saved["input"]["frame"] is None
    assert litert["input"]["imgsz"] == list(IMGSZ) and litert["max_detections"] == SLOTS
    assert onnx.load(files["animals.onnx"]).opset_import[0].version == 18


def test_slots_if_not_said_are_the_models_own(model, monkeypatch):
    monkeypatch.setattr(model, "max_detections", 250)
    assert [_slots(model, format)[0] for format in ("savedmodel", "onnx", "litert")] == [250, 250, 20]


# Bad input


@pytest.mark.parametrize(
    ("format", "name", "options", "message"),
    [
        ("onnx", "a.onnx", {"precision": "float16"}, "precision float16 is for format litert"),
        ("savedmodel", "a", {"raw": True}, "--raw is for format litert"),
        ("litert", "a.tflite", {"precision": "int8"}, "needs pictures to calibrate on"),
        ("litert", "a.tflite", {"frame": (0, 5)}, "at least 1 pixel"),
        ("litert", "a.tflite", {"max_detections": 0}, "max_detections must lie in 1..1000"),
        ("litert", "a.tflite", {"threshold": 1.5}, "0..1"),
        ("litert", "a.tflite", {"raw": True, "frame": (48, 64)}, "leave --frame away"),
        ("litert", "a.bin", {}, "ends in .tflite"),
        ("savedmodel", "a.tflite", {}, "files of another format end in .tflite"),
        ("litert", "a" * 300 + ".tflite", {}, "cannot write .*File name too long"),
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


@pytest.mark.parametrize(
    ("format", "name", "where"), [("savedmodel", "a", "a"), ("litert", "a.tflite", "needed for a while")]
)
def test_a_full_disk_is_told(format, name, where, model, tmp_path, monkeypatch):
    def full(archive, folder, **_):
        raise tf.errors.ResourceExhaustedError(None, None, "variables; No space left on device")

    archive = type(keras.export.ExportArchive())
    monkeypatch.setattr(archive, "write_out", full)
    monkeypatch.setattr(archive, "add_endpoint", lambda *_, **__: None)
    with pytest.raises(UsageError, match=rf"cannot write .*{where}.*: .*No space left"):
        export_model(model, tmp_path / name, format)
    assert not list(tmp_path.iterdir())


def test_only_float32_is_exported(model, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with pytest.raises(UsageError, match="export is in float32"):
            export_model(model, tmp_path / "a.tflite", "litert")
    finally:
        keras.config.set_dtype_policy("float32")


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
    loaded = yoloseg.load(path)
    ids = tuple(range(1, len(loaded.classes) + 1))
    records = [Record(number, pytest.fail, *size) for number, size in enumerate([(50, 60), (150, 200)])]
    with pytest.raises(UsageError, match="takes frames of 50 x 60 pixels"):  # before any is read
        evaluate_in_detail(loaded, Dataset("two sizes", loaded.classes, ids, records))


def test_threads_may_share_a_litert_file(files):
    """Each gets what it finds in its own picture, however they meet."""
    predictor = yoloseg.Predictor(yoloseg.load(files["framed.tflite"]))
    pictures = [PICTURE, PICTURE[:, ::-1].copy(), PICTURE[:, :70].copy(), np.zeros_like(PICTURE)] * 5
    alone = [predictor.predict_image(picture) for picture in pictures[:4]] * 5
    with ThreadPoolExecutor(4) as pool:
        for found, expected in zip(pool.map(predictor.predict_image, pictures), alone, strict=True):
            np.testing.assert_array_equal(found.boxes, expected.boxes)
            np.testing.assert_array_equal(found.mask_probabilities, expected.mask_probabilities)
            assert found.mask_probabilities.base is None, "no view of all slots"


def test_limits_are_read_without_loading(files, monkeypatch):
    for path in files.values():
        loaded = yoloseg.load(path)
        with monkeypatch.context() as patch:
            patch.setattr("tensorflow.saved_model.load", pytest.fail)
            patch.setattr("ai_edge_litert.interpreter.Interpreter", pytest.fail)
            assert exported_limits(path) == (loaded.score_threshold, loaded.max_detections)
        assert yoloseg.Predictor(loaded, max_detections=SLOTS).limits is None
        assert "a picture at most" in yoloseg.Predictor(loaded, max_detections=SLOTS + 1).limits
    assert exported_limits("best.keras") is None


def test_the_litert_program_takes_pictures_whose_short_side_vanishes(files):
    detect, _ = runpy.run_path(str(EXPORT / "run_litert.py"))["load"](str(files["framed.tflite"]))
    found = detect(np.full((1, 1000, 3), 90, np.uint8))
    assert found["boxes"].shape[1] == 4 and (found["boxes"][:, 3] <= 1).all()


def test_exported_files_run_without_keras(files, tmp_path):
    np.save(tmp_path / "picture.npy", PICTURE)
    code = "import sys, numpy, yoloseg; p = yoloseg.Predictor(yoloseg.load(sys.argv[1])); "
    code += "print(len(p.predict_image(numpy.load('picture.npy'))), 'keras' in sys.modules)"
    for name in ("framed.tflite", "animals.onnx"):
        command = [sys.executable, "-c", code, str(files[name])]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout.split() == ["6", "False"], done.stderr


def test_exported_files_where_weights_are_needed(files):
    for name in ("savedmodel", "framed.tflite"):
        with pytest.raises(WeightsError, match="is an exported file"):
            load_model(files[name])
    loaded = yoloseg.load(files["framed.tflite"])
    assert loaded.limits(loaded.score_threshold, SLOTS) is None
    assert f"{SLOTS} a picture at most" in loaded.limits(loaded.score_threshold, SLOTS + 1)
    assert "keeps detections of at least" in loaded.limits(0.0, 1)


def test_too_few_pictures_and_another_backend(model, tmp_path, monkeypatch):
    dataset = Dataset("three", model.classes, (1,) * 80, [None] * 3)
    with pytest.raises(UsageError, match="three: 3 pictures are too few"):
        export_model(model, tmp_path / "a.tflite", "litert", precision="int8", calibration=dataset)
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with pytest.raises(UsageError, match="needs the TensorFlow backend, not jax"):
        export_model(model, tmp_path / "a.tflite", "litert")


def test_where_nothing_can_be_written_or_a_library_is_missing(model, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write .*a.tflite"):
        export_model(model, tmp_path / "file" / "a.tflite", "litert")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"ONNX export needs tf2onnx: pip install 'yoloseg\[onnx\]'"):
        export_model(model, tmp_path / "a.onnx", "onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_benchmark_compares_files(files, tmp_path, capsys):
    """The AP is that of the file: its own best detection, taken as ground truth, is found by it."""
    best = yoloseg.Predictor(yoloseg.load(files["framed.tflite"])).predict_image(PICTURE)
    x0, y0, x1, y1 = (float(value) for value in best.boxes[0])
    polygon = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)
    truth = Annotation(int(best.class_ids[0]), (polygon,), (x0, y0, x1, y1), (x1 - x0) * (y1 - y0))
    record = Record(1, lambda: PICTURE, 150, 200, (truth,))
    classes = yoloseg.load(files["framed.tflite"]).classes
    data = tmp_path / "data.yaml"
    write_coco(Dataset("one", classes, tuple(range(1, 1 + len(classes))), [record]), tmp_path / "val")
    data.write_text("val: {annotations: val/annotations.json, images: val/images}")
    cv2.imwrite(str(tmp_path / "in.png"), PICTURE[..., ::-1])
    flags = ["--weights", str(files["framed.tflite"]), "--source", str(tmp_path / "in.png"), "--repeats", "2"]
    out = tmp_path / "out"
    assert benchmark.main([*flags, "--data", str(data), "--out", str(out)]) == 0
    header, _, row = (out / "benchmark.md").read_text().splitlines()
    cells = dict(zip(header.split(" | "), row.split(" | "), strict=True))
    assert cells["instances"] == "6" and float(cells["box AP"]) > 0.99
    assert row in capsys.readouterr().out
    assert cv2.imread(str(out / "benchmark.png")).std() > 1
    assert benchmark.main([*flags, "--threads", "1"]) == 2
    assert "for one .keras file" in capsys.readouterr().err


def test_the_command(model, tmp_path, capsys):
    weights = tmp_path / "model.keras"
    save_model(model, weights)
    arguments = ["--weights", str(weights), "--format", "litert", "--raw"]
    path = tmp_path / "a.tflite"
    assert export.main([*arguments, "--out", str(path), "--precision", "float16"]) == 0
    assert f"written: {path}" in capsys.readouterr().out
    assert path.stat().st_size < 0.6 * weights.stat().st_size
    image = letterbox(PICTURE, IMGSZ)[None]
    found = Interpreter(str(path)).get_signature_runner("serving_default")(frames=image)
    # random weights carry rounding on from layer to layer: deep maps differ most
    least = {"P2": 0.99, "P3": 0.97, "P4": 0.94, "P5": 0.6}
    for name, expected in RawGraph(model, 20)(image).items():
        assert correlation(found[name], expected) > least[name[:2]], name
    for frame in ("12", "²x640"):
        assert export.main([*arguments, "--out", str(tmp_path / "b.tflite"), "--frame", frame]) == 2
        assert "--frame is height x width" in capsys.readouterr().err
