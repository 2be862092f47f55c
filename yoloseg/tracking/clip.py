"""A video, a camera or a folder of frames in; each frame with its tracked instances out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from yoloseg.data.letterbox import letterbox
from yoloseg.inference.finder import Finder
from yoloseg.inference.predictor import Predictor
from yoloseg.inference.results import Result
from yoloseg.inference.sources import FPS_UNKNOWN, Frame, Source, open_source
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
    max_detections: int | None = None,
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
        for frame in frames:
            tracks = following(frame)
            source.dropped = frames.dropped
            yield tracks.image, tracks


class FittedFrame(NamedTuple):
    """A frame as the network and the tracker take it. image: uint8 [H, W, 3] RGB of its clip's size; name: of
    its video; number: in it; time: seconds; begins: whether it is the first of a clip."""

    image: np.ndarray
    name: str
    number: int
    time: float
    begins: bool


class Follower:
    """Calls the network and the tracker for one frame after the other. fitted: frames that were not of their
    clip's size. Where config asks for reid, predictor must give embeddings.

    In three steps, several frames may be looked at at a time: `fit` in order, `look` in any order, `follow`
    in order again.
    """

    def __init__(self, predictor: Predictor, config: TrackerConfig):
        self.predictor = predictor
        self.config = config
        self.fitted = 0
        self._clip: str | None = None
        self._size: tuple[int, int] = (0, 0)
        self._tracker = Tracker(self.config)
        self._last = -1

    def __call__(self, frame: Frame) -> Tracks:
        """Tracks of the next frame."""
        fitted = self.fit(frame)
        return self.follow(fitted, look(self.predictor, fitted))

    def fit(self, frame: Frame) -> FittedFrame:
        """The next frame, in the size of its clip. Another name, or a number that does not rise, begins a
        clip; pictures without a number all are of one clip."""
        name, image, index, time, position = frame
        clip, number = (name, index) if index is not None else ("", position)
        begins = clip != self._clip or number <= self._last
        if begins:
            self._clip, self._size = clip, image.shape[:2]
        self._last = number
        if image.shape[:2] != self._size:
            image = letterbox(image, self._size)
            self.fitted += 1
        return FittedFrame(image, name, number, number / FPS_UNKNOWN if time is None else time, begins)

    def follow(self, frame: FittedFrame, result: Result) -> Tracks:
        """Its tracks. result: what the network found in it."""
        if frame.begins:
            self._tracker = Tracker(self.config)
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
            time=frame.time,
            rles=[detections.masks[i] for i in chosen],
        )


def look(predictor: Predictor, frame: FittedFrame) -> Result:
    """What the network finds in a frame."""
    return predictor.predict_image(frame.image, path=frame.name, frame=frame.number)
