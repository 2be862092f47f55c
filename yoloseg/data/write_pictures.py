"""Pictures of a data set that is written: copied where they can be, encoded where they must."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from yoloseg.data.images import read_header
from yoloseg.data.records import Record
from yoloseg.data.yolo import PICTURES
from yoloseg.errors import DataError, UsageError
from yoloseg.files import atomic_write


class PictureNames:
    """Gives each record of a set a file name of its own: its old one where no other has it. Frames of a clip
    share a folder."""

    def __init__(self):
        self.used: set[str] = set()

    def stem(self, record: Record) -> str:
        """Without suffix, relative to the folder of pictures."""
        if record.frame_of is not None:
            clip, frame = record.frame_of
            stem = f"{_safe(clip.replace('/', '_'))}/{frame:05d}"
        elif isinstance(record.source, Path):
            stem = _safe(record.source.stem)
        else:
            stem = f"{record.image_id:012d}"
        plain, number = stem, 1
        while stem.casefold() in self.used:  # as some file systems compare names
            number += 1
            stem = f"{plain}_{number}"
        self.used.add(stem.casefold())
        return stem


def _safe(name: str) -> str:
    """A name that readers pass over, or take for another thing, in its changed form."""
    name = name.encode("utf-8", "replace").decode()
    name = re.sub(r"^([A-Za-z]):", r"\1_", name.replace("\\", "_"))  # Windows' separator and drives
    return f"_{name}" if name.startswith(".") or name == "images" else name


def write_picture(record: Record, folder: Path, stem: str) -> str:
    """Writes a record's picture into `folder`; returns its name there.

    Its file is copied as it is where every reader sees it as we do; one that is read against its EXIF
    rotation, cropped, scaled or rendered becomes a PNG. Raises DataError for a picture that cannot be read,
    UsageError for a folder that cannot be written.
    """
    source = record.source
    if isinstance(source, Path) and source.suffix.lower() in PICTURES:
        header = read_header(source)
        if header.displayed == (record.height, record.width):
            name = f"{stem}{source.suffix.lower()}"
            try:
                content = source.read_bytes()
            except OSError as error:
                raise DataError(f"{source}: cannot be read: {error.strerror or error}") from error
            with atomic_write(folder / name) as aside:
                aside.write_bytes(content)
            return name
    encode_picture(folder / f"{stem}.png", record.read_image())
    return f"{stem}.png"


def encode_picture(path: Path, picture: np.ndarray) -> None:
    """Writes uint8 RGB whole, as the suffix says; JPEG with quality 95. Raises UsageError."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".jpg" else []
    done, encoded = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise UsageError(f"cannot encode {path}")
    with atomic_write(path) as aside:
        aside.write_bytes(encoded.tobytes())
