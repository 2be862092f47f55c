"""Instances told apart by the network's embeddings (IDOL, arXiv 2207.10661, section 3.3)."""

from __future__ import annotations

import numpy as np

# train/reid.py measured these, and train/reid.md says what they are worth
LEAST = 0.35  # cosine of what can be the same at all: a softmax alone finds the best of any two
UNLIKE = 0.2  # cosine from one frame to the next, up to which it is another one in its place
NEWEST = 10.0  # weight of all remembered embeddings; the newest have the inverse of their age more
SHARPNESS = 20.0  # of cosines before the softmax: our embeddings have length 1, and are trained with 1 / 20


def bidirectional_softmax(embeddings: np.ndarray, memory: np.ndarray) -> np.ndarray:
    """float [M, N] in 0..1: how surely each detection is each remembered instance.

    embeddings: float [M, E] of a frame's detections; memory: float [N, E] of the instances. The mean of the
    softmax over detections and of the softmax over instances: only what is alike both ways is above 0.5. 0
    for pairs whose embeddings are no more alike than LEAST.
    """
    cosine = np.asarray(embeddings, np.float64) @ np.asarray(memory, np.float64).T
    logits = SHARPNESS * cosine
    return np.where(cosine > LEAST, (_softmax(logits, 0) + _softmax(logits, 1)) / 2, 0.0)


def remembered(embeddings: np.ndarray, ages: np.ndarray) -> np.ndarray:
    """float [E]: the mean of an instance's embeddings [T, E], weighted by NEWEST + T / age; ages: frames, at
    least 1. The more of them there are, the more the new ones count."""
    weights = NEWEST + len(ages) / np.maximum(ages, 1)
    return (weights[:, None] * embeddings).sum(0) / weights.sum()


def _softmax(values: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)
