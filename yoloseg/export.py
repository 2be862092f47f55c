"""`python -m yoloseg.export`: one SavedModel, LiteRT or ONNX file, frames in and instances out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from yoloseg.cli import run_command

if TYPE_CHECKING:
    from yoloseg.darknet.detector import DarknetDetector
    from yoloseg.modeling.network import YoloSeg


@dataclass
class Options:
    """Write one file that holds everything: letterbox, network, suppression, masks, names of classes.

    From Darknet's weights: without masks, and where the cfg does not letterbox, frames are stretched.
    """

    weights: Path
    """A .keras file written by training, or Darknet's .weights with the .cfg (and .names) beside it."""
    format: Literal["savedmodel", "litert", "onnx"]
    """savedmodel: a folder; litert: a .tflite file; onnx: an .onnx file (opset 18)."""
    out: Path
    """Where it is written; must not exist."""
    imgsz: Annotated[tuple[int, ...], tyro.conf.arg(metavar="H [W]")] = ()
    """Network input, multiples of 32; that of the weights, or the cfg, if not given."""
    frame: str | None = None
    """Frames the file takes, HxW such as 480x640; if not given any size, for litert the network's input."""
    max_detections: int | None = None
    """Slots of the outputs: 20 for litert with masks, which computes one for each, otherwise what the weights
    say, 100 or more."""
    threshold: float | None = None
    """Detections below this score are left out; by default the threshold stored in the weights, and 0.25 for
    Darknet's."""
    precision: Literal["float32", "float16", "dynamic-int8", "int8"] = "float32"
    """Of litert: float16 and dynamic-int8 concern weights, int8 activations too."""
    calibration: str | None = None
    """Data as for training, whose first 100 training pictures give int8 its ranges."""
    raw: bool = False
    """litert without suppression and masks, for delegates that lack top-k and gathers."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 after an error of the user's, printed to stderr."""
    options = tyro.cli(Options, args=argv, prog="yoloseg export")
    return run_command(lambda: export(options))


def export(options: Options) -> None:
    """Runs the command. Raises YolosegError for flags, weights or data that cannot be used."""
    from yoloseg.data.datafile import load_datasets
    from yoloseg.errors import UsageError
    from yoloseg.exporting import export_model

    frame = parse_frame(options.frame)
    if len(options.imgsz) > 2 or any(side <= 0 or side % 32 for side in options.imgsz):
        raise UsageError(f"--imgsz must be one or two multiples of 32, got {options.imgsz}")
    calibration = None
    if options.calibration is not None:
        calibration = load_datasets(options.calibration, ("train",))["train"]
    path = export_model(
        _load(options.weights, (options.imgsz[0], options.imgsz[-1]) if options.imgsz else None),
        options.out,
        options.format,
        frame=frame,
        max_detections=options.max_detections,
        threshold=options.threshold,
        precision=options.precision,
        calibration=calibration,
        raw=options.raw,
    )
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files) / 1e6
    print(f"written: {path}, {size:.1f} MB")


def _load(weights: Path, imgsz: tuple[int, int] | None) -> YoloSeg | DarknetDetector:
    from yoloseg.darknet import load_beside
    from yoloseg.modeling.network import load_model

    if weights.suffix == ".weights":
        return load_beside(weights, imgsz)
    model = load_model(weights)
    model.imgsz = imgsz or model.imgsz
    return model


def parse_frame(text: str | None) -> tuple[int, int] | None:
    """(height, width) of "480x640"; None of None. Raises UsageError for anything else."""
    from yoloseg.errors import UsageError

    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise UsageError(f"--frame is height x width, such as 480x640, not {text!r}")
    return int(sides[0]), int(sides[1])


if __name__ == "__main__":
    sys.exit(main())
