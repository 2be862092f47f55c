"""Darknet's `.cfg` text: sections of `key=value` lines, the first `[net]`, each other one layer.

    [convolutional]
    filters=32          # and ; begin comments
    size = 3            spaces do not count

Source: the description of the format in Darknet's wiki (github.com/AlexeyAB/darknet/wiki).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from yoloseg.errors import WeightsError, shown
from yoloseg.files import is_file

NETWORK = ("net", "network")
LARGEST = 65536  # of any whole number in a layer: sides, channels, strides
LONGEST_FILE = 4 << 20  # bytes; the longest public cfg has about 50 kB

_INTEGER = re.compile(r"[+-]?[0-9]{1,15}")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class Section:
    """One section. kind: its name in lower case. line: where it begins, from 1. index: of its layer, from 0;
    None for `[net]`. values: key -> its (text, line), more than one where it is given again.

    The readers below raise WeightsError, naming file, line, layer and key, for a text that is no such number,
    a number out of range, and a key that is missing without a default, or given twice with two values.
    """

    path: Path
    kind: str
    line: int
    index: int | None
    values: dict[str, list[tuple[str, int]]] = field(default_factory=dict)

    def error(self, message: str, line: int | None = None) -> WeightsError:
        """To be raised: `message` after file, line (of the section if not given) and layer."""
        layer = "" if self.index is None else f", layer {self.index}"
        return WeightsError(f"{self.path}, line {line or self.line}{layer} [{self.kind}]: {message}")

    def text(self, key: str, default: str | None = None) -> tuple[str, int]:
        """The text of a key without spaces, and its line; `default` and the section's line without it."""
        given = self.values.get(key)
        if not given:
            if default is None:
                raise self.error(f"{key} is missing; add a line {key}=...")
            return default, self.line
        for text, line in given[1:]:
            if text != given[0][0]:
                raise self.error(
                    f"{key} is {shown(text)} here and {shown(given[0][0])} in line {given[0][1]}; "
                    "remove one of them",
                    line,
                )
        return given[0]

    def integer(self, key: str, default: int | None = None, low: int = 0, high: int = LARGEST) -> int:
        """A whole number from `low` to `high`."""
        text, line = self.text(key, None if default is None else str(default))
        if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
            raise self.error(f"{key} must be a whole number from {low} to {high}, not {shown(text)}", line)
        return int(text)

    def decimal(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        text, line = self.text(key, None if default is None else str(default))
        return self._decimal(key, text, line)

    def integers(self, key: str) -> list[int]:
        """Whole numbers with commas between them, at least one."""
        text, line = self.text(key)
        parts = text.split(",")
        if not all(_INTEGER.fullmatch(part) for part in parts):
            raise self.error(f"{key} must be whole numbers with commas between, not {shown(text)}", line)
        return [int(part) for part in parts]

    def decimals(self, key: str) -> list[float]:
        """Finite numbers with commas between them, at least one; a comma after the last is allowed."""
        text, line = self.text(key)
        return [self._decimal(key, part, line) for part in text.removesuffix(",").split(",")]

    def choice(self, key: str, choices: Iterable[str], default: str) -> str:
        """One of `choices`, whatever its case."""
        text, line = self.text(key, default)
        if text.lower() not in choices:
            raise self.error(f"{key} must be one of {', '.join(choices)}, not {shown(text)}", line)
        return text.lower()

    def check_keys(self, read: Iterable[str], neutral: dict[str, str]) -> None:
        """Raises WeightsError for a key that changes what the layer computes and is not read.

        read: keys that are. neutral: keys that are not -> the value at which they change nothing. Every other
        key is one of training's and ignored, unless it is nearly spelled as one that is read.
        """
        for key in self.values:
            text, line = self.text(key) if key in read or key in neutral else self.values[key][0]
            if key in neutral and not _equal(text, neutral[key]):
                raise self.error(
                    f"{key}={text} is not read by yoloseg; it changes what the layer computes", line
                )
            if key in read or key in neutral:
                continue
            if near := difflib.get_close_matches(key, [*read, *neutral], 1, 0.85):
                raise self.error(f"there is no key {shown(key)}; is {near[0]} meant?", line)

    def _decimal(self, key: str, text: str, line: int) -> float:
        if not _DECIMAL.fullmatch(text) or not math.isfinite(float(text)):
            raise self.error(f"{key} must be a number, not {shown(text)}", line)
        return float(text)


def _equal(text: str, other: str) -> bool:
    """As numbers, where both are such."""
    if _DECIMAL.fullmatch(text) and _DECIMAL.fullmatch(other):
        return float(text) == float(other)
    return text.lower() == other


def read_cfg(path: str | Path) -> list[Section]:
    """The sections of a file; the first is `[net]`. Raises WeightsError as `parse_cfg`, and for a file that
    is not there or no text."""
    path = Path(path)
    if not is_file(path):
        raise WeightsError(f"{path}: there is no such cfg file")
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_FILE + 1)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
    if b"\0" in content or len(content) > LONGEST_FILE:
        raise WeightsError(f"{path}: is no text; give the .cfg, and the .weights apart from it")
    return parse_cfg(content.decode("utf-8-sig", errors="replace"), path)


def parse_cfg(text: str, path: str | Path) -> list[Section]:
    """The sections of a text; `path` is named in messages.

    Raises WeightsError for a line that is neither a section, `key=value` nor a comment, for a line before the
    first section, for no section, and where `[net]` is not the first one and the only one of its kind.
    """
    path = Path(path)
    sections: list[Section] = []
    for number, line in enumerate(text.splitlines(), 1):
        content = re.sub(r"\s", "", re.split("[#;]", line, maxsplit=1)[0])
        if not content:
            continue
        if content.startswith("["):
            sections.append(_section(content, line, number, path, len(sections)))
            continue
        key, equals, value = content.partition("=")
        if not equals or not key or not value:
            raise WeightsError(f"{path}, line {number}: {shown(line)} is neither [section] nor key=value")
        if not sections:
            raise WeightsError(f"{path}, line {number}: {shown(line)} stands before the first section, [net]")
        sections[-1].values.setdefault(key.lower(), []).append((value, number))
    if not sections:
        raise WeightsError(f"{path}: holds no section; a Darknet cfg begins with [net]")
    return sections


def _section(content: str, line: str, number: int, path: Path, before: int) -> Section:
    kind = content[1:-1].lower()
    if not content.endswith("]") or not kind:
        raise WeightsError(f"{path}, line {number}: {shown(line)} is no section; write [name]")
    if (before == 0) != (kind in NETWORK):
        what = "must be the first section" if before == 0 else "can only be the first section"
        raise WeightsError(f"{path}, line {number}: [net] {what}; here is [{kind}]")
    return Section(path, kind, number, before - 1 if before else None)
