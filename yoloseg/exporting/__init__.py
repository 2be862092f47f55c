"""From a trained network to one file that holds everything: SavedModel, LiteRT, ONNX."""

from yoloseg.exporting.export import export_model

__all__ = ["export_model"]
