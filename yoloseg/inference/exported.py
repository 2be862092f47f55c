"""Exported files as Finders: AP and pictures come from the file itself."""

from __future__ import annotations

import json
import os
import threading
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from yoloseg.data.letterbox import letterbox, letterbox_region, picture_region
from yoloseg.errors import UsageError, WeightsError
from yoloseg.files import is_file
from yoloseg.inference.finder import Found, boxes_in_picture, whole_boxes
from yoloseg.inference.raw import LEVELS, postprocess

FORMAT_VERSION = 1  # of the metadata
GREY = 128  # around pictures of a Darknet detector that keep their aspect


class ExportedDocument:
    """What a file says of itself. document: its metadata. masks: whether it has them."""

    def __init__(self, path: Path, document: dict):
        if document.get("format") != "yoloseg" or document.get("format_version") != FORMAT_VERSION:
            raise WeightsError(
                f"{path}: holds no metadata of yoloseg that this version reads; export the network anew"
            )
        self.path = path
        self.document = document
        self.classes = tuple(document["classes"])
        self.imgsz = tuple(document["input"]["imgsz"])
        self.frame = tuple(document["input"]["frame"]) if document["input"]["frame"] else None
        self.score_threshold = float(document["score_threshold"])
        self.max_detections = int(document["max_detections"])
        self.masks = bool(document.get("masks", True))

    def limits(self, score_threshold: float, max_detections: int) -> str | None:
        """What to tell a user who asks for more detections than the file keeps; None if that is not so."""
        if score_threshold >= self.score_threshold and max_detections <= self.max_detections:
            return None
        return (
            f"{self.path} itself keeps detections of at least {self.score_threshold:.3g}, and "
            f"{self.max_detections} a picture at most; export with --threshold and --max-detections for more"
        )

    @property
    def any_size(self) -> bool:
        """Whether the file takes pictures of other sizes than its frame's."""
        return self.frame is None

    def check(self, height: int, width: int) -> None:
        """Raises UsageError for pictures of a size that the file does not take."""
        if not self.any_size and self.frame != (height, width):
            raise UsageError(
                f"{self.path} takes frames of {self.frame[0]} x {self.frame[1]} pixels (height x width), not "
                f"{height} x {width}; export without --frame for any size"
            )


