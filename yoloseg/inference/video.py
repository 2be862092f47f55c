"""Video files are written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from yoloseg.errors import UsageError
from yoloseg.files import atomic_write


@contextmanager
def video_writer(path: str | Path, fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Yields write(picture uint8 [H, W, 3] RGB, all of one size, H and W at least 2); MPEG-4 part 2 in an
    .mp4 file.

    The file appears under its name when the block ends well. The codec wants even sides: an odd last row or
    column is left out. Raises UsageError when OpenCV cannot write the file.
    """
    with atomic_write(path) as aside:
        opened: list[cv2.VideoWriter] = []

        def write(picture: np.ndarray) -> None:
            height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
            if not opened:
                opened.append(
                    cv2.VideoWriter(str(aside), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
                )
                if not opened[0].isOpened():
                    raise UsageError(f"cannot write {path}: OpenCV could not open it as an mp4 video")
            opened[0].write(cv2.cvtColor(picture[:height, :width], cv2.COLOR_RGB2BGR))

        try:
            yield write
        finally:
            for writer in opened:
                writer.release()
        if not opened:
            raise UsageError(f"cannot write {path}: a video needs at least one frame")
