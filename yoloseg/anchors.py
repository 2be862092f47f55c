"""`python -m yoloseg.anchors`: fits anchor sizes to the boxes of a data set."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from yoloseg.cli import run_command


@dataclass
class Options:
    """Fit anchors to the training boxes by k-means with distance 1 - IoU, smallest on the finest level."""

    data: str
    """Data as for training: a YAML file, an exported folder, or `shapes`; its `train` boxes are used."""
    per_level: int
    """Anchors on each of the four levels."""
    out: Path
    """The JSON to write, with a plot of the same name beside it; or a folder for anchors.json and .png."""
    imgsz: Annotated[tuple[int, ...], tyro.conf.arg(metavar="H [W]")] = ()
    """Network input as for training, multiples of 32. Default 416; 192 256 for the built-in shapes."""
    seed: int = 0
    """Of the k-means starts; the same boxes and seed give the same anchors."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 after an error of the user's, printed to stderr."""
    options = tyro.cli(Options, args=argv, prog="yoloseg anchors")
    return run_command(lambda: fit(options))


def fit(options: Options) -> None:
    """Runs the command. Raises YolosegError where the data, a number or the out path cannot be used."""
    from yoloseg.data.anchor_fitting import fit_anchors, letterboxed_sizes
    from yoloseg.data.anchor_plot import save_anchor_plot
    from yoloseg.data.datafile import load_datasets
    from yoloseg.data.summary import summary
    from yoloseg.training.config import TrainConfig

    imgsz = TrainConfig(data=options.data, imgsz=options.imgsz, seed=options.seed).input_size
    dataset = load_datasets(options.data, splits=("train",))["train"]
    print(summary(dataset))
    sizes = letterboxed_sizes(dataset, imgsz)
    anchors = fit_anchors(sizes, options.per_level, imgsz=imgsz, seed=options.seed, source=dataset.name)
    anchors = replace(anchors, source=_command(options, imgsz))

    out = options.out if options.out.suffix == ".json" else options.out / "anchors.json"
    anchors.to_json(out)
    save_anchor_plot(anchors, sizes, out.with_suffix(".png"))
    for number, level in enumerate(anchors.sizes, start=2):
        print(f"P{number}  " + "  ".join(f"{width:.0f} x {height:.0f}" for width, height in level))
    print(
        f"{anchors.boxes} boxes at input {imgsz[0]} x {imgsz[1]} (height x width): "
        f"mean best IoU {anchors.mean_best_iou:.3f}, "
        f"recall {anchors.recall50:.3f} at 0.5, {anchors.recall70:.3f} at 0.7"
    )
    print(f"written: {out}, {out.with_suffix('.png')}")


def _command(options: Options, imgsz: tuple[int, int]) -> str:
    flags = {"data": options.data, "per-level": options.per_level, "imgsz": imgsz, "seed": options.seed}
    words = ["yoloseg", "anchors"]
    for name, value in flags.items():
        words += [f"--{name}", *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
