"""How often each picture of a long-tailed set is shown: pictures of rare classes more."""

from __future__ import annotations

from typing import Literal

import numpy as np

from yoloseg.data.records import Dataset

Sampling = Literal["uniform", "repeat-factor", "class-aware"]


def picture_weights(dataset: Dataset, sampling: Sampling, threshold: float = 0.001) -> np.ndarray | None:
    """float64 [pictures], how often each should come relative to the others; None for "uniform".

    repeat-factor (Gupta, Dollar and Girshick 2019, section 4): a class that stands in a share f of the
    pictures has the factor max(1, sqrt(threshold / f)), a picture the largest factor of its classes.
    class-aware (Shen, Lin and Huang 2016, section 4.2): a class is drawn, all alike, then one of its
    pictures. Pictures without instances have their own share in both.
    """
    if sampling == "uniform":
        return None
    shown = [{a.class_index for a in record.annotations if not a.crowd} for record in dataset.records]
    pictures = np.zeros(len(dataset.classes))
    for classes in shown:
        pictures[list(classes)] += 1
    weights = np.ones(len(shown))
    own = [list(classes) for classes in shown]
    if sampling == "repeat-factor":
        with np.errstate(divide="ignore"):
            factors = np.maximum(1, np.sqrt(threshold * len(shown) / pictures))
        for index, classes in enumerate(own):
            weights[index] = max(factors[classes], default=1.0)
        return weights
    for index, classes in enumerate(own):
        weights[index] = (1 / pictures[classes]).sum()
    some = np.array([bool(classes) for classes in own])
    weights[some] *= some.sum() / max(weights[some].sum(), 1e-9)
    weights[~some] = 1.0
    return weights


def counts_shown(dataset: Dataset, weights: np.ndarray | None) -> np.ndarray:
    """float64 [K]: instances of each class that an epoch shows, in the mean; crowds left out."""
    counts = np.zeros(len(dataset.classes))
    share = np.ones(len(dataset)) if weights is None else weights * (len(weights) / weights.sum())
    for weight, record in zip(share, dataset.records, strict=True):
        for annotation in record.annotations:
            counts[annotation.class_index] += weight * (not annotation.crowd)
    return counts


def drawn(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """int64 [N]: N indices in random order, each as often as N times its share of `weights`, rounded down or
    up at random (systematic resampling)."""
    count = len(weights)
    ends = np.cumsum(weights) * (count / weights.sum())
    order = np.searchsorted(ends, np.arange(count) + rng.random(), side="right")
    order = np.minimum(order, count - 1)  # the last end may be rounded below the last position
    rng.shuffle(order)
    return order
