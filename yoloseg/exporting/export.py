"""One call from a trained network to a file that holds everything."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import keras

from yoloseg.darknet.decode_ops import CANDIDATES
from yoloseg.darknet.detector import DarknetDetector
from yoloseg.errors import UsageError
from yoloseg.exporting.box_graph import BoxGraph
from yoloseg.exporting.graph import InstanceGraph, RawGraph
from yoloseg.exporting.metadata import metadata
from yoloseg.files import atomic_folder, atomic_write, check_writable
from yoloseg.modeling.architecture import STRIDES
from yoloseg.modeling.network import MOST, YoloSeg

if TYPE_CHECKING:
    from yoloseg.data.records import Dataset

Format = Literal["savedmodel", "litert", "onnx"]
Precision = Literal["float32", "float16", "dynamic-int8", "int8"]
SUFFIXES = {"savedmodel": "", "litert": ".tflite", "onnx": ".onnx"}
TAKEN = (".tflite", ".onnx", ".keras", ".weights", ".h5")  # commands go by these
CALIBRATION = 100  # pictures; fewer are taken where there are fewer, but not under MINIMUM
MINIMUM = 8


def export_model(
    model: YoloSeg | DarknetDetector,
    path: str | Path,
    format: Format,
    *,
    frame: tuple[int, int] | None = None,
    max_detections: int | None = None,
    threshold: float | None = None,
    precision: Precision = "float32",
    calibration: Dataset | None = None,
    raw: bool = False,
) -> Path:
    """Writes one SavedModel folder, `.tflite` or `.onnx` file, whole or not at all; returns its path.

    Frames uint8 [B, H, W, 3] RGB go in, instances come out: `InstanceGraph` has the outputs, `BoxGraph` those
    of a Darknet detector, which finds boxes alone. Letterboxing, decoding, suppression and masks are in the
    graph; names of classes and all numbers are in its metadata.

    frame: (height, width) of the frames. Not given, a SavedModel and ONNX take any size, and LiteRT the
    network's own. max_detections: slots of the outputs; 20 for LiteRT with masks, which computes one for each
    of them, otherwise the model's own. threshold: detections of a lower score are left out; by default the
    model's own. precision: LiteRT alone has others than float32: weights in float16; weights in int8 and
    activations rounded as they come ("dynamic-int8"); or both in int8 with ranges measured on the first 100
    pictures of `calibration`, where decoding and suppression stay in float. raw: LiteRT without suppression
    and ROI stage (`RawGraph`), for letterboxed frames. Neither int8 nor raw is there for Darknet detectors.

    Raises UsageError when the backend is not TensorFlow, the network is not of float32, the path exists or
    cannot be written, numbers are out of range or the combination is not supported.
    """
    path = Path(path)
    _check(model, path, format, frame, max_detections, threshold, precision, calibration, raw)
    slots = max_detections or _slots(model, format)[0]
    threshold = model.score_threshold if threshold is None else threshold
    if format == "litert":
        frame = frame or tuple(model.imgsz)
    document = metadata(
        model, frame=frame, max_detections=slots, threshold=threshold, precision=precision, raw=raw
    )
    if isinstance(model, DarknetDetector):
        graph = BoxGraph(model, slots, threshold)
    elif raw:
        graph = RawGraph(model, slots)
    else:
        graph = InstanceGraph(model, slots, threshold, fixed=format == "litert")
    if precision == "int8":
        from yoloseg.exporting.quantize import quantize

        quantize(graph, calibration, CALIBRATION)
    with (atomic_folder if format == "savedmodel" else atomic_write)(path) as aside:
        if format == "savedmodel":
            from yoloseg.exporting.savedmodel import write_savedmodel

            write_savedmodel(graph, aside, frame, document)
        elif format == "litert":
            from yoloseg.exporting.litert import write_litert

            write_litert(graph, aside, frame, precision, document)
        else:
            from yoloseg.exporting.onnx import write_onnx

            write_onnx(graph, aside, frame, document)
    return path


def _check(model, path, format, frame, max_detections, threshold, precision, calibration, raw) -> None:
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise UsageError(f"export needs the TensorFlow backend, not {backend}: unset KERAS_BACKEND")
    if format not in SUFFIXES:
        raise UsageError(f"format {format!r} is not one of {', '.join(SUFFIXES)}")
    if path.suffix != SUFFIXES[format] and SUFFIXES[format]:
        raise UsageError(f"{path}: a file of format {format} ends in {SUFFIXES[format]}")
    if format == "savedmodel" and path.suffix in TAKEN:
        raise UsageError(f"{path}: a SavedModel is a folder; files of another format end in {path.suffix}")
    check_writable(path)
    try:
        exists = path.exists()
    except OSError as error:  # a name too long, say
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    if exists:
        raise UsageError(f"{path} exists; remove it or name another --out")
    policies = {layer.dtype_policy.name for layer in model.network.layers}
    if policies | {keras.config.dtype_policy().name} != {"float32"}:
        raise UsageError("export is in float32: load the network by the dtype policy float32, Keras' default")
    if format == "onnx" and importlib.util.find_spec("tf2onnx") is None:
        raise UsageError("ONNX export needs tf2onnx: pip install 'yoloseg[onnx]'")
    if frame is not None and (len(frame) != 2 or min(frame) < 1):
        raise UsageError(f"a frame is height and width of at least 1 pixel, not {frame}")
    most = _slots(model, format)[1]
    if max_detections is not None and not 1 <= max_detections <= most:
        raise UsageError(f"max_detections must lie in 1..{most}, not {max_detections}")
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"the threshold must lie in 0..1, not {threshold}")
    if format != "litert" and (precision != "float32" or raw):
        what = "--raw" if raw else f"precision {precision}"
        raise UsageError(f"{what} is for format litert, not {format}")
    if isinstance(model, DarknetDetector) and (raw or precision == "int8"):
        what = "--raw" if raw else "precision int8"
        raise UsageError(f"{what} is for networks of yoloseg, not for Darknet's; leave it away")
    if raw and frame not in (None, tuple(model.imgsz)):
        raise UsageError("a raw file takes the network's own input, letterboxed: leave --frame away")
    if (precision == "int8") != (calibration is not None):
        raise UsageError("precision int8, and that alone, needs pictures to calibrate on: --calibration DATA")
    if calibration is not None and len(calibration) < MINIMUM:
        count = len(calibration)
        raise UsageError(f"{calibration.name}: {count} pictures are too few to calibrate on; give {MINIMUM}")


def _slots(model: YoloSeg | DarknetDetector, format: Format) -> tuple[int, int]:
    """How many if not said, and how many at most: no more than there are boxes."""
    if isinstance(model, DarknetDetector):
        cells = [head.shape[0] * head.shape[1] * len(head.anchors) for head in model.plan.heads]
        most = min(sum(cells) * len(model.classes), CANDIDATES)
        return min(100, most), most
    height, width = model.imgsz
    cells = [(height // stride) * (width // stride) for stride in STRIDES]
    most = min(sum(cells) * len(model.anchors[0]), MOST)
    return min(20 if format == "litert" else model.max_detections, most), most
