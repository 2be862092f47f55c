"""Pictures of any size -> instances in their own pixels, computed by Keras or by an exported file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from yoloseg.data.letterbox import PADDING, invert, letterbox, letterbox_matrix, letterbox_region
from yoloseg.modeling.detector import Detector

if TYPE_CHECKING:
    from yoloseg.modeling.network import YoloSeg


@dataclass
class Found:
    """N instances of one picture, best score first.

    boxes: float32 [N, 4] xyxy in pixels of the picture, within it. scores: float32 [N]. class_ids: int [N].
    masks: float32 [N, 28, 28], probabilities, each over its box.
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    masks: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)


class Finder(Protocol):
    """What finds instances. classes: names, index = class id. imgsz: (height, width) of the network input.
    score_threshold: what `predict` uses by default."""

    classes: tuple[str, ...]
    imgsz: tuple[int, int]
    score_threshold: float

    def find(
        self, pictures: Sequence[np.ndarray], score_threshold: float, max_detections: int
    ) -> list[Found]:
        """pictures: uint8 [H, W, 3] RGB, each of any size. Returns one Found for each: its best
        `max_detections` of at least `score_threshold`.
        """


class KerasFinder:
    """A YoloSeg model as a Finder. Weights are read at every call: a model in training can be watched.

    batch_size: pictures that go through the network at a time; fewer are filled up with grey, so that there
    is one shape to compile. detector: used in place of one made for `model`.
    """

    def __init__(self, model: YoloSeg, batch_size: int = 1, detector: Detector | None = None):
        self.classes = tuple(model.classes)
        self.imgsz = tuple(model.imgsz)
        self.score_threshold = float(model.score_threshold)
        self.batch_size = batch_size
        self.detector = detector or Detector(model)

    def find(
        self, pictures: Sequence[np.ndarray], score_threshold: float, max_detections: int
    ) -> list[Found]:
        """As Finder says."""
        found = []
        for start in range(0, len(pictures), self.batch_size):
            found += self._batch(pictures[start : start + self.batch_size], score_threshold, max_detections)
        return found

    def _batch(self, pictures, score_threshold, max_detections) -> list[Found]:
        images = np.full((self.batch_size, *self.imgsz, 3), PADDING, np.uint8)
        regions = np.zeros((self.batch_size, 4), np.float32)
        for slot, picture in enumerate(pictures):
            images[slot] = letterbox(picture, self.imgsz)
            regions[slot] = letterbox_region(*picture.shape[:2], self.imgsz)
        detections = self.detector.detect(images, score_threshold, max_detections, regions)
        found = []
        for slot, picture in enumerate(pictures):
            count = int(detections["count"][slot])
            found.append(
                Found(
                    boxes_in_picture(detections["boxes"][slot][:count], *picture.shape[:2], self.imgsz),
                    detections["scores"][slot][:count],
                    detections["classes"][slot][:count].astype(int),
                    detections["masks"][slot],
                )
            )
        return found


def boxes_in_picture(boxes: np.ndarray, height: int, width: int, imgsz: tuple[int, int]) -> np.ndarray:
    """boxes [N, 4] xyxy in pixels of a letterboxed network input -> float32 [N, 4] in pixels of the picture,
    which is height x width; within it."""
    matrix = invert(letterbox_matrix(height, width, imgsz))
    scale, shift = matrix[[0, 1], [0, 1]], matrix[:, 2]
    boxes = boxes * np.tile(scale, 2) + np.tile(shift, 2)
    return np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)


def finder_of(model: YoloSeg | Finder, batch_size: int = 1) -> Finder:
    """The model itself where it finds instances, a KerasFinder around it otherwise."""
    return model if hasattr(model, "find") else KerasFinder(model, batch_size)
