"""Where pictures come from: files, folders, globs, videos, cameras, arrays and lists of these."""

from __future__ import annotations

import glob
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from yoloseg.data.images import picture_size, read_image
from yoloseg.errors import DataError, UsageError
from yoloseg.files import is_dir, is_file, is_utf8

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".jp2", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ts", ".gif"}
FPS_UNKNOWN = 25.0
ESTIMATED = {".mkv", ".webm", ".ts", ".mpg", ".mpeg", ".wmv"}  # OpenCV counts their frames by the duration
LONGEST_GAP = 30  # unreadable frames in a row after which a video or a stream is taken to have ended
CAMERA_PAUSE = 0.05  # seconds after each of them, of a camera
LONGEST_SILENCE = 5.0  # seconds after which a stream that gives nothing is taken to have ended


class Frame(NamedTuple):
    """name: the file (or `array0`, `camera0`, a stream's address); image: uint8 [H, W, 3] RGB;
    index: the number of the frame in its video, from 0, or None for a picture of its own; time: seconds from
    the start of its video, rising, or None; of a camera by the clock. position: of a picture, its place among
    the source's names, counting those that cannot be read."""

    name: str
    image: np.ndarray
    index: int | None
    time: float | None = None
    position: int = 0


@dataclass
class Source:
    """Iterable of Frame. Made by `open_source`, which refuses what cannot be read before the first frame.

    kind: "pictures", "video" (a file, also on a server), "camera" (a camera or a stream without an end) or
    "mixed" (a list). names: what will be read, one name for each picture or video. fps: frames a second by
    name, where a video says. skipped: one line for each picture or video of which something turned out
    unreadable; filled while iterating. dropped: frames of a camera that came while others were worked on.
    """

    kind: str
    names: list[str]
    items: list = field(repr=False)
    fps: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    dropped: int = 0

    def __iter__(self) -> Iterator[Frame]:
        self.skipped.clear()
        alone = len(self.items) == 1
        for position, (name, item) in enumerate(zip(self.names, self.items, strict=True)):
            if isinstance(item, Source):
                try:
                    yield from item
                except DataError as error:
                    if alone:
                        raise
                    self.skipped.append(str(error))
                self.skipped += item.skipped
            elif isinstance(item, np.ndarray):
                yield Frame(name, item, None, position=position)
            elif self.kind in ("video", "camera"):
                yield from _frames(name, item, self.kind == "video", self.skipped)
            else:
                try:
                    image = read_image(Path(item))
                except DataError as error:
                    if alone:
                        raise
                    self.skipped.append(str(error))
                    continue
                yield Frame(name, image, None, position=position)

    def sizes(self) -> Iterator[tuple[str, int, int]]:
        """Name, height and width of every picture and video, without decoding them; what does not say, and
        cameras, are left out."""
        for name, item in zip(self.names, self.items, strict=True):
            if isinstance(item, Source):
                yield from item.sizes()
            elif isinstance(item, np.ndarray):
                yield name, *item.shape[:2]
            elif self.kind == "video":
                capture = _open_capture(name, item)
                sides = (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
                height, width = (round(capture.get(side)) for side in sides)
                capture.release()
                if height > 0 and width > 0:
                    yield name, height, width
            elif self.kind != "camera":
                with suppress(DataError):
                    yield name, *picture_size(item)


def open_source(source: str | Path | int | np.ndarray | Sequence) -> Source:
    """Finds out what `source` is.

    source: a picture or video file, a folder (its pictures, by name; sub-folders are left alone), a glob
    (`shots/**/*.jpg`), a camera index (int, or digits that name no file) or `/dev/video0`, a stream's address
    (`rtsp://...`), a uint8 [H, W, 3] RGB array, or a list of any of these.
    Raises DataError for a missing file, an empty folder, glob or list, and a video or camera that does not
    open; a single file that is no picture, or a video of which no frame can be read, raises while iterating,
    among several it is skipped and listed in `skipped`. Raises UsageError for arrays of another shape or
    dtype and for other types.
    """
    if isinstance(source, np.ndarray):
        return Source("pictures", ["array0"], [checked_picture(source, "the array")])
    if isinstance(source, bool):
        raise UsageError("a source is a path, an array, a camera index or a list, not a bool")
    if isinstance(source, (int, np.integer)):
        return _open_video("camera", f"camera{source}", int(source))
    if isinstance(source, (str, Path)):
        return _open_path(source)
    if isinstance(source, (list, tuple)):
        return _open_list(source)
    raise UsageError(f"a source is a path, an array, a camera index or a list, not {type(source).__name__}")


def _open_path(source: str | Path) -> Source:
    text, path = str(source), Path(source)
    with suppress(RuntimeError):  # of a name that begins with ~ and is no user's
        path = path.expanduser()
    if is_dir(path):
        files = sorted((f for f in path.iterdir() if f.suffix.lower() in PICTURE_SUFFIXES), key=_natural)
        if not files:
            videos = [f.name for f in path.iterdir() if f.suffix.lower() in VIDEO_SUFFIXES]
            hint = f"; it holds a video, name it: {path / videos[0]}" if videos else ""
            raise DataError(
                f"{path}: no pictures in this folder ({' '.join(sorted(PICTURE_SUFFIXES))}){hint}"
            )
        return Source("pictures", [str(f) for f in files], files)
    if is_file(path):
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return _open_video("video", str(path), str(path))
        return Source("pictures", [str(path)], [path])
    if device := re.fullmatch(r"/dev/video(\d+)", text):
        return _open_video("camera", f"camera{int(device[1])}", int(device[1]))
    if "://" in text:
        return _open_video("camera", text, text)
    if text.isdecimal():
        return _open_video("camera", f"camera{int(text)}", int(text))
    if any(sign in text for sign in "*?["):
        found = (Path(name) for name in glob.glob(str(path), recursive=True))
        files = sorted((f for f in found if f.is_file()), key=_natural)
        if not files:
            raise DataError(f"{source}: no file matches this pattern")
        if any(f.suffix.lower() in VIDEO_SUFFIXES for f in files):
            return _open_list(files)
        return Source("pictures", [str(f) for f in files], files)
    raise DataError(f"{source}: no such file or folder")


def _open_list(source: Sequence) -> Source:
    if not len(source):
        raise DataError("the list of sources is empty")
    if len(source) == 1 and not isinstance(source[0], np.ndarray):
        return open_source(source[0])
    parts, fps = [], {}
    for number, item in enumerate(source):
        if isinstance(item, np.ndarray):
            parts.append((f"array{number}", checked_picture(item, f"array {number} of the list")))
        else:
            part = open_source(item)
            flat = part.kind in ("pictures", "mixed")
            parts += zip(part.names, part.items, strict=True) if flat else [(part.names[0], part)]
            fps |= part.fps
    kind = "mixed" if any(isinstance(item, Source) for _, item in parts) else "pictures"
    return Source(kind, [name for name, _ in parts], [item for _, item in parts], fps)


def _open_video(kind: str, name: str, device: int | str) -> Source:
    capture = _open_capture(name, device)
    fps = capture.get(cv2.CAP_PROP_FPS)
    if isinstance(device, str) and capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0:
        kind = "video"  # on a server: a stream without an end has no length
    capture.release()
    return Source(kind, [name], [device], fps={name: fps} if fps > 0 else {})


def _open_capture(name: str, device: int | str) -> cv2.VideoCapture:
    if isinstance(device, str) and not is_utf8(device):
        raise DataError(f"{name}: OpenCV opens no video of a name that is not UTF-8; rename it")
    capture = cv2.VideoCapture(device)
    if not capture.isOpened():
        if isinstance(device, int):
            raise DataError(f"{name}: cannot be opened; is a camera connected, and free?")
        raise DataError(
            f"{name}: cannot be opened as a video; is the file whole, and its codec known to OpenCV?"
        )
    return capture


def _frames(name: str, device: int | str, is_file: bool, skipped: list[str]) -> Iterator[Frame]:
    """Frames of one video (is_file) or camera. Unreadable ones are left out and counted in one line added to
    `skipped`."""
    capture = _open_capture(name, device)
    try:
        fps = capture.get(cv2.CAP_PROP_FPS)
        step = 1 / fps if 1 <= fps <= 240 else 1 / FPS_UNKNOWN
        announced = max(0, round(capture.get(cv2.CAP_PROP_FRAME_COUNT))) if is_file else 0
        index = read = failed = lost = 0
        started, stamp = time.monotonic(), -1.0
        last = started
        while failed < LONGEST_GAP:
            good, picture = capture.read()
            if good:
                now = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if is_file else time.monotonic() - started
                stamp = now if now > stamp else stamp + step  # some decoders do not say
                yield Frame(name, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), index, stamp)
                read, failed, lost, last = read + 1, 0, lost + failed, time.monotonic()
            elif is_file and index >= announced > 0:
                break
            elif not is_file and time.monotonic() - last > LONGEST_SILENCE:
                break
            else:
                failed += 1
                time.sleep(0.0 if is_file else CAMERA_PAUSE)
            index += 1
    finally:
        capture.release()
    if not read:
        raise DataError(f"{name}: not one frame could be read; is its codec known to OpenCV?")
    if is_file and Path(device).suffix.lower() in ESTIMATED and announced - read < 0.05 * announced:
        announced = read + lost
    if read < announced:
        skipped.append(f"{name}: {announced - read} of {announced} frames could not be read")


def checked_picture(image: np.ndarray, what: str) -> np.ndarray:
    """`image` itself when it is uint8 [H, W, 3] and not empty, else UsageError."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UsageError(f"{what} must be uint8 [H, W, 3] RGB, not {image.dtype} {list(image.shape)}")
    return image


def _natural(path: Path) -> list:
    """Sort key by which frame_2 comes before frame_10, folder by folder."""
    return [[(int(n or 0), t) for n, t in re.findall(r"(\d+)|(\D+)", part)] for part in path.parts]
