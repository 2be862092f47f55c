"""A picture file -> uint8 RGB pixels, or its size and soundness from the header alone.

Which way is up. A camera may store the pixels lying on their side and say so in EXIF. Most annotation tools
draw on the picture as it is displayed; some read the stored pixels. Nothing in an annotation file says which,
but its width and height do: the displayed picture is used unless only the stored one has the size that the
annotation file gives. Where both have it (a half turn, a mirrored or a square picture), the displayed one is
used.

What becomes of unusual pixels: grey is repeated over the three channels, transparency is dropped (as COCO's
own tools do), a palette is looked up, 16 bits keep their high byte, CMYK is converted without a colour
profile, an animation gives its first picture. 32-bit pixels have no defined white and are refused.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image

from yoloseg.errors import DataError

_EXIF_ORIENTATION = 0x0112
_TAIL = 64  # bytes; too short to reach back to the end mark of a thumbnail in a JPEG's header
_END_MARKS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
# What Pillow raises on files that are broken in one way or another.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    struct.error,
    NotImplementedError,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class PictureHeader:
    """What a picture file says about itself. `stored` is (height, width) of the pixels as they lie in the
    file, `orientation` EXIF's 1..8 still to be applied, `format` and `mode` Pillow's names."""

    stored: tuple[int, int]
    orientation: int
    format: str
    mode: str

    @property
    def displayed(self) -> tuple[int, int]:
        """(height, width) after the EXIF rotation."""
        height, width = self.stored
        return (width, height) if self.orientation >= 5 else (height, width)

    def orientation_for(self, size: tuple[int, int] | None) -> int | None:
        """EXIF orientation to apply so that the picture has `size` (height, width); None if no orientation
        fits."""
        if size is None or self.displayed == tuple(size):
            return self.orientation
        return 1 if self.stored == tuple(size) else None


def read_image(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """uint8 [H, W, 3] RGB of a picture file, contiguous, displayed upright.

    `size` (height, width): what an annotation file says of the picture; where only the stored pixels fit it,
    EXIF is not applied. Raises DataError naming the file: missing, unreadable, not a picture, truncated, not
    of that size.
    """
    content = _read_bytes(path)
    stream = io.BytesIO(content)
    with _open(path, stream) as picture:
        header = _header(picture)
        orientation = header.orientation_for(size)
        if orientation is None:
            raise DataError(size_message(path, header, size))
        pixels = None
        if header.format in _END_MARKS and header.mode != "CMYK" and _has_end_mark(header, stream):
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            try:
                pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
            except cv2.error:
                pixels = None  # OpenCV cannot, or thinks it too big: Pillow decides below
        if pixels is not None and pixels.shape[:2] == header.stored:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        else:
            pixels = _decode_with_pillow(path, picture)
    return np.ascontiguousarray(_orient(pixels, orientation))


def picture_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of the displayed picture, from the header only. Raises DataError if there is no such
    picture."""
    return read_header(path).displayed


def read_header(path: str | Path) -> PictureHeader:
    """The header of a picture file. Raises DataError naming the file if it is missing or not a picture."""
    with _open_file(path) as stream, _open(path, stream) as picture:
        return _header(picture)


def check_picture(path: str | Path) -> PictureHeader:
    """The header of a picture file whose end is there too. Raises DataError: missing, not a picture,
    truncated.

    JPEG and PNG cost one look at the header and one at the last bytes. Those without an end mark there, and
    every other format, are decoded once.
    """
    with _open_file(path) as stream, _open(path, stream) as picture:
        header = _header(picture)
        if not _has_end_mark(header, stream):
            _decode_with_pillow(path, picture)
    return header


def check_pictures(paths: Sequence[str | Path], workers: int = 16) -> list[PictureHeader | DataError]:
    """`check_picture` of many files in threads: for each path its header, or the DataError that says what is
    wrong."""

    def check(start: int) -> list[PictureHeader | DataError]:
        return [_check_or_error(path) for path in paths[start : start + 256]]

    Image.preinit()
    with ThreadPoolExecutor(workers) as pool:
        return [result for part in pool.map(check, range(0, len(paths), 256)) for result in part]


def size_message(path: str | Path, header: PictureHeader, size: tuple[int, int]) -> str:
    """Says how a picture disagrees with its annotation file."""
    height, width = header.displayed
    return (
        f"{path}: the picture is {width} x {height} (width x height) but the annotation file says "
        f"{size[1]} x {size[0]}; was it resized after it was annotated? "
        "Put the annotated picture back, or scale the annotations with it"
    )


def _check_or_error(path: str | Path) -> PictureHeader | DataError:
    try:
        return check_picture(path)
    except DataError as error:
        return error


def _open_file(path: str | Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such picture") from error
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _read_bytes(path: str | Path) -> bytes:
    with _open_file(path) as stream:
        try:
            return stream.read()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _open(path: str | Path, stream: BinaryIO) -> Image.Image:
    """Pillow's picture with its header read and its pixels not."""
    try:
        return Image.open(stream)
    except Image.UnidentifiedImageError as error:
        empty = "an empty file" if stream.seek(0, os.SEEK_END) == 0 else "not a picture this package can read"
        raise DataError(f"{path}: {empty}; save it again as JPEG or PNG, or take it out") from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        told = f"{path}: has more than {most:,} pixels; cut it into tiles, or take it out"
        raise DataError(told) from error
    except BROKEN as error:
        raise DataError(f"{path}: broken picture ({error}); copy or save it again, or take it out") from error


def _header(picture: Image.Image) -> PictureHeader:
    width, height = picture.size
    orientation = 1
    content = picture.info.get("exif")
    if content and picture.format != "TIFF":  # Pillow turns TIFF pictures by itself
        try:
            exif = Image.Exif()
            exif.load(content)
            orientation = exif.get(_EXIF_ORIENTATION, 1)
        except BROKEN:
            orientation = 1  # unreadable EXIF says nothing: viewers show such a picture as stored
    if orientation not in range(1, 9):
        orientation = 1
    return PictureHeader((height, width), int(orientation), picture.format or "", picture.mode)


def _has_end_mark(header: PictureHeader, stream: BinaryIO) -> bool:
    mark = _END_MARKS.get(header.format)
    if mark is None:
        return False
    position = stream.tell()
    stream.seek(max(stream.seek(0, os.SEEK_END) - _TAIL, 0))
    tail = stream.read(_TAIL)
    stream.seek(position)
    return mark in tail


def _decode_with_pillow(path: str | Path, picture: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3] RGB as stored. Raises DataError if the pixels are not all there or not 8 or 16 bits
    deep."""
    try:
        picture.load()
        if picture.mode.startswith("I;16"):
            grey = (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if picture.mode not in ("I", "F"):
            return np.asarray(picture.convert("RGB"))
    except BROKEN as error:
        raise DataError(
            f"{path}: truncated or broken picture ({error}); copy or save it again, or take it out"
        ) from error
    raise DataError(f"{path}: its pixels have 32 bits and no defined white; save it with 8 or 16 bits")


def _orient(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation to [H, W, C] (EXIF 2.3, tag 0x0112)."""
    if orientation >= 5:  # 5..8 store rows as columns
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):  # upside down
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):  # mirrored
        pixels = pixels[:, ::-1]
    return pixels
