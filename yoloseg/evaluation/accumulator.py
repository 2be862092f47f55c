"""Detections collected picture by picture, as COCO results with compressed masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from yoloseg.files import atomic_write


class DetectionAccumulator:
    """Collects detections in COCO's results form; a mask takes the few hundred bytes of its compressed RLE.

    category_ids[k]: the id the annotation file uses for class index k.
    results: the list of result dicts so far (image_id, category_id, bbox [x, y, w, h], score, segmentation).
    """

    def __init__(self, category_ids: Sequence[int]):
        self.category_ids = tuple(category_ids)
        self.results: list[dict] = []

    def add(
        self,
        image_id: int,
        boxes: np.ndarray,
        scores: np.ndarray,
        classes: np.ndarray,
        masks: Sequence[dict] | np.ndarray,
    ) -> None:
        """Adds one picture's detections.

        boxes: float [N, 4] xyxy in pixels of the picture; scores: float [N]; classes: int [N] class indices;
        masks: N COCO compressed RLE dicts, or bool [N, height, width], which are encoded here.
        """
        for box, score, class_index, mask in zip(boxes, scores, classes, masks, strict=True):
            x0, y0, x1, y1 = map(float, box)
            self.results.append(
                {
                    "image_id": image_id,
                    "category_id": self.category_ids[int(class_index)],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": float(score),
                    "segmentation": mask if isinstance(mask, dict) else encode_mask(mask),
                }
            )

    def save(self, path: str | Path) -> None:
        """Writes the results file (JSON, one detection a line), whole or not at all. Raises UsageError."""
        with atomic_write(path) as aside, aside.open("w", encoding="utf-8") as file:
            file.write("[")
            for index, result in enumerate(self.results):
                file.write(",\n" if index else "\n")
                file.write(json.dumps(result, allow_nan=False, separators=(",", ":")))
            file.write("\n]\n")


def encode_mask(mask: np.ndarray) -> dict:
    """bool or uint8 [height, width] -> COCO compressed RLE with `counts` as an ascii str (fit for JSON)."""
    rle = coco_mask.encode(np.asfortranarray(np.asarray(mask, bool), dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}
