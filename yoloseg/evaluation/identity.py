"""How well objects keep their identity through clips: HOTA, IDF1, identity switches and fragmentations.

Every class is measured on its own, by the masks of each frame. HOTA: Luiten et al. 2020 (arXiv 2009.07736),
with the matching of its official code: one assignment in a frame for all thresholds. IDF1: Ristani et al.
2016 (arXiv 1609.01775). Switches: CLEAR MOT (Bernardin and Stiefelhagen 2008). Fragmentations: Milan et al.
2016 (arXiv 1603.00831). Crowds: as in MOTS (Voigtlaender et al. 2019, arXiv 1902.03604).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from pycocotools import mask as mask_utils
from scipy.optimize import linear_sum_assignment

from yoloseg.evaluation.track_iou import Track, Tracks, overlaps, read_tracks
from yoloseg.evaluation.vis_files import check_vis_ground_truth, check_vis_results

IDENTITY_NAMES = ("HOTA", "DetA", "AssA", "IDF1")
COUNTS = ("switches", "fragmentations")
_ALPHAS = np.arange(5, 100, 5) / 100  # of IoU, over which HOTA is a mean
_MATCH = 0.5  # least IoU of a match for IDF1, switches and fragmentations
_ROUNDING = np.finfo(float).eps


def identity_metrics(
    ground_truth: dict,
    results: list[dict],
    score_threshold: float = 0.0,
    source: str = "results",
    truth_source: str = "ground truth",
) -> dict:
    """`IDENTITY_NAMES` as floats, means over the classes with ground truth, -1 if there is none; `COUNTS` as
    whole numbers, sums over them; "per_class": class name -> the same keys; "score_threshold".

    `ground_truth` and `results` as in `vis_metrics`, unchanged; tracks below `score_threshold` do not count.
    HOTA, DetA and AssA are means over the IoU thresholds 0.05 to 0.95, over all clips together. IDF1 takes at
    IoU 0.5 the one-to-one pairing of true and detected tracks of a clip that agrees in the most frames. A
    switch is a true track that in a frame is matched (IoU 0.5) to another track than the last time. A
    fragmentation is one that is matched again after frames where it was seen and not matched. In a frame, a
    mask that matches nothing and lies by more than half on crowds of its class does not count. Raises
    DataError, naming the results by `source` and the ground truth by `truth_source`.
    """
    check_vis_ground_truth(ground_truth, truth_source)
    check_vis_results(results, ground_truth, source)
    return identity_score(read_tracks(ground_truth, results), score_threshold)


def identity_score(tracks: Tracks, score_threshold: float = 0.0) -> dict:
    """`identity_metrics` of tracks that need no check."""
    counted = {}
    for category_id, name in tracks.names.items():
        counts = _Counts()
        for clip in _clips(tracks, category_id, score_threshold):
            _count_masks(clip, counts)
            _count_identities(clip, counts)
            _count_changes(clip, counts)
        counted[name] = counts.numbers()
    measured = [numbers for numbers in counted.values() if numbers["HOTA"] >= 0]
    means = {
        name: float(np.mean([numbers[name] for numbers in measured])) if measured else -1.0
        for name in IDENTITY_NAMES
    }
    sums = {name: sum(numbers[name] for numbers in measured) for name in COUNTS}
    return means | sums | {"score_threshold": score_threshold, "per_class": counted}


@dataclass
class _Clip:
    """The G true and D detected tracks of a class in a clip of F frames: seen bool [G, F], found bool [D, F],
    and of each frame the pairs that overlap, (true, detected, IoU)."""

    seen: np.ndarray
    found: np.ndarray
    pairs: list[list[tuple[int, int, float]]]

    def iou(self, frame: int) -> np.ndarray:
        """float64 [G, D], 0 where one of two is not seen."""
        dense = np.zeros((len(self.seen), len(self.found)))
        for row, column, value in self.pairs[frame]:
            dense[row, column] = value
        return dense


@dataclass
class _Counts:
    """Of a class, over clips. seen, found: masks. matched [19], alike [19]: at each of `_ALPHAS` the matches,
    and the sum over them of how much their two tracks agree. same: masks of the pairing of IDF1."""

    seen: int = 0
    found: int = 0
    matched: np.ndarray = field(default_factory=lambda: np.zeros(len(_ALPHAS)))
    alike: np.ndarray = field(default_factory=lambda: np.zeros(len(_ALPHAS)))
    same: int = 0
    switches: int = 0
    fragmentations: int = 0

    def numbers(self) -> dict[str, float | int]:
        """What `identity_metrics` says of a class."""
        if not self.seen:
            return dict.fromkeys(IDENTITY_NAMES, -1.0) | dict.fromkeys(COUNTS, 0)
        detection = self.matched / (self.seen + self.found - self.matched)
        association = self.alike / np.maximum(self.matched, 1)
        return {
            "HOTA": float(np.sqrt(detection * association).mean()),
            "DetA": float(detection.mean()),
            "AssA": float(association.mean()),
            "IDF1": 2 * self.same / (self.seen + self.found),
            "switches": self.switches,
            "fragmentations": self.fragmentations,
        }


def _clips(tracks: Tracks, category_id: int, score_threshold: float) -> Iterator[_Clip]:
    for clip in tracks.clips(category_id):
        annotated = tracks.truths.get((clip, category_id), [])
        truths = [track for track in annotated if not track.crowd]
        found = [
            track for track in tracks.found.get((clip, category_id), []) if track.score >= score_threshold
        ]
        if not truths and not found:
            continue
        frames = len((*truths, *found)[0].masks)
        seen, detected = (
            np.array([track.areas for track in some], np.int64).reshape(-1, frames) > 0
            for some in (truths, found)
        )
        pairs: list[list[tuple[int, int, float]]] = [[] for _ in range(frames)]
        for row, column, frame, shared in overlaps(truths, found):
            union = int(truths[row].areas[frame] + found[column].areas[frame]) - shared
            pairs[frame].append((row, column, shared / max(union, 1)))
        one = _Clip(seen, detected, pairs)
        _leave_out(one, found, [track for track in annotated if track.crowd])
        yield one


def _leave_out(clip: _Clip, found: list[Track], crowds: list[Track]) -> None:
    """Takes the masks out of `clip` that match nothing in their frame and lie on crowds."""
    for frame in range(clip.found.shape[1]):
        regions = [crowd.masks[frame] for crowd in crowds if crowd.areas[frame]]
        if not regions:
            continue
        region = mask_utils.merge(regions)
        iou = clip.iou(frame)
        _, taken = _assign(np.where(iou >= _MATCH - _ROUNDING, iou, 0))
        for row in np.setdiff1d(np.flatnonzero(clip.found[:, frame]), taken):
            both = mask_utils.merge([found[row].masks[frame], region], intersect=True)
            if mask_utils.area(both) > found[row].areas[frame] / 2:
                clip.found[row, frame] = False
                clip.pairs[frame] = [pair for pair in clip.pairs[frame] if pair[1] != row]


def _count_masks(clip: _Clip, counts: _Counts) -> None:
    """Seen and found masks, and the matches of HOTA.

    A pair's alignment is its soft share of frames: in each, the IoU by the sum of the IoUs of either of both
    with anything. In a frame the assignment with the most alignment times IoU is taken; at a threshold, those
    of its pairs with that IoU are matches. Their agreement is c / (frames of either track), c being the
    matches of the pair.
    """
    seen, found = clip.seen.sum(axis=1), clip.found.sum(axis=1)
    counts.seen += int(seen.sum())
    counts.found += int(found.sum())
    together = seen[:, None] + found[None]
    soft = np.zeros(together.shape)
    for frame in range(clip.seen.shape[1]):
        iou = clip.iou(frame)
        rivals = iou.sum(axis=0, keepdims=True) + iou.sum(axis=1, keepdims=True) - iou
        soft += np.divide(iou, rivals, out=np.zeros_like(iou), where=rivals > _ROUNDING)
    aligned = soft / np.maximum(together - soft, 1)
    pairs = np.zeros((len(_ALPHAS), *together.shape))
    for frame in range(clip.seen.shape[1]):
        iou = clip.iou(frame)
        rows, columns = _assign_seen(clip, frame, aligned * iou)
        matches = iou[rows, columns] >= _ALPHAS[:, None] - _ROUNDING
        pairs[:, rows, columns] += matches
    counts.matched += pairs.sum(axis=(1, 2))
    counts.alike += (pairs * pairs / np.maximum(together - pairs, 1)).sum(axis=(1, 2))


def _count_identities(clip: _Clip, counts: _Counts) -> None:
    agreeing = np.zeros((len(clip.seen), len(clip.found)), np.int64)
    for pairs in clip.pairs:
        for row, column, value in pairs:
            agreeing[row, column] += value >= _MATCH
    rows, columns = linear_sum_assignment(agreeing, maximize=True)
    counts.same += int(agreeing[rows, columns].sum())


def _count_changes(clip: _Clip, counts: _Counts) -> None:
    """Switches and fragmentations. Pairs of the last frame that had something to match are kept where they
    can be, the others are those with the largest sum of IoU."""
    kept = np.full(len(clip.seen), -1)  # the detected track of each true one in the last frame
    last = kept.copy()  # and when it was last matched
    interrupted = np.zeros(len(clip.seen), bool)
    for frame in range(clip.seen.shape[1]):
        iou, seen = clip.iou(frame), clip.seen[:, frame]
        rows = columns = np.zeros(0, int)
        if seen.any() and clip.found[:, frame].any():
            same = kept[:, None] == np.arange(iou.shape[1])
            weights = np.where(iou >= _MATCH - _ROUNDING, iou + 1000 * same, 0)
            rows, columns = _assign_seen(clip, frame, weights)
            kept[:] = -1
            kept[rows] = columns
        counts.switches += int(((last[rows] >= 0) & (last[rows] != columns)).sum())
        counts.fragmentations += int(interrupted[rows].sum())
        last[rows] = columns
        interrupted |= seen & (last >= 0)
        interrupted[rows] = False


def _assign_seen(clip: _Clip, frame: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `_assign`, but among the tracks seen in the frame alone: which of equals is taken depends on it."""
    truths, found = np.flatnonzero(clip.seen[:, frame]), np.flatnonzero(clip.found[:, frame])
    rows, columns = _assign(weights[np.ix_(truths, found)])
    return truths[rows], found[columns]


def _assign(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the one-to-one pairs with the largest sum of weights [n, m]; pairs of weight 0 are
    none."""
    rows, columns = linear_sum_assignment(weights, maximize=True)
    used = weights[rows, columns] > 0
    return rows[used], columns[used]
