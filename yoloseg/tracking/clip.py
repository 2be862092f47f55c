"""A video, a camera or a folder of frames in; each frame with its tracked instances out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from yoloseg.data.letterbox import letterbox
from yoloseg.inference.finder import Finder
from yoloseg.inference.predictor import Predictor
from yoloseg.inference.results import Result
from yoloseg.inference.sources import FPS_UNKNOWN, Source, open_source
from yoloseg.tracking.detections import Detections
from yoloseg.tracking.stream import ReadAhead
from yoloseg.tracking.tracker import Tracker, TrackerConfig
from yoloseg.tracking.tracks import Tracks

if TYPE_CHECKING:
    from yoloseg.modeling.network import YoloSeg


def track(
    source: str | Path | int | np.ndarray | Sequence | Source,
    model: YoloSeg | Finder,
    config: TrackerConfig | None = None,
    *,
    score_threshold: float | None = None,
    max_detections: int = 100,
) -> Iterator[tuple[np.ndarray, Tracks]]:
    """(frame uint8 [H, W, 3] RGB, its Tracks) for each frame of `source` in order.

        for frame, tracks in yoloseg.tracking.track("clip.mp4", yoloseg.load("best.keras")):
            print(tracks.ids, tracks.class_names)

    source: as `open_source` takes it; a folder of pictures, or a list of them, is one clip, several videos
    are one clip each: identities end with the clip. model: from `yoloseg.load`, also an exported file.
    config, score_threshold, max_detections: as of Tracker and Predictor. Frames are read ahead by a thread; a
    camera's that come too fast are dropped. A frame of another size than its clip's first is fitted into that
    size, grey around it. Errors of the source and of the numbers are raised here, not at the first frame.
    """
    opened = source if isinstance(source, Source) else open_source(source)
    config = config or TrackerConfig()
    predictor = Predictor(
        model, score_threshold=score_threshold, max_detections=max_detections, embeddings=config.reid
    )
    return _frames(opened, Follower(predictor, config))


def _frames(source: Source, following: Follower) -> Iterator[tuple[np.ndarray, Tracks]]:
    with ReadAhead(source) as frames:
        for name, image, index, time, position in frames:
            tracks = following(image, name, index, time, position)
            source.dropped = frames.dropped
            yield tracks.image, tracks


class Follower:
    """Calls the network and the tracker for one frame after the other. fitted: frames that were not of their
    clip's size. Where config asks for reid, predictor must give embeddings."""

    def __init__(self, predictor: Predictor, config: TrackerConfig):
        self.predictor = predictor
        self.config = config
        self.fitted = 0
        self._clip: str | None = None
        self._size: tuple[int, int] = (0, 0)
        self._tracker = Tracker(self.config)
        self._last = -1

    def __call__(
        self, image: np.ndarray, name: str, index: int | None, time: float | None, position: int = 0
    ) -> Tracks:
        """Tracks of the next frame. name: of its video; another one, or a number that does not rise, begins a
        clip. index, time: its number there and seconds from the start, None for pictures, which all are of
        one clip; position: their number."""
        clip, number = (name, index) if index is not None else ("", position)
        if clip != self._clip or number <= self._last:
            self._clip, self._size = clip, image.shape[:2]
            self._tracker = Tracker(self.config)
        self._last = number
        if image.shape[:2] != self._size:
            image = letterbox(image, self._size)
            self.fitted += 1
        result = self.predictor.predict_image(image, path=name, frame=number)
        return self._tracked(result, number / FPS_UNKNOWN if time is None else time)

    def _tracked(self, result: Result, time: float) -> Tracks:
        detections = Detections.of_result(result)
        ids = self._tracker.update(detections, result.frame)
        chosen = np.flatnonzero(ids)
        classes = np.array([self._tracker.tracks[number].class_id for number in ids[chosen]], int)
        return Tracks(
            image=result.image,
            boxes=result.boxes[chosen],
            scores=result.scores[chosen],
            class_ids=classes,
            class_names=[self.predictor.classes[k] for k in classes],
            mask_probabilities=result.mask_probabilities[chosen],
            embeddings=None if result.embeddings is None else result.embeddings[chosen],
            path=result.path,
            frame=result.frame,
            ids=ids[chosen],
            time=time,
            rles=[detections.masks[i] for i in chosen],
        )
