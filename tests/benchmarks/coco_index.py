"""Indexing a set of the size of COCO train2017: 118,000 pictures, 860,000 polygons; seconds and memory.

    python tests/benchmarks/coco_index.py [--pictures 118000] [--annotations 860000]

The JSON and the pictures (links to a few small JPEGs) are made first, in a temporary folder, and not timed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

LINKS = 20_000  # to one file; some file systems allow no more than 32,000
HEIGHT, WIDTH = 48, 64
LOAD = """
import sys, time
from yoloseg.data.coco import load_coco
from yoloseg.memory import peak_memory
begun = time.perf_counter()
dataset = load_coco(sys.argv[1], sys.argv[2])
seconds = time.perf_counter() - begun
objects = sum(len(record.annotations) for record in dataset.records)
print(f"{len(dataset):,} pictures, {objects:,} objects, {len(dataset.problems)} problems: "
      f"{seconds:.1f} s, peak memory {peak_memory() / 1e9:.2f} GB")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pictures", type=int, default=118_000)
    parser.add_argument("--annotations", type=int, default=860_000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        images, source = Path(folder) / "images", None
        images.mkdir()
        for k in range(options.pictures):
            path = images / f"{k:012d}.jpg"
            if k % LINKS:
                os.link(source, path)
            else:
                source = path
                cv2.imwrite(str(path), rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
        angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)  # corners of a polygon, about COCO's mean
        annotations = []
        for k in range(options.annotations):
            x, y, radius = rng.uniform(12, 36, 3) / (1, 1, 3)
            points = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1).round(2)
            box = [round(x - radius, 2), round(y - radius, 2), round(2 * radius, 2), round(2 * radius, 2)]
            fields = {"id": k + 1, "image_id": int(rng.integers(options.pictures)), "category_id": 1 + k % 80}
            shape = {"segmentation": [points.ravel().tolist()], "bbox": box, "area": 3.1 * radius**2}
            annotations.append(fields | shape | {"iscrowd": 0})
        content = {
            "images": [
                {"id": k, "file_name": f"{k:012d}.jpg", "height": HEIGHT, "width": WIDTH}
                for k in range(options.pictures)
            ],
            "annotations": annotations,
            "categories": [{"id": 1 + k, "name": f"class {k}"} for k in range(80)],
        }
        path = Path(folder) / "instances.json"
        path.write_text(json.dumps(content))
        print(f"{path.stat().st_size / 1e6:.0f} MB of JSON")
        subprocess.run([sys.executable, "-c", LOAD, path, images], check=True)


if __name__ == "__main__":
    main()
