"""Darknet's binary `.weights`: a header, then the float32 values of every convolution in the cfg's order.

    major, minor, revision    int32 each, little-endian as all that follows
    seen                      pictures trained on: 64 bit from version 0.2, else 32 bit
    bias [n]                  BatchNorm's beta where the convolution has one
    scale [n], mean [n], variance [n]       with BatchNorm alone: gamma and rolling statistics
    weights [n, c / groups, k, k]

Source: the description of the format in Darknet's wiki (github.com/AlexeyAB/darknet/wiki).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yoloseg.errors import WeightsError
from yoloseg.files import atomic_write, is_file

HIGHEST_VERSION = 10_000  # a larger number in the header is no version: the file is of another kind


@dataclass(frozen=True)
class Header:
    """seen: pictures trained on."""

    major: int = 0
    minor: int = 2
    revision: int = 5
    seen: int = 0

    @property
    def wide(self) -> bool:
        """Whether `seen` has 64 bit."""
        return self.major * 10 + self.minor >= 2 and self.major < 1000 and self.minor < 1000

    def to_bytes(self) -> bytes:
        numbers = (self.major, self.minor, self.revision, self.seen)
        return struct.pack("<3iQ" if self.wide else "<3iI", *numbers)


@dataclass(frozen=True)
class Convolution:
    """What the format needs to know of a convolution with a kernel of size x size.

    name: for messages. channels: of its input, divided by its groups. normalised: followed by BatchNorm.
    """

    name: str
    filters: int
    channels: int
    size: int
    normalised: bool = True

    @property
    def parts(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of what is stored, in the order of the file."""
        vectors = ("bias", "scale", "mean", "variance") if self.normalised else ("bias",)
        shapes = {name: (self.filters,) for name in vectors}
        return shapes | {"weights": (self.filters, self.channels, self.size, self.size)}

    @property
    def floats(self) -> int:
        return sum(math.prod(shape) for shape in self.parts.values())


# Of one convolution, by name and in the shapes of `Convolution.parts`; float32.
Values = dict[str, np.ndarray]


def read_header(path: str | Path) -> Header:
    """Raises WeightsError for a file that is not there, empty, shorter than its header, or of another kind (a
    Git LFS pointer or a web page in place of the file, say)."""
    path = Path(path)
    if not is_file(path):
        raise WeightsError(f"{path}: there is no such weights file")
    try:
        with path.open("rb") as file:
            start = file.read(200)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
    if not start:
        raise WeightsError(f"{path}: is empty; download it again")
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{path}: is a pointer of Git LFS, not the weights themselves; run `git lfs pull` or download "
            "the file itself"
        )
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise WeightsError(f"{path}: is a web page, not weights; open it to see what the server said")
    if len(start) < 16:
        raise WeightsError(f"{path}: has {len(start)} bytes, less than a header; download it again")
    version = struct.unpack_from("<3i", start)
    if not all(0 <= number <= HIGHEST_VERSION for number in version):
        raise WeightsError(f"{path}: does not begin with a version of Darknet; give a Darknet .weights file")
    if not Header(*version).wide:
        return Header(*version, struct.unpack_from("<I", start, 12)[0])
    if len(start) < 20:
        raise WeightsError(f"{path}: has {len(start)} bytes, less than a header; download it again")
    return Header(*version, struct.unpack_from("<Q", start, 12)[0])


class WeightsFile:
    """The values of a file, taken one after the other; mapped, so that only what is taken is read.

    header: as read. count: floats after it. taken: of these. Raises WeightsError as `read_header`, and for a
    file that ends within a float.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.header = read_header(self.path)
        start = len(self.header.to_bytes())
        size = self.path.stat().st_size - start
        if size % 4:
            raise WeightsError(
                f"{self.path}: has {size:,} bytes after the header, which are no whole floats; it is "
                "truncated or damaged, download it again"
            )
        self.count = size // 4
        self.taken = 0
        self._floats = np.zeros(0, np.float32)
        if self.count:  # NumPy refuses to map nothing
            self._floats = np.memmap(self.path, "<f4", "r", start, (self.count,))

    @property
    def left(self) -> int:
        return self.count - self.taken

    def take(self, name: str, shape: Sequence[int]) -> np.ndarray:
        """The next float32 values, of that shape, read-only; `name` is named in messages: "conv_5 weights".

        Raises WeightsError where fewer are left, and for values that are not finite.
        """
        needed = math.prod(shape)
        if needed > self.left:
            raise WeightsError(
                f"{self.path}: ends too early: {name} needs {needed:,} floats {tuple(shape)}, {self.left:,} "
                f"of {self.count:,} are left; the file is truncated, or of another cfg"
            )
        values = self._floats[self.taken : self.taken + needed]
        if not np.isfinite(values).all():
            bad = int(needed - np.isfinite(values).sum())
            raise WeightsError(
                f"{self.path}: {bad:,} of the {needed:,} floats of {name} are not finite; the file is "
                "damaged, of another cfg, or its training diverged"
            )
        self.taken += needed
        return values.reshape(shape)

    def convolution(self, convolution: Convolution) -> Values:
        """The next convolution's. Raises WeightsError as `take`, and for a variance below 0."""
        name = convolution.name
        values = {part: self.take(f"{name} {part}", shape) for part, shape in convolution.parts.items()}
        if "variance" in values and (values["variance"] < 0).any():
            raise WeightsError(
                f"{self.path}: {name} has a rolling variance of {values['variance'].min():.3g}, below 0: the "
                "file is of another cfg, or damaged"
            )
        return values

    def finish(self, last: str) -> None:
        """Raises WeightsError if floats are left after the layer `last`."""
        if self.left:
            raise WeightsError(
                f"{self.path}: is too long: {self.left:,} of {self.count:,} floats are left after the last "
                f"layer, {last}; it is of another cfg"
            )


def write_weights(
    path: str | Path, convolutions: Iterable[tuple[Convolution, Values]], header: Header | None = None
) -> None:
    """Writes a file, whole or not at all. header: version 0.2.5, nothing seen, if not given.

    Raises UsageError when it cannot be written, WeightsError for values of another shape than the
    convolution's, and for such that are not finite.
    """
    with atomic_write(path) as aside, aside.open("wb") as file:
        file.write((header or Header()).to_bytes())
        for convolution, values in convolutions:
            for part, shape in convolution.parts.items():
                array = np.ascontiguousarray(values[part], "<f4")
                if array.shape != shape:
                    raise WeightsError(
                        f"{path}: {convolution.name} {part} must be {shape}, not {array.shape}"
                    )
                if not np.isfinite(array).all():
                    raise WeightsError(
                        f"{path}: {convolution.name} {part} are not finite: the training diverged"
                    )
                file.write(array.data)
