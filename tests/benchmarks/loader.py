"""Time of the loader: milliseconds per batch, cold and cached, with and without threads, and of its parts.

    python tests/benchmarks/loader.py --data FILE.yaml      (or: --data shapes)

`CPU` counts all threads of the process: what the loader takes away from training on the same cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from yoloseg.data.augment import Affine, Colour, Erase
from yoloseg.data.copy_paste import CopyPaste
from yoloseg.data.datafile import load_datasets
from yoloseg.data.letterbox import letterbox
from yoloseg.data.loader import Loader
from yoloseg.data.records import Dataset
from yoloseg.data.sample_cache import SampleCache
from yoloseg.data.samples import Flip, read_instances, read_sample
from yoloseg.training.recipes import DEFAULT

TRANSFORMS = {
    "copy-paste": CopyPaste(1.0),
    "affine": Affine(),
    "rotate": Affine(rotate=10.0),
    "mosaic": Affine(mosaic=1.0),
    "colour": Colour(),
    "erase": Erase(1.0),
}


def measure(function: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU milliseconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)


def time_batches(loader: Loader, batches: int, label: str) -> None:
    wall, cpu = measure(lambda: [loader[i] for i in range(batches)])
    pictures = batches * loader.batch_size
    print(f"{label:34s} {wall / batches:8.1f} {cpu / batches:8.1f} {cpu / pictures:12.2f}")


def time_parts(dataset: Dataset, imgsz: tuple[int, int], mask_size: int, pictures: int) -> None:
    """Wall milliseconds a picture of every step, one after the other in one thread."""
    records = dataset.records[:pictures]
    totals: dict[str, float] = {}

    def timed(name: str, function: Callable[[], object]) -> object:
        start = time.perf_counter()
        result = function()
        totals[name] = totals.get(name, 0.0) + time.perf_counter() - start
        return result

    flip, rng = Flip(1.0), np.random.default_rng(0)
    crops = 0
    for record in records:
        image = timed("read (decode or render)", record.read_image)
        timed("letterbox", lambda image=image: letterbox(image, imgsz))
        timed("instances (decode RLE)", lambda record=record: read_instances(record))
        sample = read_sample(record, imgsz)
        flipped = timed("flip *", lambda sample=sample: flip(sample, rng))
        shown = timed("boxes *", flipped.visible)
        crops += len(shown)
        timed("masks *", lambda shown=shown: [one.crop(box, mask_size) for one, box in shown])
    cache = SampleCache(dataset, imgsz, 1 << 30)
    pool = [cache[i] for i in range(len(records))]
    pasted = 0
    for name, transform in TRANSFORMS.items():
        for sample in pool:
            result = timed(f"{name} *", partial(transform, sample, rng, pool))
            pasted += (len(result.instances) - len(sample.instances)) * (name == "copy-paste")
    print(f"\ncopy-paste adds {pasted / len(pool):.2f} objects to a picture that is to get some")
    print(f"\nper picture, one thread ({crops / len(records):.1f} instances); * also when cached")
    for name, seconds in totals.items():
        print(f"{name:34s} {1e3 * seconds / len(records):8.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--imgsz", type=int, nargs="+", default=[416])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--augment", action="store_true", help="recipe default's augmentation, else flips")
    arguments = parser.parse_args()
    imgsz = (arguments.imgsz[0], arguments.imgsz[-1])
    dataset = load_datasets(arguments.data)["train"]
    batches = min(arguments.batches, max(1, len(dataset) // arguments.batch))

    def loader(workers: int) -> Loader:
        return Loader(dataset, imgsz, arguments.batch, augment=augment, workers=workers)

    augment = [Flip()]
    if arguments.augment:
        augment = DEFAULT.augmentation.transforms()
    print(f"{arguments.data}: {len(dataset)} pictures, {batches} batches of {arguments.batch} at {imgsz}")
    print(f"{'':34s} {'ms/batch':>8s} {'CPU':>8s} {'CPU/picture':>12s}")
    for workers in (0, arguments.workers):
        made = loader(workers)
        time_batches(made, batches, f"cold, {workers} workers")
        time_batches(made, batches, f"cached, {workers} workers")
    print(f"largest number of instances {made.max_instances}, cache {made.samples.bytes_held / 1e6:.0f} MB")
    time_parts(dataset, imgsz, made.mask_size, batches * arguments.batch)


if __name__ == "__main__":
    main()
