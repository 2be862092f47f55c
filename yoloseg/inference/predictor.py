"""Pictures in, instances in picture pixels out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from yoloseg.errors import UsageError
from yoloseg.inference.exported import ExportedFile
from yoloseg.inference.finder import Finder, finder_of
from yoloseg.inference.results import Result
from yoloseg.inference.sources import Source, checked_picture, open_source

if TYPE_CHECKING:
    from yoloseg.modeling.network import YoloSeg


class Predictor:
    """Runs a network over pictures, one at a time.

    model: from `yoloseg.load`. score_threshold: 0..1, only detections of at least this score are kept and pay
    for a mask; None takes the threshold stored in the model. max_detections: kept in a picture, best first;
    None takes the number stored in the model. embeddings: whether results have these, too (networks; exported
    files do not give them).
    The attribute `limits` is what to tell a user who asks an exported file for more than it keeps, None if
    that is not so.
    Raises UsageError when a number is out of range, or for embeddings of an exported file.

        for result in Predictor(yoloseg.load("best.keras"))("photographs/"):
            result.save(Path("out") / Path(result.path).name)
    """

    def __init__(
        self,
        model: YoloSeg | Finder,
        *,
        score_threshold: float | None = None,
        max_detections: int | None = None,
        embeddings: bool = False,
    ):
        finder = finder_of(model)
        if embeddings and not hasattr(finder, "embeddings"):
            raise UsageError("these weights give no embeddings; take a .keras file that training wrote")
        if embeddings:
            finder.embeddings = True
        threshold = float(finder.score_threshold if score_threshold is None else score_threshold)
        if not 0 <= threshold <= 1:
            raise UsageError(f"the score threshold must lie in 0..1, not {threshold}")
        most = int(finder.max_detections if max_detections is None else max_detections)
        if most < 1:
            raise UsageError(f"max_detections must be at least 1, not {most}")
        self.classes = finder.classes
        self.imgsz = finder.imgsz
        self.score_threshold = threshold
        self.max_detections = most
        self.limits = finder.limits(threshold, most) if isinstance(finder, ExportedFile) else None
        self._finder = finder

    def __call__(self, source: str | Path | int | np.ndarray | Sequence | Source) -> Iterator[Result]:
        """A result for each picture of `source` (see `open_source`), in order, computed when it is asked for.

        Errors of the source are raised here, not at the first result; so is UsageError where one of its
        pictures or videos is of a size that an exported file does not take. Pass an opened Source to read
        `skipped` later.
        """
        opened = source if isinstance(source, Source) else open_source(source)
        self.check_source(opened)
        return (self.predict_image(image, path=name, frame=index) for name, image, index, *_ in opened)

    def check(self, height: int, width: int) -> None:
        """Raises UsageError for pictures of a size that an exported file does not take."""
        if isinstance(self._finder, ExportedFile):
            self._finder.check(height, width)

    def check_source(self, source: Source) -> None:
        """`check` for everything in an opened source that says its size, before any of it is worked on."""
        if not isinstance(self._finder, ExportedFile) or self._finder.any_size:
            return
        for name, height, width in source.sizes():
            try:
                self._finder.check(height, width)
            except UsageError as error:
                raise UsageError(f"{name}: {error}") from None

    def predict_image(
        self, image: np.ndarray, path: str | Path | None = None, frame: int | None = None
    ) -> Result:
        """image: uint8 [H, W, 3] RGB of any size (kept in the result, not copied). path, frame: passed on.

        Raises UsageError for an array of another shape or dtype.
        """
        checked_picture(image, "a picture")
        found = self._finder.find([image], self.score_threshold, self.max_detections)[0]
        return Result(
            image=image,
            boxes=found.boxes,
            scores=found.scores,
            class_ids=found.class_ids,
            class_names=[self.classes[k] for k in found.class_ids],
            mask_probabilities=found.masks,
            embeddings=found.embeddings,
            path=path,
            frame=frame,
        )
