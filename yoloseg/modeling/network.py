"""YoloSeg: the model that is trained, saved and deployed; it carries everything that its predictions need."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import ops

from yoloseg.errors import UsageError, WeightsError
from yoloseg.files import atomic_write, is_file
from yoloseg.modeling.architecture import LEVELS, STRIDES, build_mask_subnet, build_network
from yoloseg.modeling.boxes import anchor_boxes, anchors_at, clip_boxes, decode
from yoloseg.modeling.nms import suppress, top
from yoloseg.modeling.reid_head import build_reid_head
from yoloseg.modeling.roi_align import adaptive_feature_pooling
from yoloseg.modeling.sizes import SIZES

FORMAT_VERSION = 2
USUAL = 100  # detections of a picture
MOST = 1000  # of them, by default and in exported files


@keras.saving.register_keras_serializable(package="yoloseg")
class YoloSeg(keras.Model):
    """YOLOv4+1: picture -> dense predictions, proposals and masks.

    size: "n", "s", "m" or "l". classes: names, index = class id. anchors: four lists (P2 to P5) of (width,
    height) in pixels of the network input, equally long. imgsz: (height, width) it was trained at, multiples
    of 32; other sizes may be fed. classes_per_anchor: class logits for each anchor, or one set a cell.
    score_threshold, max_detections (in a picture): what `predict` uses by default. nms_iou, candidates: of
    the suppression, first per level, then across levels; with two_stage_nms=False across levels only.
    reid_dim: numbers of the vector by which an instance is known again; 0 for a network without the head that
    makes it (reid_head is None then).
    """

    def __init__(
        self,
        size: str,
        classes: Sequence[str],
        anchors: Sequence[Sequence[Sequence[float]]],
        imgsz: Sequence[int] = (416, 416),
        *,
        classes_per_anchor: bool = True,
        score_threshold: float = 0.25,
        max_detections: int = USUAL,
        nms_iou: float = 0.5,
        candidates: int = 200,
        two_stage_nms: bool = True,
        reid_dim: int = 0,
        format_version: int = FORMAT_VERSION,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_config(size, classes, anchors, imgsz, reid_dim)
        # Configuration
        self.size = size
        self.classes = tuple(classes)
        self.anchors = tuple(tuple((float(w), float(h)) for w, h in level) for level in anchors)
        self.imgsz = (int(imgsz[0]), int(imgsz[1]))
        self.classes_per_anchor = classes_per_anchor
        self.score_threshold = float(score_threshold)
        self.max_detections = int(max_detections)
        self.nms_iou = float(nms_iou)
        self.candidates = int(candidates)
        self.two_stage_nms = two_stage_nms
        self.reid_dim = int(reid_dim)
        self.format_version = format_version
        # Layers
        self.network = build_network(SIZES[size], len(self.anchors[0]), len(self.classes), classes_per_anchor)
        self.mask_subnet = build_mask_subnet(SIZES[size])
        self.reid_head = build_reid_head(SIZES[size], self.reid_dim) if reid_dim else None
        self.built = True

    @property
    def all_layers(self) -> list[keras.layers.Layer]:
        """Those of all its parts; no two have one name."""
        head = self.reid_head.layers if self.reid_head is not None else []
        return [*self.network.layers, *self.mask_subnet.layers, *head]

    def call(self, images, training=None):
        """images: [B, H, W, 3], 0..255, letterboxed RGB -> {"P2": {...}, ...} as `build_network` says."""
        return self.network(images, training=training)

    def level_anchors(self, level: str, outputs) -> np.ndarray:
        """float32 [H * W * A, 4] centre x, y, width, height for the map sizes in `outputs`."""
        index = LEVELS.index(level)
        _, height, width, _ = outputs[level]["boxes"].shape
        return anchor_boxes(self.anchors[index], STRIDES[index], height, width)

    def class_logits(self, level: str, outputs):
        """[B, H * W * A, K] or, with one set a cell, [B, H * W, K]; None for a single class."""
        if len(self.classes) == 1:
            return None
        logits = outputs[level]["classes"]
        height, width = logits.shape[1:3]
        count = height * width * (len(self.anchors[0]) if self.classes_per_anchor else 1)
        return ops.reshape(logits, (-1, count, len(self.classes)))

    def level_candidates(self, level: str, outputs, count: int, regions=None) -> dict:
        """The best `count` boxes of one level before suppression, by falling score.

        scores [B, N], boxes [B, N, 4], classes int32 [B, N], levels int32 [B, N] (0 for P2 to 3 for P5).

        Score = objectness x largest class probability. Boxes are cut at the border of `regions`, float32
        [B, 4] xyxy in pixels: what of the network input is picture and not padding; all of it if not given.
        Inconsistent boxes (a side under 5e-4 of the input, aspect beyond 1e-3) get score 0.
        """
        number, per_cell = LEVELS.index(level), len(self.anchors[0])
        rows, columns = outputs[level]["boxes"].shape[1:3]
        total = rows * columns * per_cell
        scores = ops.sigmoid(ops.reshape(outputs[level]["objectness"], (-1, total)))
        logits = self.class_logits(level, outputs)
        if logits is None:
            scores, index = ops.top_k(scores, min(count, total))
            classes = ops.zeros_like(index, dtype="int32")
        else:
            probability = ops.max(ops.softmax(logits, axis=-1), axis=-1)
            if not self.classes_per_anchor:
                probability = ops.repeat(probability, per_cell, 1)
            scores, index = ops.top_k(scores * probability, min(count, total))
            row = index if self.classes_per_anchor else index // per_cell
            logits = ops.take_along_axis(logits, row[..., None], axis=1)
            classes = ops.cast(ops.top_k(logits, 1)[1][..., 0], "int32")  # Keras' argmax does not export
        deltas = ops.reshape(outputs[level]["boxes"], (-1, total, 4))
        deltas = ops.take_along_axis(deltas, index[..., None], axis=1)
        height, width = outputs[LEVELS[0]]["boxes"].shape[1:3]
        height, width = height * STRIDES[0], width * STRIDES[0]
        if regions is None:
            regions = np.array([[0, 0, width, height]], np.float32)
        anchors = anchors_at(index, self.anchors[number], STRIDES[number], columns)
        boxes = clip_boxes(decode(deltas, anchors), regions[:, None])
        sides = boxes[..., 2:] - boxes[..., :2]
        small, large = ops.min(sides, axis=-1), ops.max(sides, axis=-1)
        consistent = ops.logical_and(small >= 5e-4 * min(height, width), small >= 1e-3 * large)
        levels = ops.zeros_like(classes) + number
        scores = scores * ops.cast(consistent, "float32")
        return top({"scores": scores, "boxes": boxes, "classes": classes, "levels": levels}, count)

    def budget(self, max_detections: int) -> tuple[int, int]:
        """How many boxes suppression looks at for so many detections: of each level, and then of all levels.

        `candidates` of a level are enough for the USUAL detections. Where more are asked for, a picture's
        objects may all lie on one level, and several boxes find each: four for each detection.
        """
        enough = max(self.candidates, max_detections)
        return enough if max_detections <= USUAL else max(enough, 4 * max_detections), len(LEVELS) * enough

    def propose(self, outputs, max_detections: int, candidates: int | None = None, regions=None) -> dict:
        """Greedy suppression per level, then across levels (the report's two stages).

        candidates: of each level; as in `budget`, where not given. regions: as in `level_candidates`.

        Returns scores float32 [B, D], falling, 0 in empty slots; boxes float32 [B, D, 4] xyxy in pixels of
        the network input; classes int32 [B, D]; levels int32 [B, D], where each came from.
        """
        each, together = self.budget(max_detections)
        if candidates is not None:
            each, together = candidates, len(LEVELS) * candidates
        kept = []
        for level in LEVELS:
            found = self.level_candidates(level, outputs, each, regions)
            if self.two_stage_nms:
                found["scores"] = found["scores"] * suppress(found["boxes"], found["scores"], self.nms_iou)
            kept.append(found)
        found = {name: ops.concatenate([level[name] for level in kept], axis=1) for name in kept[0]}
        found = top(found, together)
        found["scores"] = found["scores"] * suppress(found["boxes"], found["scores"], self.nms_iou)
        return top(found, max_detections)

    def mask_logits(self, embeddings, rois):
        """four maps [B, H_i, W_i, E], P2 to P5; rois [B, R, 4] pixels -> float32 [B, R, 28, 28]."""
        cuts = adaptive_feature_pooling(embeddings, rois, STRIDES)
        return ops.reshape(self.mask_subnet(cuts), (-1, ops.shape(rois)[1], 28, 28))

    def get_config(self):
        return {
            "size": self.size,
            "classes": list(self.classes),
            "anchors": [[list(wh) for wh in level] for level in self.anchors],
            "imgsz": list(self.imgsz),
            "classes_per_anchor": self.classes_per_anchor,
            "score_threshold": self.score_threshold,
            "max_detections": self.max_detections,
            "nms_iou": self.nms_iou,
            "candidates": self.candidates,
            "two_stage_nms": self.two_stage_nms,
            "format_version": self.format_version,
        } | ({"reid_dim": self.reid_dim} if self.reid_dim else {})

    @classmethod
    def from_config(cls, config):
        return cls(**{k: v for k, v in config.items() if k not in ("name", "trainable", "dtype")})


def check_config(size, classes, anchors, imgsz, reid_dim=0) -> None:
    """Raises UsageError for a network that cannot be built."""
    if size not in SIZES:
        raise UsageError(f"size {size!r} is not one of {', '.join(SIZES)}")
    if not classes:
        raise UsageError("a network needs at least one class")
    counts = {len(level) for level in anchors}
    if len(anchors) != len(LEVELS) or len(counts) != 1 or 0 in counts:
        raise UsageError(
            f"anchors must be {len(LEVELS)} lists (P2 to P5) of equally many (width, height), got {anchors!r}"
        )
    if any(not (w > 0 and h > 0) for level in anchors for w, h in level):
        raise UsageError(f"anchor sides must be positive, got {anchors!r}")
    if len(imgsz) != 2 or any(side <= 0 or side % STRIDES[-1] for side in imgsz):
        raise UsageError(f"imgsz must be height and width, multiples of {STRIDES[-1]}, got {tuple(imgsz)}")
    if type(reid_dim) is not int or reid_dim < 0:
        raise UsageError(f"reid_dim must be a whole number, 0 or more, got {reid_dim!r}")


def save_model(model: YoloSeg, path: str | Path) -> None:
    """Writes one `.keras` file, whole or not at all."""
    with atomic_write(path, durable=True) as aside:
        model.save(aside)


def load_model(path: str | Path) -> YoloSeg:
    """Reads a `.keras` file written by `save_model`. Raises WeightsError for anything else."""
    path = Path(path)
    if path.suffix in (".tflite", ".onnx") or is_file(path / "saved_model.pb"):
        raise WeightsError(f"{path}: is an exported file; here the .keras file it was made of is needed")
    if not is_file(path):
        raise WeightsError(f"{path}: there is no such weights file")
    if not zipfile.is_zipfile(path):
        raise WeightsError(f"{path}: is truncated or no .keras file; give a file that training wrote")
    try:
        with zipfile.ZipFile(path) as archive:
            document = json.loads(archive.read("config.json"))
        name, config = document["registered_name"], document["config"]
        version = config.get("format_version")
    except (KeyError, TypeError, AttributeError, ValueError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path}: is a zip file, but holds no Keras model") from error
    if name != "yoloseg>YoloSeg":
        kind = document.get("class_name")
        raise WeightsError(f"{path}: holds a Keras model of class {kind!r}, not a YoloSeg network")
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        advice = "update yoloseg" if newer else "train the network anew"
        raise WeightsError(
            f"{path}: has model format {version}, this yoloseg reads {FORMAT_VERSION}; {advice}"
        )
    try:
        with warnings.catch_warnings():  # Keras warns of each layer before it raises for all of them
            warnings.filterwarnings("ignore", message="Skipping nested container")
            return keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, OSError, KeyError, zipfile.BadZipFile, UsageError) as error:
        raise WeightsError(f"{path}: {_misfit(path, config) or error}") from error


def _misfit(path: Path, config: dict) -> str | None:
    """The first layer whose weights in the file are not of the sizes `config` asks for; None if none."""
    try:
        model = YoloSeg.from_config(config)
        with zipfile.ZipFile(path) as archive:
            file = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    except (UsageError, ValueError, TypeError, OSError, KeyError, zipfile.BadZipFile):
        return None
    held = {}  # layer name -> shapes of its variables

    def note(_, group):
        if isinstance(group, h5py.Group) and group.attrs.get("name") and len(group):
            held[group.attrs["name"]] = [group[str(i)].shape for i in range(len(group))]

    with file:
        file.visititems(note)
    for layer in model.all_layers:
        wanted = [tuple(variable.shape) for variable in layer.weights]
        if wanted != held.get(layer.name, []):
            sizes = ", ".join(map(str, held.get(layer.name, []))) or "none"
            return (
                f"the weights of layer {layer.name} do not fit: the file holds {sizes}, "
                f"size {model.size} with {len(model.classes)} classes needs {', '.join(map(str, wanted))}"
            )
    return None
