"""Instances found frame by frame, linked through a clip."""

from yoloseg.tracking.association import Association, associate
from yoloseg.tracking.clip import track
from yoloseg.tracking.tracker import Tracker, TrackerConfig
from yoloseg.tracking.tracks import Tracks

__all__ = ["Association", "Tracker", "TrackerConfig", "Tracks", "associate", "track"]
