"""Pictures of any size -> instances in their own pixels, computed by Keras or by an exported file.

Nothing here imports Keras: exported files run without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from yoloseg.data.letterbox import invert, letterbox_matrix

if TYPE_CHECKING:
    from yoloseg.modeling.detector import Detector
    from yoloseg.modeling.network import YoloSeg


@dataclass
class Found:
    """N instances of one picture, best score first.

    boxes: float32 [N, 4] xyxy in pixels of the picture, within it. scores: float32 [N]. class_ids: int [N].
    masks: float32 [N, 28, 28], probabilities, each over its box (or `whole_boxes`). embeddings: float32
    [N, E] of length 1, by which instances are known again, or None.
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    masks: np.ndarray
    embeddings: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)


class Finder(Protocol):
    """What finds instances. classes: names, index = class id. imgsz: (height, width) of the network input.
    score_threshold, max_detections (in a picture): what `predict` uses by default."""

    classes: tuple[str, ...]
    imgsz: tuple[int, int]
    score_threshold: float
    max_detections: int

    def find(
        self, pictures: Sequence[np.ndarray], score_threshold: float, max_detections: int
    ) -> list[Found]:
        """pictures: uint8 [H, W, 3] RGB, each of any size. Returns one Found for each: its best
        `max_detections` of at least `score_threshold`.
        """


def whole_boxes(count: int) -> np.ndarray:
    """The masks of `count` boxes without masks, float32 [count, 28, 28]: 2, which at a corner of the box,
    where pasting interpolates with zeros on two sides, is still a half."""
    return np.full((count, 28, 28), 2, np.float32)


def boxes_in_picture(boxes: np.ndarray, height: int, width: int, imgsz: tuple[int, int]) -> np.ndarray:
    """boxes [N, 4] xyxy in pixels of a letterboxed network input -> float32 [N, 4] in pixels of the picture,
    which is height x width; within it."""
    matrix = invert(letterbox_matrix(height, width, imgsz))
    scale, shift = matrix[[0, 1], [0, 1]], matrix[:, 2]
    boxes = boxes * np.tile(scale, 2) + np.tile(shift, 2)
    return np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)


def finder_of(
    model: YoloSeg | Finder, batch_size: int = 1, detector: Detector | None = None
) -> Finder:
    """The model itself where it finds instances; otherwise a KerasFinder around it, which has the options."""
    if hasattr(model, "find"):
        return model
    from yoloseg.inference.keras_finder import KerasFinder

    return KerasFinder(model, batch_size, detector)
