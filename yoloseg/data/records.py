"""What every annotation format is read into; nothing downstream knows the format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
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
class Verified:
    """What is known of one picture of a federated set (LVIS: arXiv 1908.03195, section 3), beyond what is
    annotated in it.

    absent: class indices that it surely does not show. partly: class indices of which not every object is
    annotated. Of classes that are neither annotated nor absent nothing is known.
    """

    absent: frozenset[int] = frozenset()
    partly: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Record:
    """One picture with its annotations. `source` is a file, or a function that renders the pixels.

    frame_of: (clip name, frame number) for pictures that are frames of one clip, else None. verified: None
    where every object of every class is annotated.
    """

    image_id: int
    source: Path | Callable[[], np.ndarray]
    height: int
    width: int
    annotations: tuple[Annotation, ...] = ()
    frame_of: tuple[str, int] | None = None
    verified: Verified | None = None

    @property
    def exhaustive(self) -> frozenset[int] | None:
        """Class indices of which every object in the picture is annotated; None for all."""
        if self.verified is None:
            return None
        shown = {annotation.class_index for annotation in self.annotations}
        return (self.verified.absent | shown) - self.verified.partly

    @property
    def short_name(self) -> str:
        """By which people find the picture: clip and frame, or its file's name; its id if it has neither."""
        if self.frame_of is not None:
            return f"{self.frame_of[0]} {self.frame_of[1]}"
        return str(self.image_id) if self.file is None else self.file.name

    @property
    def file(self) -> Path | None:
        """Of the picture, also where it is cropped or scaled as it is read; None for one that is rendered."""
        source = self.source.args[0] if isinstance(self.source, partial) and self.source.args else self.source
        return source if isinstance(source, Path) else None

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
    name is `classes[k]`. frequencies: of federated sets, where every record has `verified`: "r", "c" or "f"
    (rare, common, frequent) for each class. clip_ids: the file's id of each clip, by the clip's name, where
    it has one."""

    name: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    records: list[Record]
    problems: list[Problem] = field(default_factory=list)
    frequencies: tuple[str, ...] = ()
    clip_ids: dict[str, int] = field(default_factory=dict)

    @property
    def federated(self) -> bool:
        """Whether not every class is annotated in every picture."""
        return bool(self.frequencies)

    def __len__(self) -> int:
        return len(self.records)

    def read_image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3] RGB of record `index`."""
        return self.records[index].read_image()
