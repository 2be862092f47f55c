"""A part of a picture at another scale, taken alike from the photograph and from its labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from yoloseg.data.images import read_image


@dataclass(frozen=True)
class View:
    """top, bottom: rows that are cut off. scale: of what is left, at most 1; sides are rounded."""

    top: int = 0
    bottom: int = 0
    scale: float = 1.0

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the view of a picture of that size; 0 where nothing of a side is left."""
        rows = height - self.top - self.bottom
        return max(round(rows * self.scale), 0), max(round(width * self.scale), 0)

    def picture(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] -> the view, each pixel the mean of the area it covers."""
        return self._resized(pixels, cv2.INTER_AREA)

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """int32 [H, W] -> the view, each pixel the nearest one."""
        return self._resized(labels, cv2.INTER_NEAREST_EXACT)

    def _resized(self, pixels: np.ndarray, interpolation: int) -> np.ndarray:
        height, width = self.size(*pixels.shape[:2])
        part = pixels[self.top : pixels.shape[0] - self.bottom]
        if part.shape[:2] == (height, width):
            return np.ascontiguousarray(part)
        return cv2.resize(part, (width, height), interpolation=interpolation)


def read_view(path: Path, size: tuple[int, int], view: View) -> np.ndarray:
    """uint8 RGB of a view of a picture file whose own (height, width) is `size`. Raises DataError."""
    return view.picture(read_image(path, size))
