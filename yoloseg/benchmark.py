"""`python -m yoloseg.benchmark`: times prediction, exported files or training on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from yoloseg.cli import run_command


@dataclass
class Options:
    """Time every part of prediction for one picture; several weights or exported files side by side; or, with
    --train, the training step."""

    weights: tuple[Path, ...] = ()
    """One .keras file: its parts; several files, or an exported one: a table. Random weights of --size if
    not given."""
    size: Literal["n", "s", "m", "l"] = "n"
    """Size of the network with random weights."""
    imgsz: Annotated[tuple[int, ...], tyro.conf.arg(metavar="H [W]")] = ()
    """Network input, multiples of 32; that of the weights, or 416; of --train what training takes."""
    source: Path | None = None
    """The picture; a rendered one of 640 x 480 if not given."""
    threads: int | None = None
    """Threads that compute: 1 for prediction, all cores for training if not given."""
    masks: int | None = None
    """Detections that get a mask: of one .keras file the best so many, whatever their scores, 20 if not
    given; in a table as many as every file keeps, and 100 at most if not given."""
    repeats: int = 30
    """Times each part is run, or steps of training."""
    train: bool = False
    """Time training instead of prediction."""
    data: str | None = None
    """Data file or "shapes": for --train (shapes if not given); measures the AP of each file of --weights."""
    split: str = "val"
    """Which split of the data AP is measured on."""
    out: Path | None = None
    """Folder for the table (benchmark.md) and a plot of AP against latency."""
    batch: int | None = None
    """Pictures a step, for --train; as many as training takes if not given."""
    workers: int = 2
    """Threads that read pictures, for --train."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Number format of the layers, for --train."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 after an error of the user's, printed to stderr."""
    options = tyro.cli(Options, args=argv, prog="yoloseg benchmark")
    return run_command(lambda: benchmark(options))


def benchmark(options: Options) -> None:
    """Runs the command. Raises YolosegError for flags, weights, picture or data that cannot be used."""
    from yoloseg.errors import UsageError
    from yoloseg.files import is_dir, is_file

    for name in ("masks", "repeats", "batch", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name} must be at least 1, got {value}")
    for path in options.weights:
        if not is_file(path) and not is_dir(path):
            raise UsageError(f"--weights {path}: there is no such file")
    several = len(options.weights) > 1 or any(path.suffix != ".keras" for path in options.weights)
    if options.train and several:
        raise UsageError("--train takes one .keras file as --weights")
    if options.precision != "float32" and not options.train:
        raise UsageError(f"--precision {options.precision} is for --train")
    if not options.train and (several or (options.weights and (options.data or options.out))):
        return _compare(options)
    if (options.out or options.data) and not options.train:
        raise UsageError("--data and --out need --weights, or --train")
    threads = options.threads or (os.cpu_count() or 1 if options.train else 1)
    set_threads(threads)
    imgsz = (options.imgsz[0], options.imgsz[-1]) if options.imgsz else None
    if len(options.imgsz) > 2 or any(side <= 0 or side % 32 for side in options.imgsz):
        raise UsageError(f"--imgsz must be one or two multiples of 32, got {options.imgsz}")
    if options.train:
        from yoloseg.training.benchmark import print_training, time_training
        from yoloseg.training.config import TrainConfig

        config = TrainConfig(
            data=options.data or "shapes",
            size=options.size,
            weights=options.weights[0] if options.weights else None,
            imgsz=options.imgsz,
            batch=options.batch,
            workers=options.workers,
            precision=options.precision,
        )
        print_training(time_training(config, options.repeats), threads)
        return
    from yoloseg.data.images import read_image
    from yoloseg.inference.benchmark import (
        print_prediction,
        rendered_picture,
        resized_input,
        time_prediction,
        untrained_network,
    )
    from yoloseg.modeling.network import load_model

    picture = rendered_picture() if options.source is None else read_image(options.source)
    if not options.weights:
        model = untrained_network(options.size, imgsz or (416, 416), picture)
    else:
        model = resized_input(load_model(options.weights[0]), imgsz)
    masks = options.masks or min(20, model.max_detections)
    print_prediction(time_prediction(model, picture, masks, options.repeats), threads)


def _compare(options: Options) -> None:
    """The table of --weights; each file is measured with one thread and with two."""
    from yoloseg.data.images import read_image
    from yoloseg.errors import UsageError
    from yoloseg.inference.benchmark import rendered_picture
    from yoloseg.inference.exported import exported_limits
    from yoloseg.inference.file_benchmark import save_report, table, time_file

    if options.imgsz or options.threads is not None:
        raise UsageError("--imgsz and --threads are for one .keras file without --data or --out")
    limits = [found for found in map(exported_limits, options.weights) if found is not None]
    # every file is timed and scored on the same detections
    conf = max([0.001, *(threshold for threshold, _ in limits)])
    slots = min([options.masks or 100, *(most for _, most in limits)])
    flags = ["--data", options.data, "--split", options.split] if options.data else []
    picture = rendered_picture() if options.source is None else read_image(options.source)
    times = []
    for path in options.weights:
        times.append(time_file(path, picture, options.repeats, conf, slots, flags))
        print(f"{path}: done", file=sys.stderr)
    print(f"one {picture.shape[1]} x {picture.shape[0]} picture, {options.repeats} times")
    print(f"the best {slots} detections of at least {conf:.3g} in a picture")
    print(table(times), end="")
    if options.out is not None:
        save_report(options.out, times)
        print(f"written to {options.out}")


def set_threads(threads: int) -> None:
    """For OpenCV, BLAS, TensorFlow and JAX; they read it when they start, so before keras is imported.

    Raises UsageError when keras runs already in this process.
    """
    from yoloseg.errors import UsageError

    if "keras" in sys.modules:
        raise UsageError("threads can only be set before keras is imported: use a fresh process")
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
        "NPROC",  # of XLA's CPU client, for JAX
    ):
        os.environ[name] = str(threads)
    import cv2

    cv2.setNumThreads(threads)


if __name__ == "__main__":
    sys.exit(main())
