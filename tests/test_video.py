"""Video files: whole or not at all, at a rate and a size that the format can have."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from yoloseg.errors import UsageError
from yoloseg.inference.results import save_picture
from yoloseg.inference.video import frame_rate, video_writer

GREY = np.full((48, 64, 3), 90, np.uint8)


def read(path) -> tuple[float, list[np.ndarray]]:
    capture = cv2.VideoCapture(str(path))
    rate, frames = capture.get(cv2.CAP_PROP_FPS), []
    while True:
        good, frame = capture.read()
        if not good:
            return rate, frames
        frames.append(frame)


@pytest.mark.parametrize(
    ("told", "written"),
    [(23.976, 23.976), (120.893, 120.89), (239.999, 240), (90_000.0, 25), (2000, 25), (0, 25), (None, 25)],
)
def test_a_rate_that_the_format_can_have(tmp_path, told, written):
    assert frame_rate(told) == written
    with video_writer(tmp_path / "a.mp4", told) as write:
        for _ in range(3):
            write(GREY)
    rate, frames = read(tmp_path / "a.mp4")
    assert rate == pytest.approx(written, abs=0.01) and len(frames) == 3


def test_frames_of_another_size_are_letterboxed_into_the_first(tmp_path):
    with video_writer(tmp_path / "a.mp4", 10) as write:
        write(GREY)
        write(np.full((20, 64, 3), 200, np.uint8))
        write(GREY)
    _, frames = read(tmp_path / "a.mp4")
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3
    assert frames[1][24].mean() > 180 and 100 < frames[1][3].mean() < 128


FULL_DISK = """
import resource, sys
import numpy as np
from yoloseg.errors import UsageError
from yoloseg.inference.video import video_writer

rng = np.random.default_rng(0)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with video_writer(sys.argv[1], 10) as write:
        for _ in range(20):
            write(rng.integers(0, 256, (240, 320, 3), np.uint8))
except UsageError as error:
    print(error)
"""


def test_a_video_of_which_frames_are_missing_is_not_written(tmp_path):
    """OpenCV drops what it cannot write, on a full disk, without a word."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"older")
    done = subprocess.run([sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True)
    assert done.stdout == f"cannot write {path}: not all of its 20 frames; is the disk full?\n", done.stderr
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"older"


def test_names_that_are_no_text(tmp_path):
    """As a file of an old archive may be called: bytes that are no UTF-8."""
    name = b"M\xfcller".decode("utf-8", "surrogateescape")
    save_picture(tmp_path / f"{name}.png", GREY)
    (written,) = tmp_path.iterdir()
    assert cv2.imdecode(np.frombuffer(written.read_bytes(), np.uint8), 1).shape == GREY.shape
    with pytest.raises(UsageError, match="OpenCV cannot take this name"):
        with video_writer(tmp_path / f"{name}.mp4", 10) as write:
            write(GREY)


def test_names_in_any_script(tmp_path):
    for name in ("3.45.12\u202fPM", "\u3000動画", "Mu\u0308ller"):
        with video_writer(tmp_path / f"{name}.mp4", 10) as write:
            write(GREY)
        assert len(read(tmp_path / f"{name}.mp4")[1]) == 1


def test_a_picture_in_a_format_that_is_none(tmp_path):
    for name in ("a", "a.xyz", "a.\udcfc"):
        with pytest.raises(UsageError, match="no picture format has the suffix"):
            save_picture(tmp_path / name, GREY)