class ExportedFile(ExportedDocument, ABC):
    """`find`; the runtimes below only run frames.

    Pictures go in as they are, one at a time. Masks of a file without masks are `whole_boxes`.
    """

    @abstractmethod
    def run(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """picture: uint8 [H, W, 3] RGB -> the file's outputs, boxes in pixels of the picture."""

    def find(
        self, pictures: Sequence[np.ndarray], score_threshold: float, max_detections: int
    ) -> list[Found]:
        """As Finder says. The file keeps no detection under its own threshold and no more than its own
        `max_detections`."""
        return [self._find(picture, score_threshold, max_detections) for picture in pictures]

    def _find(self, picture, score_threshold, max_detections) -> Found:
        found = self.run(picture)
        scores = found["scores"][0][: int(found["num_detections"][0])]
        count = min(int((scores >= score_threshold).sum()), max_detections)
        return Found(  # copies: a view would keep the empty slots in memory
            found["boxes"][0][:count].copy(),
            scores[:count].copy(),
            found["classes"][0][:count].astype(int),
            found["masks"][0][:count].copy() if self.masks else whole_boxes(count),
        )


class SavedModelFile(ExportedFile):
    """A SavedModel folder, run by TensorFlow."""

    def __init__(self, path: Path):
        path = Path(path)
        super().__init__(path, _savedmodel_document(path))
        import tensorflow as tf

        try:
            self._model = tf.saved_model.load(str(path))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise WeightsError(f"{path}: TensorFlow cannot load it: {error}") from error
        self._function = self._model.signatures["serving_default"]

    def run(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        self.check(*picture.shape[:2])
        return {name: value.numpy() for name, value in self._function(frames=picture[None]).items()}


class LiteRTFile(ExportedFile):
    """A `.tflite` file, run by ai-edge-litert, one picture after the other whatever thread it comes from.
    threads: all cores if not given.

    Pictures of another size than its frames are letterboxed outside, for its second signature. Raw files are
    completed by `yoloseg.inference.raw`. Files without masks have one signature: where its frames have the
    network's size, other pictures are made such frames outside, as `DarknetDetector.image` does but for the
    grey around those that keep their aspect: 128 of 255, not 127.5.
    """

    def __init__(self, path: Path, threads: int | None = None):
        path = Path(path)
        super().__init__(path, _litert_document(path))
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise UsageError(f"{path} needs ai-edge-litert: pip install 'yoloseg[litert]'") from error

        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads or os.cpu_count())
            self._runner = cache(self._interpreter.get_signature_runner)
            self._lock = threading.Lock()  # the interpreter holds one picture's tensors
        except (ValueError, RuntimeError) as error:
            raise WeightsError(f"{path}: LiteRT cannot load it: {error}") from error

    @property
    def any_size(self) -> bool:
        return self.masks or self.frame in (None, self.imgsz)

    def run(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        with self._lock:
            return self._run(picture)

    def _run(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        if self.frame == picture.shape[:2] and not self.document.get("raw"):
            return self._runner("serving_default")(frames=picture[None])
        if not self.masks:
            return self._boxes(picture)
        height, width = picture.shape[:2]
        image, region = letterbox(picture, self.imgsz)[None], picture_region(height, width, self.imgsz)
        if self.document.get("raw"):
            found = self._raw(image, region)
        else:
            region = np.array([region], np.float32)
            found = self._runner("letterboxed")(images=image, region=region)
        boxes = boxes_in_picture(found["boxes"][0], height, width, self.imgsz)
        return found | {"boxes": boxes[None]}

    def _boxes(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        self.check(*picture.shape[:2])
        stretched = self.document["input"]["stretched"]
        found = self._runner("serving_default")(frames=_framed(picture, self.imgsz, stretched)[None])
        boxes = found["boxes"][0]
        height, width = picture.shape[:2]
        if stretched:
            scale = np.divide((width, height), self.imgsz[::-1])
            boxes = (boxes * np.tile(scale, 2)).astype(np.float32)
        else:
            boxes = boxes_in_picture(boxes, height, width, self.imgsz)
        inside = (boxes[:, 2:] > boxes[:, :2]).all(1)  # neither all in the grey nor an empty slot
        found = {name: found[name][:, inside] for name in ("scores", "classes")}
        return found | {"boxes": boxes[None, inside], "num_detections": np.array([inside.sum()])}

    def _raw(self, image: np.ndarray, region: tuple) -> dict[str, np.ndarray]:
        def subnet(cuts: list[np.ndarray]) -> np.ndarray:
            names = [f"{level}_roi" for level in LEVELS]
            return self._runner("masks")(**dict(zip(names, cuts, strict=True)))["masks"]

        outputs = self._runner("serving_default")(frames=image)
        found = postprocess(outputs, self.document, subnet, region)
        found = {name: value[None] for name, value in found.items()}
        return found | {"num_detections": np.array([found["scores"].shape[1]])}


class OnnxFile(ExportedFile):
    """An `.onnx` file, run by onnxruntime on the CPU. threads: all cores if not given."""

    def __init__(self, path: Path, threads: int | None = None):
        path = Path(path)
        self._session, document = _onnx_session(path, threads)
        super().__init__(path, document)
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        self.check(*picture.shape[:2])
        return dict(zip(self._names, self._session.run(None, {"frames": picture[None]}), strict=True))


def _framed(picture: np.ndarray, imgsz: tuple[int, int], stretched: bool) -> np.ndarray:
    """uint8 [*imgsz, 3] of a picture of any size: stretched, or with its aspect on GREY."""
    if stretched:
        return cv2.resize(picture, imgsz[::-1], interpolation=cv2.INTER_LINEAR)
    left, top, right, bottom = letterbox_region(*picture.shape[:2], imgsz)
    frame = np.full((*imgsz, 3), GREY, np.uint8)
    frame[top:bottom, left:right] = letterbox(picture, imgsz)[top:bottom, left:right]
    return frame


def _savedmodel_document(path: Path) -> dict:
    try:
        return json.loads((path / "assets.extra" / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: is no SavedModel that yoloseg exported: {error}") from error


def _litert_document(path: Path) -> dict:
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("metadata.json"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path}: is no .tflite file that yoloseg exported: {error}") from error


def _onnx_session(path: Path, threads: int | None) -> tuple:
    if not is_file(path):
        raise WeightsError(f"{path}: there is no such weights file")
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(f"{path} needs onnxruntime: pip install 'yoloseg[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or os.cpu_count() or 1
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return session, json.loads(session.get_modelmeta().custom_metadata_map.get("yoloseg", "{}"))
    except Exception as error:  # onnxruntime's errors have no common base but this
        raise WeightsError(f"{path}: onnxruntime cannot load it: {error}") from error


def exported_limits(path: str | Path) -> tuple[float, int] | None:
    """(score threshold, detections) of the exported file at `path`, which is not kept loaded: no memory of a
    device is taken. None where its kind is none of these."""
    path = Path(path)
    if is_file(path / "saved_model.pb"):
        file = ExportedDocument(path, _savedmodel_document(path))
    elif path.suffix == ".tflite":
        file = ExportedDocument(path, _litert_document(path))
    elif path.suffix == ".onnx":
        file = ExportedDocument(path, _onnx_session(path, 1)[1])
    else:
        return None
    return file.score_threshold, file.max_detections


def load_exported(path: str | Path, threads: int | None = None) -> ExportedFile | None:
    """The exported file at `path`; None where its kind is none of these (a `.keras` file, say).

    threads: of LiteRT and ONNX, all cores if not given; TensorFlow's are set for the process.
    """
    path = Path(path)
    if is_file(path / "saved_model.pb"):
        return SavedModelFile(path)
    kinds = {".tflite": LiteRTFile, ".onnx": OnnxFile}
    return kinds[path.suffix](path, threads) if path.suffix in kinds else None
