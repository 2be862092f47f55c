"""Darknet's networks and weights: `.cfg` and `.weights` of YOLOv3, YOLOv4 and their kind."""

from yoloseg.darknet.detector import DarknetDetector, load, load_beside
from yoloseg.darknet.transfer import load_into, save

__all__ = ["DarknetDetector", "load", "load_beside", "load_into", "save"]
