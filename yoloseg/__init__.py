"""YOLOv4+1: real-time instance segmentation of images and video, in Keras 3."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yoloseg.darknet.detector import DarknetDetector
    from yoloseg.inference.exported import ExportedFile
    from yoloseg.inference.predictor import Predictor
    from yoloseg.modeling.network import YoloSeg

__version__ = "0.1.0"
__all__ = ["Predictor", "__version__", "load"]


def load(path: str | Path, *, threads: int | None = None) -> YoloSeg | ExportedFile | DarknetDetector:
    """What a weights file holds, with classes and input size: for `Predictor` and for evaluation.

    A Darknet `.weights` file (boxes alone) is loaded with the `.cfg` of its name beside it, and the `.names`.

    path: a `.keras` file written by training (gives the network), or what `yoloseg export` wrote: a
    SavedModel folder, a `.tflite` or an `.onnx` file. threads: of the last two, all cores if not given.
    Raises WeightsError naming the file when it is missing or is none of these, UsageError when the runtime it
    needs is not installed.
    """
    if Path(path).suffix == ".weights":
        from yoloseg.darknet import load_beside

        return load_beside(path)
    from yoloseg.inference.exported import load_exported

    if (exported := load_exported(path, threads)) is not None:
        return exported
    from yoloseg.modeling.network import load_model  # not before: exported files run without Keras

    return load_model(path)


def __getattr__(name: str) -> Any:
    if name == "Predictor":  # imported when used: `import yoloseg` stays quick
        from yoloseg.inference.predictor import Predictor

        return Predictor
    raise AttributeError(f"module 'yoloseg' has no attribute {name!r}")
