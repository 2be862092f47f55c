"""One track as the tracker remembers it, and the tracked instances of a frame as users get them."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from yoloseg.data.lettering import writable
from yoloseg.inference.drawing import draw_instances
from yoloseg.inference.results import Result
from yoloseg.tracking.detections import Detections
from yoloseg.tracking.reid import remembered

if TYPE_CHECKING:
    import supervision

REMEMBERED = 16  # embeddings that a track keeps
ROOM = 0.2  # of a track's size, by which it may lie elsewhere than thought
UNSEEN = 0.15  # the same, more in each frame in which it is not seen
FADING = 0.99  # of a track's size, each frame in which less of it is seen
STEPS = 8  # from one frame to the next, from which its velocity is measured


class TrackState:
    """What is known of one instance. last_frame: when it was seen last; mask: its RLE then."""

    def __init__(self, number: int):
        self.id = number
        self.last_frame = -1
        self.mask: dict = {}
        self.seen = 0
        self._box = np.zeros(4)
        self._steps: deque[tuple[float, ...]] = deque(maxlen=STEPS)  # of x0, y0, x1, y1, a frame
        self._embeddings: deque[tuple[int, np.ndarray]] = deque(maxlen=REMEMBERED)
        self._votes: dict[int, float] = defaultdict(float)
        self._scores = 0.0
        self._size = np.zeros(2)  # width and height of all of it, as far as it was seen

    def add(self, frame: int, detections: Detections, row: int) -> None:
        """Continues the track with a detection."""
        box = np.asarray(detections.boxes[row], np.float64)
        if self.seen:
            self._steps.append(tuple(((box - self._box) / (frame - self.last_frame)).tolist()))
        self.last_frame, self.mask = frame, detections.masks[row]
        self.seen += 1
        self._box = box
        self._size = np.maximum(FADING * self._size, box[2:] - box[:2])
        if detections.embeddings is not None:
            self._embeddings.append((frame, detections.embeddings[row]))
        score = float(detections.scores[row])
        self._votes[int(detections.class_ids[row])] += score
        self._scores += score

    @property
    def class_id(self) -> int:
        """The class that its detections voted for, each with its score."""
        return max(self._votes, key=self._votes.__getitem__)

    @property
    def score(self) -> float:
        """The mean of its detections' scores."""
        return self._scores / self.seen

    def velocity(self) -> tuple[float, float]:
        """x, y in pixels a frame, the median over its latest steps and over both of its edges, so that an
        edge which another object hides counts little."""
        if not self._steps:
            return 0.0, 0.0
        left, top, right, bottom = zip(*self._steps, strict=True)
        return median(left + right), median(top + bottom)

    def shift(self, frame: int) -> tuple[float, float]:
        """How far its mask should have moved by `frame`."""
        x, y = self.velocity()
        return x * (frame - self.last_frame), y * (frame - self.last_frame)

    def place(self, frame: int) -> np.ndarray:
        """float [4] xyxy: where any part of it may be by `frame`: its last box, moved on, and wider by what
        is hidden of the size it had, on whichever side that is, and by how much it may have moved unseen."""
        box, velocity, lost = self._box, np.array(self.velocity()), frame - self.last_frame
        hidden = np.maximum(self._size - (box[2:] - box[:2]), 0)
        room = hidden + ROOM * self._size + lost * (0.5 * np.linalg.norm(velocity) + UNSEEN * self._size)
        return box + np.tile(velocity * lost, 2) + np.concatenate([-room, room])

    def embedding(self, frame: int) -> np.ndarray:
        """float [E], as `remembered` weights them."""
        frames, vectors = zip(*self._embeddings, strict=True)
        return remembered(np.stack(vectors), frame - np.array(frames))


@dataclass
class Tracks(Result):
    """A Result whose instances have identities: ids int [N], from 1, the same through the clip. class_ids and
    class_names are those of the track, voted on by its detections. time: seconds from the clip's start. rles:
    N masks, {"size": [H, W], "counts": bytes}."""

    ids: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    time: float = 0.0
    rles: list[dict] = field(default_factory=list)

    def draw(self) -> np.ndarray:
        """uint8 [H, W, 3] RGB: a copy of the frame with masks, boxes and names; colours go by identity."""
        shown = zip(self.ids, self.class_names, self.class_ids, strict=True)
        names = [f"{number} {writable(name, f'class {kind}')}" for number, name, kind in shown]
        return draw_instances(self.image, self.boxes, self.ids, names, self.scores, mask_of=self.mask)

    def to_supervision(self) -> supervision.Detections:
        """As `Result.to_supervision`, with tracker_id: supervision's traces and labels go by it."""
        detections = super().to_supervision()
        detections.tracker_id = self.ids.astype(int)
        return detections
