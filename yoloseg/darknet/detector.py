"""A Darknet detector, as a Finder: `yoloseg.darknet.load("yolov4.cfg", "yolov4.weights", "coco.names")`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import keras
import numpy as np

from yoloseg.darknet.decode import candidates, suppress
from yoloseg.darknet.graph import build_graph
from yoloseg.darknet.plan import Plan, read_plan
from yoloseg.darknet.variables import read_values, save_variables, set_variables
from yoloseg.darknet.weights import Header
from yoloseg.data.letterbox import letterbox, letterbox_region
from yoloseg.errors import UsageError, WeightsError
from yoloseg.files import is_file
from yoloseg.inference.finder import Found, boxes_in_picture, whole_boxes

SCORE_THRESHOLD = 0.25  # what Darknet's `detector test` shows
MAX_DETECTIONS = 100


class DarknetDetector:
    """A Finder of boxes: the masks it finds are `whole_boxes`, so boxes are drawn as filled.

    classes: names, index = class id. imgsz: (height, width) of the network input. score_threshold: Darknet's
    own, used where none is asked for; max_detections likewise, which Darknet does not limit. plan: the cfg.
    header: of the weights file. network: the plain Keras model of `build_graph`; `network.save("x.keras")`
    keeps it without names and decoding, the files that hold the detector are its cfg and weights.

    Pictures are stretched to the network input, as Darknet does, by OpenCV's bilinear resize; with
    `letter_box=1` in the cfg they keep their aspect, padded with grey 0.5. Decoding, score = objectness x
    class probability and suppression per class at IoU 0.45 are Darknet's, with `nms_kind` and `beta_nms` of
    the last [yolo], as Darknet takes them; `greedynms` is plain IoU, as when YOLOv4 was published (later
    versions of Darknet subtract a distance of the centres there, too). DIoU is measured in the network's
    input, also where that is letterboxed.
    """

    def __init__(self, plan: Plan, network: keras.Model, header: Header, classes: Sequence[str]):
        self.plan = plan
        self.network = network
        self.header = header
        self.classes = tuple(classes)
        self.imgsz = plan.imgsz
        self.score_threshold = SCORE_THRESHOLD
        self.max_detections = MAX_DETECTIONS
        network.compile(jit_compile=keras.backend.backend() == "jax")

    def find(
        self, pictures: Sequence[np.ndarray], score_threshold: float, max_detections: int
    ) -> list[Found]:
        """As Finder says."""
        return [self._find(picture, score_threshold, max_detections) for picture in pictures]

    def save(self, path: str | Path) -> None:
        """Writes the weights of `network` as a Darknet file, for the same cfg. Raises as `write_weights`."""
        save_variables(self.network, self.plan, path, self.header)

    def outputs(self, image: np.ndarray) -> list[np.ndarray]:
        """image: float32 [H, W, 3] RGB in [0, 1], of `imgsz` -> float32 [h, w, A * (5 + K)] of each head."""
        outputs = keras.tree.flatten(self.network.predict_on_batch(image[None]))  # Keras gives one bare
        return [output[0] for output in outputs]

    def image(self, picture: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] RGB of any size -> float32 [*imgsz, 3], what the network is fed."""
        height, width = self.imgsz
        if not self.plan.letter_box:
            resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
            return resized.astype(np.float32) / 255
        left, top, right, bottom = letterbox_region(*picture.shape[:2], self.imgsz)
        image = np.full((height, width, 3), 0.5, np.float32)
        inner = letterbox(picture, self.imgsz)[top:bottom, left:right]
        image[top:bottom, left:right] = inner.astype(np.float32) / 255
        return image

    def _find(self, picture, score_threshold, max_detections) -> Found:
        heads, outputs = self.plan.heads, self.outputs(self.image(picture))
        found = [
            candidates(output, head, self.imgsz, score_threshold)
            for output, head in zip(outputs, heads, strict=True)
        ]
        boxes, scores, class_ids = (np.concatenate(parts) for parts in zip(*found, strict=True))
        kept = suppress(boxes, scores, class_ids, heads[-1].nms_kind, heads[-1].beta_nms, max_detections)
        boxes, scores, class_ids = boxes[kept], scores[kept], class_ids[kept]
        height, width = picture.shape[:2]
        if self.plan.letter_box:
            boxes = boxes_in_picture(boxes * np.tile(self.imgsz[::-1], 2), height, width, self.imgsz)
        else:
            boxes = (np.clip(boxes, 0, 1) * (width, height, width, height)).astype(np.float32)
        inside = (boxes[:, 2:] > boxes[:, :2]).all(1)  # not all beyond the picture's border
        return Found(boxes[inside], scores[inside], class_ids[inside], whole_boxes(inside.sum()))


def load(
    cfg: str | Path,
    weights: str | Path,
    names: str | Path | Sequence[str] | None = None,
    imgsz: tuple[int, int] | None = None,
) -> DarknetDetector:
    """A detector of Darknet: YOLOv3, YOLOv4, YOLOv4-tiny, YOLOv4-CSP and their kind.

    cfg, weights: the two files. names: a file of class names, one a line, or a list; "class 0", "class 1" and
    so on if not given. imgsz: (height, width) of the network input in place of the cfg's.

    Raises WeightsError, naming file, line, layer and what to do, for a cfg, weights or names that cannot be
    read or do not fit each other; UsageError for a list of names of another length, and a wrong imgsz.
    """
    plan = read_plan(cfg, imgsz)
    if not plan.heads:
        raise WeightsError(f"{cfg}: has no [yolo] layer, so it finds nothing; give the cfg of a detector")
    classes = _class_names(names, plan)
    header, values = read_values(plan, weights)  # before the network takes memory for a cfg of another file
    network = build_graph(plan)
    set_variables(network, plan, values)
    return DarknetDetector(plan, network, header, classes)


def load_beside(weights: str | Path, imgsz: tuple[int, int] | None = None) -> DarknetDetector:
    """`load` with the `.cfg` of the same name beside the weights, and the `.names` if it is there. Raises
    WeightsError when there is no such cfg, and as `load`."""
    weights = Path(weights)
    cfg, names = weights.with_suffix(".cfg"), weights.with_suffix(".names")
    if not is_file(weights):
        raise WeightsError(f"{weights}: there is no such weights file")
    if not is_file(cfg):
        raise WeightsError(
            f"{weights}: Darknet's weights need the cfg they were trained with; put it beside them as {cfg}, "
            f"and the names of its classes as {names.name}"
        )
    return load(cfg, weights, names if is_file(names) else None, imgsz)


def _class_names(names: str | Path | Sequence[str] | None, plan: Plan) -> tuple[str, ...]:
    count = plan.heads[0].classes
    if names is None:
        return tuple(f"class {k}" for k in range(count))
    if not isinstance(names, str | Path):
        if len(names) != count:
            raise UsageError(f"{len(names)} class names are given, {plan.path} has classes={count}")
        return tuple(names)
    try:
        text = Path(names).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise WeightsError(f"{names}: is no file of class names, one a line: {error}") from error
    listed = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(listed) != count:
        raise WeightsError(
            f"{names}: has {len(listed)} class names, {plan.path} has classes={count}; give one name a line"
        )
    return listed
