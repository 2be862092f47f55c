"""A video whose frames stand at their time stamps, also where the source's rate varies or is unknown."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from yoloseg.inference.video import frame_rate, video_writer

LONGEST_STILL = 10.0  # seconds that a gap between two frames takes at most, where time stamps leap


class TimedVideo:
    """Writes an .mp4 of constant frame rate: a frame is written as often as its time stamp asks for to keep
    pace with the source, which is not at all where the source is faster. Stamps that leap by more than
    LONGEST_STILL, or go back, move all that come after them.

    fps: frames a second, see `frame_rate`; None if the source does not say. Use it in a `with` block; the
    file is whole after it, or not there if it ended in an error. Raises UsageError as `video_writer`.
    """

    def __init__(self, path: str | Path, fps: float | None):
        self.fps = frame_rate(fps)
        self.written = 0
        self._clock = self._stamp = 0.0
        self._path = path
        self._stack = ExitStack()

    def __enter__(self) -> TimedVideo:
        self._write = self._stack.enter_context(video_writer(self._path, self.fps))
        return self

    def __exit__(self, *error: object) -> bool | None:
        return self._stack.__exit__(*error)

    def write(self, picture: np.ndarray, time: float) -> None:
        """picture: uint8 [H, W, 3] RGB, all of one size; time: seconds."""
        if self.written:
            step = time - self._stamp
            self._clock += min(step, LONGEST_STILL) if step >= 0 else 1 / self.fps
        self._stamp = time
        for _ in range(round(self._clock * self.fps) + 1 - self.written):
            self._write(picture)
            self.written += 1
