"""The score threshold with the best F1, which a weights file carries as its default for prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass
class Matches:
    """Detections counted against the ground truth at IoU 0.5 (those on crowds are not counted).

    scores: float [N]; found: bool [N], the detection is the match of an object; truths: number of objects to
    find; ious: float [N], the IoU with the object that was found, else 0.
    """

    scores: np.ndarray
    found: np.ndarray
    truths: int
    ious: np.ndarray

    @staticmethod
    def none() -> Matches:
        return Matches(np.zeros(0), np.zeros(0, bool), 0, np.zeros(0))

    @staticmethod
    def join(parts: Sequence[Matches]) -> Matches:
        """All classes pooled."""
        parts = [Matches.none(), *parts]
        return Matches(
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.found for part in parts]),
            sum(part.truths for part in parts),
            np.concatenate([part.ious for part in parts]),
        )


@dataclass(frozen=True)
class BestF1:
    """Keeping the detections with score >= threshold gives this precision, recall and F1."""

    threshold: float
    f1: float
    precision: float
    recall: float


def best_f1(matches: Matches) -> BestF1 | None:
    """The threshold with the largest F1 over all detections together (the lowest recall among equals).

    The threshold lies half-way between the last score kept and the first one dropped (or at the last score
    when none is dropped), so that rounding cannot move a detection across it. None if no detection found an
    object.
    """
    if not matches.found.any() or not matches.truths:
        return None
    order = np.argsort(-matches.scores, kind="stable")
    scores = matches.scores[order]
    found = np.cumsum(matches.found[order])
    kept = np.arange(1, len(scores) + 1)
    f1 = 2 * found / (kept + matches.truths)
    f1[:-1][scores[:-1] == scores[1:]] = 0  # equal scores are kept or dropped together
    best = int(np.argmax(f1))
    following = scores[best + 1] if best + 1 < len(scores) else scores[best]
    return BestF1(
        threshold=float((scores[best] + following) / 2),
        f1=float(f1[best]),
        precision=float(found[best] / kept[best]),
        recall=float(found[best] / matches.truths),
    )
