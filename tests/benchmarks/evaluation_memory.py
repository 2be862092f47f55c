"""Peak memory and time of COCO evaluation: 5,000 pictures of 100 detections must stay under 4 GB.

    python tests/benchmarks/evaluation_memory.py [--images 5000] [--detections 100] [--classes 80] [--limit-gb
    4]

Masks are pasted from 28 x 28 probabilities over random boxes of a 640 x 480 picture, as they come from a
network; the ground truth has 7 objects a picture (COCO's mean), which three detections in twenty resemble.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import numpy as np

from yoloseg.evaluation.accumulator import DetectionAccumulator
from yoloseg.evaluation.coco_metrics import coco_metrics
from yoloseg.inference.paste import paste_to_rle

HEIGHT, WIDTH, OBJECTS = 480, 640, 7


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--limit-gb", type=float, default=4.0)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    shapes = _blobs(rng, 50)
    found = DetectionAccumulator(range(1, options.classes + 1))
    truths = DetectionAccumulator(range(1, options.classes + 1))
    start = time.perf_counter()
    for image_id in range(1, options.images + 1):
        boxes, classes, masks = _picture(rng, shapes, OBJECTS, options.classes)
        truths.add(image_id, boxes, np.ones(OBJECTS), classes, masks)
        own, own_classes, own_masks = _picture(rng, shapes, options.detections, options.classes)
        copies = min(len(own) * 3 // 20, OBJECTS)
        own[:copies] = boxes[:copies] + rng.normal(0, 2, (copies, 4))
        own_classes[:copies], own_masks[:copies] = classes[:copies], masks[:copies]
        found.add(image_id, own, rng.random(len(own)), own_classes, own_masks)
    collected = time.perf_counter()
    print(
        f"collected {len(found.results)} detections: {collected - start:.1f} s, peak {_peak_gb():.2f} GB",
        flush=True,
    )

    metrics = coco_metrics(_ground_truth(truths.results, options.images, options.classes), found.results)
    peak = _peak_gb()
    print(f"measured boxes and masks: {time.perf_counter() - collected:.1f} s, peak {peak:.2f} GB")
    print(f"box AP {metrics['bbox']['AP']:.4f}, mask AP {metrics['segm']['AP']:.4f}")
    print(f"{'within' if peak < options.limit_gb else 'OVER'} the limit of {options.limit_gb:g} GB")
    return 0 if peak < options.limit_gb else 1


def _blobs(rng: np.random.Generator, count: int) -> np.ndarray:
    """float32 [count, 28, 28]: soft blobs with wavy outlines."""
    y, x = np.mgrid[:28, :28] - 13.5
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    waves = rng.uniform(0, 2.5, (count, 5, 1, 1)) * np.sin(
        np.arange(1, 6)[:, None, None] * angle + rng.uniform(0, 6.3, (count, 5, 1, 1))
    )
    logits = rng.uniform(8, 13, (count, 1, 1)) + waves.sum(1) - radius
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def _picture(rng: np.random.Generator, shapes: np.ndarray, count: int, classes: int) -> tuple:
    size = np.exp(rng.uniform(np.log(8), np.log(420), (count, 2)))
    corner = rng.uniform(-0.2, 0.8, (count, 2)) * [WIDTH, HEIGHT]
    boxes = np.concatenate([corner, corner + size], axis=1)
    masks = [paste_to_rle(shapes[rng.integers(len(shapes))], box, HEIGHT, WIDTH) for box in boxes]
    return boxes, rng.integers(classes, size=count), masks


def _ground_truth(objects: list[dict], images: int, classes: int) -> dict:
    return {
        "images": [{"id": i + 1, "height": HEIGHT, "width": WIDTH} for i in range(images)],
        "categories": [{"id": k + 1, "name": f"class {k + 1}"} for k in range(classes)],
        "annotations": [
            {**entry, "id": i + 1, "area": entry["bbox"][2] * entry["bbox"][3] / 1.5, "iscrowd": 0}
            for i, entry in enumerate(objects)
        ],
    }


def _peak_gb() -> float:
    """Of the whole process; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


if __name__ == "__main__":
    raise SystemExit(main())
