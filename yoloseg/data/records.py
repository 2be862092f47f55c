"""What every annotation format is read into; nothing downstream knows the format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from yoloseg.data.images import read_image


@dataclass(frozen=True)
class Annotation:
    """One annotated object of one picture, in pixels of the original picture.

    segmentation: polygons as a tuple of float32 [n, 2] (x, y), or a COCO RLE dict with compressed `counts`
    (bytes).
    box: (x0, y0, x1, y1) as the file gives it (derived from the segmentation where the file has none).
    area: as the file gives it, in pixels; evaluation recomputes it from the mask.
    """

    class_index: int
    segmentation: tuple[np.ndarray, ...] | dict
    box: tuple[float, float, float, float]
    area: float
    crowd: bool = False
    annotation_id: int | None = None
    track_id: int | None = None


@dataclass(frozen=True)
class Record:
    """One picture with its annotations. `source` is a file, or a function that renders the pixels.

    frame_of: (clip name, frame number) for pictures that are frames of one clip, else None.
    """

    image_id: int
    source: Path | Callable[[], np.ndarray]
    height: int
    width: int
    annotations: tuple[Annotation, ...] = ()
    frame_of: tuple[str, int] | None = None

    def read_image(self) -> np.ndarray:
        """uint8 [height, width, 3] RGB. Raises DataError naming the file."""
        if isinstance(self.source, Path):
            return read_image(self.source, (self.height, self.width))
        return self.source()


@dataclass(frozen=True)
class Problem:
    """One defect met while reading: which file, which record, what was done about it."""

    file: str
    record: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.record}: {self.message}"


@dataclass
class Dataset:
    """Records of one split. `category_ids[k]` is the id that the source file uses for class index k, whose
    name is `classes[k]`."""

    name: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    records: list[Record]
    problems: list[Problem] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.records)

    def read_image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3] RGB of record `index`."""
        return self.records[index].read_image()
