"""A YoloSeg model as a Finder: letterboxed batches through the network, back to each picture's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from yoloseg.data.letterbox import PADDING, letterbox, picture_region
from yoloseg.inference.finder import Found, boxes_in_picture
from yoloseg.modeling.detector import Detector

if TYPE_CHECKING:
    from yoloseg.modeling.network import YoloSeg


class KerasFinder:
    """A YoloSeg model as a Finder. Weights are read at every call: a model in training can be watched.

    batch_size: pictures that go through the network at a time; fewer are filled up with grey, so that there
    is one shape to compile. detector: used in place of one made for `model`. embeddings: whether to find
    these, too.
    """

    def __init__(
        self,
        model: YoloSeg,
        batch_size: int = 1,
        detector: Detector | None = None,
        embeddings: bool = False,
    ):
        self.classes = tuple(model.classes)
        self.imgsz = tuple(model.imgsz)
        self.score_threshold = float(model.score_threshold)
        self.max_detections = model.max_detections
        self.batch_size = batch_size
        self.embeddings = embeddings
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
            regions[slot] = picture_region(*picture.shape[:2], self.imgsz)
        asked = {"embeddings": True} if self.embeddings else {}
        detections = self.detector.detect(images, score_threshold, max_detections, regions, **asked)
        found = []
        for slot, picture in enumerate(pictures):
            count = int(detections["count"][slot])
            found.append(
                Found(
                    boxes_in_picture(detections["boxes"][slot][:count], *picture.shape[:2], self.imgsz),
                    detections["scores"][slot][:count],
                    detections["classes"][slot][:count].astype(int),
                    detections["masks"][slot],
                    detections["embeddings"][slot] if self.embeddings else None,
                )
            )
        return found
