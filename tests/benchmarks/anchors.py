"""A million boxes into 24 anchors: seconds, and mean best IoU beside other ways to cluster the same sizes.

    python tests/benchmarks/anchors.py [--boxes 1000000] [--per-level 6]

Box sizes are drawn as COCO's look at 416 pixels: log-normal sides, wide spread, cut to the picture. The other
ways cluster the same binned sizes, those under 1 - IoU from the same seeds; the scores are over all boxes.
Seconds are of the wall, then of the processor (all cores).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from sklearn.cluster import KMeans

from yoloseg.data.anchor_fitting import (
    MAX_ITERATIONS,
    STARTS,
    assign,
    best_iou,
    fit_anchors,
    gather,
    medians,
    seed_centres,
)

IMGSZ = (416, 416)


def draw_sizes(count: int, seed: int = 0) -> np.ndarray:
    """float64 [count, 2] widths and heights in pixels."""
    generator = np.random.default_rng(seed)
    scale, aspect = generator.normal(np.log(40), 1.1, count), generator.normal(0, 0.35, count)
    return np.clip(np.exp(np.stack([scale + aspect, scale - aspect], 1)), 1, 416)


def means(points: np.ndarray, weights: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    total = np.bincount(labels, weights, count)
    return np.stack([np.bincount(labels, weights * points[:, axis], count) / total for axis in (0, 1)], 1)


def plain_lloyd(points: np.ndarray, weights: np.ndarray, centres: np.ndarray, update: Callable):
    """Textbook iterations: replace every centre by `update` of its members. Returns best score, centres."""
    best_score, best_centres = -1.0, centres
    for _ in range(MAX_ITERATIONS):
        labels, iou = assign(points, weights, centres)
        score = iou @ weights / weights.sum()
        if score > best_score:
            best_score, best_centres = score, centres.copy()
        moved = update(points, weights, labels, len(centres))
        if np.allclose(moved, centres, rtol=1e-5):
            break
        centres = moved
    return best_score, best_centres


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--boxes", type=int, default=1_000_000)
    parser.add_argument("--per-level", type=int, default=6)
    options = parser.parse_args()
    count = 4 * options.per_level
    sizes = draw_sizes(options.boxes)
    print(f"{len(sizes):,} boxes, {count} anchors")

    with Timer() as timer:
        anchors = fit_anchors(sizes, options.per_level, imgsz=IMGSZ)
    report("fit_anchors (median and line search)", timer, sizes, np.array(anchors.flat))

    points, weights = gather(sizes, np.ones(len(sizes)), at_least=5000)
    seeds = np.random.SeedSequence(0).generate_state(STARTS)
    for name, update in (("median", medians), ("mean", means)):
        with Timer() as timer:
            starts = [seed_centres(points, weights, count, int(s)) for s in seeds]
            runs = [plain_lloyd(points, weights, centres, update) for centres in starts]
            _, centres = max(runs, key=lambda run: run[0])
        report(f"1 - IoU, {name} of the members", timer, sizes, centres)

    for name, forward, back in (("(w, h)", np.array, np.array), ("log (w, h)", np.log, np.exp)):
        with Timer() as timer:
            model = KMeans(count, n_init=STARTS, random_state=0).fit(forward(points), sample_weight=weights)
        report(f"scikit-learn KMeans on {name}", timer, sizes, back(model.cluster_centers_))


class Timer:
    """Seconds spent in a `with` block: `wall`, `processor`."""

    def __enter__(self) -> Timer:
        self.wall, self.processor = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.processor = time.perf_counter() - self.wall, time.process_time() - self.processor


def report(name: str, timer: Timer, sizes: np.ndarray, centres: np.ndarray) -> None:
    score = best_iou(sizes, centres).mean()
    print(f"{name:40s} {timer.wall:6.1f} s {timer.processor:6.1f} s   mean best IoU {score:.4f}")


if __name__ == "__main__":
    main()
