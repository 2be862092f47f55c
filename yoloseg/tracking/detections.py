"""What the tracker is given of a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yoloseg.inference.paste import paste_to_rle
from yoloseg.inference.results import Result


@dataclass
class Detections:
    """N instances of one frame.

    boxes: float [N, 4] xyxy in pixels. scores: float [N]. class_ids: int [N]. masks: N COCO RLE dicts of the
    frame's size, counts bytes. embeddings: float [N, E], each of length 1, or None.
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    masks: list[dict]
    embeddings: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def of_result(cls, result: Result) -> Detections:
        """Those of a `Predictor`; masks are pasted here."""
        height, width = result.image.shape[:2]
        pairs = zip(result.mask_probabilities, result.boxes, strict=True)
        masks = [paste_to_rle(probabilities, box, height, width) for probabilities, box in pairs]
        for mask in masks:
            mask["counts"] = mask["counts"].encode("ascii")
        return cls(result.boxes, result.scores, result.class_ids, masks, result.embeddings)
