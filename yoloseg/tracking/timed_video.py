"""A video whose frames stand at their time stamps, also where the source's frame rate varies."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from yoloseg.inference.video import video_writer

FPS_UNKNOWN = 25.0
LONGEST_STILL = 10.0  # seconds for which a frame is shown at most, where time stamps leap


class TimedVideo:
    """Writes an .mp4 of constant frame rate: a frame is written once, or as often as its time stamp asks for
    to keep pace with the source, so that nothing runs away from the clock.

    fps: frames a second; FPS_UNKNOWN if the source does not say. Use it in a `with` block; the file is whole
    after it, or not there if it ended in an error. Raises UsageError as `video_writer`.
    """

    def __init__(self, path: str | Path, fps: float | None):
        self.fps = fps if fps and 1 <= fps <= 240 else FPS_UNKNOWN
        self.written = 0
        self._path = path
        self._stack = ExitStack()

    def __enter__(self) -> TimedVideo:
        self._write = self._stack.enter_context(video_writer(self._path, self.fps))
        return self

    def __exit__(self, *error: object) -> bool | None:
        return self._stack.__exit__(*error)

    def write(self, picture: np.ndarray, time: float) -> None:
        """picture: uint8 [H, W, 3] RGB, all of one size; time: seconds from the start, rising."""
        due = round(time * self.fps) + 1 - self.written
        for _ in range(int(np.clip(due, 1, LONGEST_STILL * self.fps))):
            self._write(picture)
            self.written += 1
