"""Links the detections of a clip, frame by frame, into tracks that keep their identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from yoloseg.errors import UsageError
from yoloseg.tracking.association import associate
from yoloseg.tracking.detections import Detections
from yoloseg.tracking.reid import UNLIKE, bidirectional_softmax
from yoloseg.tracking.rle import moved_rle, rle_iou
from yoloseg.tracking.tracks import TrackState

Doubtful = Literal["best", "new", "drop"]
SAME = 0.5  # of `bidirectional_softmax`, and of the share of a box: above, it is the same (IDOL, section 3.3)


@dataclass(frozen=True)
class TrackerConfig:
    """How detections become tracks. Defaults are what train/tracking.py measured best; `report()` has the
    values of the YOLOv4+1 report.

    gating, margin: as in `associate`. doubtful: what becomes of a detection that failed a friend test: the
    best of the tracks that are left, and a new track if none is near ("best"), a new track ("new"), or
    nothing ("drop"). memory: frames for which a track that is not seen is remembered. motion: whether masks
    are compared where their track should be by now, and lost tracks are looked for there. reid: whether lost
    tracks are known again by their embeddings, before they are looked for by place, and masks match at first
    only where the embeddings are not UNLIKE; detections must have them. across_classes: whether a detection
    may continue a track of another class; its class is then voted on. new_score: least score with which a
    track is opened.
    """

    gating: float = 0.99
    margin: float = 0.01
    doubtful: Doubtful = "best"
    memory: int = 30
    motion: bool = True
    reid: bool = False
    across_classes: bool = False
    new_score: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.gating <= 1 or not 0 <= self.margin <= 1 or not 0 <= self.new_score <= 1:
            raise UsageError("gating, margin and new score must lie in 0..1, gating above 0")
        if self.doubtful not in get_args(Doubtful):
            raise UsageError(f"doubtful must be {', '.join(get_args(Doubtful))}, not {self.doubtful!r}")
        if self.memory < 0:
            raise UsageError(f"memory is a number of frames, 0 or more, not {self.memory}")

    @staticmethod
    def report() -> TrackerConfig:
        """Section 3.1 of the report: masks of the frame before, nothing remembered."""
        return TrackerConfig(gating=0.99, margin=0.01, doubtful="new", memory=0, motion=False)


class Tracker:
    """`update` with the detections of each frame in turn gives each its track. tracks: by id, those that are
    seen or remembered."""

    def __init__(self, config: TrackerConfig | None = None):
        self.config = config or TrackerConfig()
        self.tracks: dict[int, TrackState] = {}
        self._frame = -1
        self._last_id = 0

    def update(self, detections: Detections, frame: int | None = None) -> np.ndarray:
        """int [N]: the id of each detection's track, counted from 1; 0 where it is left out (`doubtful`
        "drop", or a score below `new_score`). All frames must have one size. frame: its number, where some
        are missing; the one after the last if not given. Raises ValueError if it is not above the last,
        UsageError where reid lacks embeddings.
        """
        if self.config.reid and len(detections) and detections.embeddings is None:
            raise UsageError("reid needs detections with embeddings; a .keras network gives them")
        number = self._frame + 1 if frame is None else frame
        if number <= self._frame:
            raise ValueError(f"frame {number} comes after frame {self._frame}")
        self._frame = number
        config, ids = self.config, np.zeros(len(detections), int)
        tracks = list(self.tracks.values())
        cost = self._mask_cost(detections, tracks)
        matches, rows, doubtful = associate(cost, config.gating, config.margin)
        self._continue(detections, tracks, matches, ids)
        if config.doubtful == "best":
            rows, doubtful = sorted([*rows, *doubtful]), []
            free = [column for column, track in enumerate(tracks) if track.last_frame < self._frame]
            taken = _greedy(cost[np.ix_(rows, free)], config.gating)
            self._continue(detections, tracks, [(rows[i], free[j]) for i, j in taken], ids)
            rows = [row for row in rows if not ids[row]]
        rows = self._recover(detections, rows, ids)
        for row in [*rows, *(doubtful if config.doubtful == "new" else ())]:
            if detections.scores[row] >= config.new_score:
                self._last_id += 1
                ids[row] = self._last_id
                self.tracks[self._last_id] = TrackState(self._last_id)
                self.tracks[self._last_id].add(self._frame, detections, row)
        self.tracks = {
            number: track
            for number, track in self.tracks.items()
            if self._frame - track.last_frame <= config.memory
        }
        return ids

    def _mask_cost(self, detections: Detections, tracks: list[TrackState]) -> np.ndarray:
        """1 - IoU of masks, 1 between different classes and, with reid, where embeddings are unlike."""
        masks = []
        for track in tracks:
            shift = track.shift(self._frame) if self.config.motion else (0.0, 0.0)
            masks.append(moved_rle(track.mask, *shift) if any(shift) else track.mask)
        cost = 1.0 - rle_iou(detections.masks, masks)
        possible = self._possible(detections, tracks)
        if self.config.reid and cost.size:
            possible &= detections.embeddings @ self._memory(tracks).T > UNLIKE
        return np.where(possible, cost, 1.0)

    def _possible(self, detections: Detections, tracks: list[TrackState]) -> np.ndarray:
        """bool [M, N]: whether a detection may continue a track."""
        classes = np.array([track.class_id for track in tracks], int)
        return self.config.across_classes | (detections.class_ids[:, None] == classes)

    def _recover(self, detections: Detections, rows: list[int], ids: np.ndarray) -> list[int]:
        """Finds lost tracks again, by embedding and by place; returns the rows that are still without one."""
        for used, scores_of in ((self.config.reid, self._alike), (self.config.motion, self._place)):
            tracks = list(self.tracks.values())
            lost = [column for column, track in enumerate(tracks) if track.last_frame < self._frame]
            if not used or not rows or not lost:
                continue
            score = np.where(self._possible(detections, tracks), scores_of(detections, tracks), 0.0)
            pairs = _greedy(1.0 - score[np.ix_(rows, lost)], 1.0 - SAME)
            self._continue(detections, tracks, [(rows[i], lost[j]) for i, j in pairs], ids)
            rows = [row for row in rows if not ids[row]]
        return rows

    def _place(self, detections: Detections, tracks: list[TrackState]) -> np.ndarray:
        """float [M, N] in 0..1: how much of a detection's box lies where a lost track may be."""
        places = np.array([track.place(self._frame) for track in tracks])
        boxes = detections.boxes
        low = np.maximum(boxes[:, None, :2], places[None, :, :2])
        high = np.minimum(boxes[:, None, 2:], places[None, :, 2:])
        shared = np.maximum(high - low, 0).prod(-1)
        area = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(-1), 1e-9)
        share = shared / area[:, None]
        sides = np.sqrt(np.maximum((places[:, 2:] - places[:, :2]).prod(-1), 1e-9))
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2, (places[:, :2] + places[:, 2:]) / 2
        far = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=-1) / sides
        return share * (1 - 0.25 * np.minimum(far, 1))

    def _alike(self, detections: Detections, tracks: list[TrackState]) -> np.ndarray:
        """float [M, N] in 0..1, among all of them: also those that are found already are candidates."""
        return bidirectional_softmax(detections.embeddings, self._memory(tracks))

    def _memory(self, tracks: list[TrackState]) -> np.ndarray:
        """float [N, E], N at least 1."""
        return np.stack([track.embedding(self._frame) for track in tracks])

    def _continue(self, detections, tracks, matches, ids) -> None:
        for row, column in matches:
            tracks[column].add(self._frame, detections, row)
            ids[row] = tracks[column].id


def _greedy(cost: np.ndarray, gating: float) -> list[tuple[int, int]]:
    """Pairs by rising cost below `gating`, no row and no column twice."""
    pairs, rows, columns = [], set(), set()
    for index in np.argsort(cost, axis=None, kind="stable").tolist():
        row, column = divmod(index, cost.shape[1])
        if cost[row, column] >= gating:
            break
        if row not in rows and column not in columns:
            pairs.append((row, column))
            rows.add(row)
            columns.add(column)
    return pairs
