"""Pictures in, instances in picture pixels out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from yoloseg.data.letterbox import invert, letterbox, letterbox_matrix
from yoloseg.errors import UsageError
from yoloseg.inference.results import Result
from yoloseg.inference.sources import Source, checked_picture, open_source
from yoloseg.modeling.detector import Detector

if TYPE_CHECKING:
    from yoloseg.modeling.network import YoloSeg


class Predictor:
    """Runs a network over pictures, one at a time.

    model: from `yoloseg.load`. score_threshold: 0..1, only detections of at least this score are kept and pay
    for a mask; None takes the threshold stored in the model. max_detections: kept in a picture, best first.
    Raises UsageError when a number is out of range.

        for result in Predictor(yoloseg.load("best.keras"))("photographs/"):
            result.save(Path("out") / Path(result.path).name)
    """

    def __init__(self, model: YoloSeg, *, score_threshold: float | None = None, max_detections: int = 100):
        threshold = float(model.score_threshold if score_threshold is None else score_threshold)
        if not 0 <= threshold <= 1:
            raise UsageError(f"the score threshold must lie in 0..1, not {threshold}")
        if max_detections < 1:
            raise UsageError(f"max_detections must be at least 1, not {max_detections}")
        self.classes = tuple(model.classes)
        self.imgsz = tuple(model.imgsz)
        self.score_threshold = threshold
        self.max_detections = int(max_detections)
        self._detector = Detector(model)

    def __call__(self, source: str | Path | int | np.ndarray | Sequence | Source) -> Iterator[Result]:
        """A result for each picture of `source` (see `open_source`), in order, computed when it is asked for.

        Errors of the source are raised here, not at the first result. Pass an opened Source to read `skipped`
        later.
        """
        opened = source if isinstance(source, Source) else open_source(source)
        return (self.predict_image(image, path=name, frame=index) for name, image, index in opened)

    def predict_image(
        self, image: np.ndarray, path: str | Path | None = None, frame: int | None = None
    ) -> Result:
        """image: uint8 [H, W, 3] RGB of any size (kept in the result, not copied). path, frame: passed on.

        Raises UsageError for an array of another shape or dtype.
        """
        height, width = checked_picture(image, "a picture").shape[:2]
        found = self._detector.detect(
            letterbox(image, self.imgsz)[None], self.score_threshold, self.max_detections
        )
        count = int(found["count"][0])
        to_picture = invert(letterbox_matrix(height, width, self.imgsz))
        mask_boxes = _transform_boxes(found["boxes"][0][:count], to_picture)
        boxes = np.clip(mask_boxes, 0, np.float32([width, height, width, height]))
        inside = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))  # the rest lies in the padding
        class_ids = found["classes"][0][inside].astype(int)
        probabilities = found["masks"][0]
        return Result(
            image=image,
            boxes=boxes[inside],
            scores=found["scores"][0][inside],
            class_ids=class_ids,
            class_names=[self.classes[k] for k in class_ids],
            mask_probabilities=probabilities if len(inside) == len(probabilities) else probabilities[inside],
            mask_boxes=mask_boxes[inside],
            path=path,
            frame=frame,
        )


def _transform_boxes(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """boxes [N, 4] xyxy through a 2x3 matrix of scale and shift alone -> float32 [N, 4]."""
    scale, shift = matrix[[0, 1], [0, 1]], matrix[:, 2]
    return (boxes * np.tile(scale, 2) + np.tile(shift, 2)).astype(np.float32)
