"""YOLOv4+1: real-time instance segmentation of images and video, in Keras 3."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yoloseg.inference.predictor import Predictor
    from yoloseg.modeling.network import YoloSeg

__version__ = "0.1.0"
__all__ = ["Predictor", "__version__", "load"]


def load(path: str | Path) -> YoloSeg:
    """The network in a `.keras` file written by training, with its classes, anchors and input size.

    Raises WeightsError naming the file when it is missing or is not such a file.
    """
    from yoloseg.modeling.network import load_model

    return load_model(path)


def __getattr__(name: str) -> Any:
    if name == "Predictor":  # imported when used: `import yoloseg` stays quick
        from yoloseg.inference.predictor import Predictor

        return Predictor
    raise AttributeError(f"module 'yoloseg' has no attribute {name!r}")
