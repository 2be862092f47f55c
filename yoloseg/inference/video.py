"""Video files are written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from yoloseg.data.letterbox import letterbox
from yoloseg.errors import UsageError
from yoloseg.files import atomic_write, is_utf8
from yoloseg.inference.sources import FPS_UNKNOWN


def frame_rate(fps: float | None) -> float:
    """Frames a second as a file can have them; FPS_UNKNOWN for none, and for what some streams claim.

    MPEG-4 counts time in at most 65,535 parts of a second, and OpenCV writes 120.893 as 120893 / 1000.
    """
    if not fps or not 1 <= fps <= 240:
        return FPS_UNKNOWN
    return round(fps, 3 if fps < 65 else 2)


@contextmanager
def video_writer(path: str | Path, fps: float | None) -> Iterator[Callable[[np.ndarray], None]]:
    """Yields write(picture uint8 [H, W, 3] RGB, H and W at least 2); MPEG-4 part 2 in an .mp4 file of
    `frame_rate(fps)`. Pictures of another size than the first are letterboxed into it.

    The file appears under its name when the block ends well. The codec wants even sides: an odd last row or
    column is left out. Raises UsageError when OpenCV cannot write the file, or not all of it.
    """
    if not is_utf8(str(path)):
        raise UsageError(f"cannot write {path}: OpenCV cannot take this name; rename the video")
    with atomic_write(path) as aside:
        opened: list[cv2.VideoWriter] = []
        size, written = (0, 0), 0

        def write(picture: np.ndarray) -> None:
            nonlocal size, written
            size = size if opened else picture.shape[:2]
            if picture.shape[:2] != size:  # OpenCV drops it without a word
                picture = letterbox(picture, size)
            height, width = size[0] // 2 * 2, size[1] // 2 * 2
            if not opened:
                code = cv2.VideoWriter.fourcc(*"mp4v")
                opened.append(cv2.VideoWriter(str(aside), code, frame_rate(fps), (width, height)))
                if not opened[0].isOpened():
                    raise UsageError(f"cannot write {path}: OpenCV could not open it as an mp4 video")
            opened[0].write(cv2.cvtColor(picture[:height, :width], cv2.COLOR_RGB2BGR))
            written += 1

        try:
            yield write
        finally:
            for writer in opened:
                writer.release()
        if not opened:
            raise UsageError(f"cannot write {path}: a video needs at least one frame")
        if _frames_in(aside) != written:  # OpenCV does not say when a disk is full
            raise UsageError(f"cannot write {path}: not all of its {written} frames; is the disk full?")


def _frames_in(path: Path) -> int:
    """As many as its index says; 0 for no video."""
    capture = cv2.VideoCapture(str(path))
    count = round(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    return count
