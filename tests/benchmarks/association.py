"""Milliseconds to associate 50 detections with 50 tracks at 1280 x 720, and ways to get their overlaps.

    python tests/benchmarks/association.py

One core is asked for from outside: taskset -c 0. Masks are bumpy discs over random boxes; all are of one
class, so that none is spared by its class.
"""

import argparse
import time

import numpy as np
from pycocotools import mask as coco_mask

from yoloseg.inference.paste import paste_mask
from yoloseg.tracking import Tracker
from yoloseg.tracking.detections import Detections
from yoloseg.tracking.rle import rle_iou

HEIGHT, WIDTH = 720, 1280


def grids(count, rng):
    """float32 [count, 28, 28]."""
    y, x = np.mgrid[:28, :28]
    disc = 1.2 - np.hypot(y - 13.5, x - 13.5) / 14
    return np.clip(disc + 0.1 * rng.random((count, 28, 28)), 0, 1).astype(np.float32)


def best_of(function, repeats=20):
    """(result, milliseconds at best)."""
    best = np.inf
    for _ in range(repeats):
        started = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - started)
    return result, 1000 * best


def windows_iou(first, second):
    """By the pixels that two boxes share."""
    places = [[np.argwhere(mask) for mask in part] for part in (first, second)]
    boxes = [[(*found.min(0), *(found.max(0) + 1)) for found in part] for part in places]
    areas = [[int(m.sum()) for m in part] for part in (first, second)]

    def run():
        iou = np.zeros((len(first), len(second)))
        for i, (one, a) in enumerate(zip(first, boxes[0], strict=True)):
            for j, (other, b) in enumerate(zip(second, boxes[1], strict=True)):
                y0, x0, y1, x1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
                if y0 < y1 and x0 < x1:
                    both = np.count_nonzero(one[y0:y1, x0:x1] & other[y0:y1, x0:x1])
                    iou[i, j] = both / (areas[0][i] + areas[1][j] - both)
        return iou

    return run


def product_iou(first, second, step=8):
    """By a matrix product at an eighth of the size: not exact."""
    parts = [np.stack([m[step // 2 :: step, step // 2 :: step] for m in part]) for part in (first, second)]
    flat = [part.reshape(len(part), -1).astype(np.float32) for part in parts]

    def run():
        both = flat[0] @ flat[1].T
        return both / np.maximum(flat[0].sum(1)[:, None] + flat[1].sum(1) - both, 1)

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=50)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    for low, high in ((40, 200), (100, 300), (300, 700)):
        sides = rng.uniform(low, high, (options.count, 2))
        corners = rng.uniform(0, 1, (options.count, 2)) * (np.array([WIDTH, HEIGHT]) - sides)
        velocity = rng.uniform(-5, 5, (options.count, 2))
        probabilities = grids(options.count, rng)
        frames, pixels = [], []
        for number in range(12):
            start = np.clip(corners + number * velocity, 0, np.array([WIDTH, HEIGHT]) - sides)
            boxes = np.concatenate([start, start + sides], 1)
            masks = [
                paste_mask(one, box, HEIGHT, WIDTH) for one, box in zip(probabilities, boxes, strict=True)
            ]
            rles = [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
            frames.append(Detections(boxes, np.ones(options.count), np.zeros(options.count, int), rles))
            pixels.append(masks)
        exact, by_rle = best_of(lambda frames=frames: rle_iou(frames[-1].masks, frames[-2].masks))
        windows, by_window = best_of(windows_iou(pixels[-1], pixels[-2]))
        rough, by_product = best_of(product_iou(pixels[-1], pixels[-2]))
        assert np.allclose(windows, exact)
        tracker = Tracker()
        for frame in frames[:-2]:
            tracker.update(frame)
        _, update = best_of(lambda tracker=tracker, frame=frames[-1]: tracker.update(frame), 10)
        print(
            f"sides {low} to {high}, {(exact > 0).sum()} pairs overlap: RLE {by_rle:.2f} ms, windows "
            f"{by_window:.2f}, product at 1/8 {by_product:.2f} (off by {abs(rough - exact).max():.3f}); "
            f"a whole update of the tracker {update:.2f} ms"
        )


if __name__ == "__main__":
    main()
