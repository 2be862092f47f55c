"""What the network found in one picture, in pixels of that picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from yoloseg.data.trace import trace
from yoloseg.errors import UsageError
from yoloseg.files import atomic_write
from yoloseg.inference.drawing import draw_instances
from yoloseg.inference.paste import paste_mask, paste_to_rle

if TYPE_CHECKING:
    import supervision


@dataclass
class Result:
    """N detected instances of one picture, best score first.

    image: uint8 [H, W, 3] RGB, the picture itself (not a copy: do not write into it).
    boxes: float32 [N, 4] xyxy in pixels of the picture, inside it (the whole picture is 0, 0, W, H).
    scores: float32 [N] in 0..1. class_ids: int [N], 0..K-1. class_names: N names, one for each instance.
    mask_probabilities: float32 [N, m, m], each over its box. Masks are pasted from these only when asked for.
    embeddings: float32 [N, E] of length 1, where the Predictor was asked for them.
    path: the file the picture came from (a name for arrays and cameras), frame: its number in a
    video, from 0.
    """

    image: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    class_names: list[str]
    mask_probabilities: np.ndarray
    path: str | Path | None = None
    frame: int | None = None
    embeddings: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def mask(self, index: int) -> np.ndarray:
        """bool [H, W]: the mask of one instance; nothing is kept."""
        height, width = self.image.shape[:2]
        return paste_mask(self.mask_probabilities[index], self.boxes[index], height, width)

    @cached_property
    def masks(self) -> np.ndarray:
        """bool [N, H, W]; pasted at the first use and kept. On large pictures `mask(i)` needs less memory."""
        masks = np.empty((len(self), *self.image.shape[:2]), bool)
        for index in range(len(self)):
            masks[index] = self.mask(index)
        return masks

    def draw(self) -> np.ndarray:
        """uint8 [H, W, 3] RGB: a copy of the picture with masks, boxes, names and scores."""
        return draw_instances(
            self.image, self.boxes, self.class_ids, self.class_names, self.scores, mask_of=self.mask
        )

    def save(self, path: str | Path) -> None:
        """Writes `draw()` as a picture of the format the suffix names (.jpg, .png, ...), whole or not at all.

        Raises UsageError for a suffix OpenCV does not write, or a folder that cannot be written.
        """
        save_picture(path, self.draw())

    def to_coco(self, image_id: int, category_ids: Sequence[int]) -> list[dict]:
        """COCO results, one dict for each instance, ready for json.dump.

        category_ids[k] is the id the annotation file uses for class index k. `bbox` is x, y, width, height in
        pixels to a hundredth, `segmentation` a compressed RLE [H, W] whose counts are a str, `score` to 6
        digits.
        """
        height, width = self.image.shape[:2]
        found = []
        for i, (x0, y0, x1, y1) in enumerate(self.boxes.tolist()):
            found.append(
                {
                    "image_id": int(image_id),
                    "category_id": int(category_ids[self.class_ids[i]]),
                    "bbox": [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)],
                    "segmentation": paste_to_rle(self.mask_probabilities[i], self.boxes[i], height, width),
                    "score": round(float(self.scores[i]), 6),
                }
            )
        return found

    def polygons(self, tolerance: float = 0.0) -> list[list[np.ndarray]]:
        """For each instance the outlines of its parts, float32 [n, 2] (x, y), along the edges of pixels; see
        `yoloseg.data.trace`. tolerance: pixels by which they may be simplified."""
        return [trace(self.mask(index), tolerance) for index in range(len(self))]

    def to_supervision(self) -> supervision.Detections:
        """supervision.Detections with xyxy, mask, confidence, class_id and data["class_name"]; N may be 0."""
        import supervision as sv

        return sv.Detections(
            xyxy=self.boxes.astype(np.float32),
            mask=self.masks,
            confidence=self.scores.astype(np.float32),
            class_id=self.class_ids.astype(int),
            data={"class_name": np.array(self.class_names, dtype=str)},
        )


def save_picture(path: str | Path, image: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] RGB atomically in the format of the suffix; UsageError where OpenCV cannot."""
    path = Path(path)
    if not (path.suffix.isascii() and path.suffix and cv2.haveImageWriter("picture" + path.suffix)):
        raise UsageError(
            f"cannot write {path}: no picture format has the suffix {path.suffix!r}; use .jpg or .png"
        )
    good, content = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not good:
        raise UsageError(f"cannot write {path}: OpenCV could not make a {path.suffix} of {image.shape[:2]}")
    with atomic_write(path) as aside:  # not imwrite, which ends the process where a name is no UTF-8
        aside.write_bytes(content)
