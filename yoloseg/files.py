"""Files are written whole or not at all: write aside in the same folder, then rename."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from yoloseg.errors import UsageError


@contextmanager
def atomic_write(path: str | Path, durable: bool = False) -> Iterator[Path]:
    """Yields a temporary path beside `path` (same suffix); renames it onto `path` when the block succeeds.

    The folder is made if missing. durable: it is on the disk before `path` names it, so that neither does a
    power cut leave half of it. If the block raises, nothing is left behind and an older `path` is
    untouched. Raises UsageError when the folder cannot be written.
    """
    path = Path(path)
    name = path.name
    if len(os.fsencode(name)) > 200:  # there must be room for what is put before it
        name = f"{zlib.crc32(os.fsencode(name)):08x}{name[-40:]}"
    aside = path.with_name(f".{os.getpid()}.{name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        if durable:
            with open(aside, "r+b") as file:
                os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        with suppress(OSError):  # a folder that cannot be written may not be searchable either
            aside.unlink()
        raise UsageError(f"cannot write {path}: {_reason(error)}") from error
    except BaseException:
        with suppress(OSError):  # its name may be too long for a file
            aside.unlink()
        raise


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """As `atomic_write` for a folder, which must not exist yet: yields one beside it, empty."""
    path = Path(path)
    # no folder that a killed process of the same number left, or that another thread is writing
    aside = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.mkdir()
        yield aside
        os.replace(aside, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {_reason(error)}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def remove_asides(folder: Path) -> None:
    """Removes what `atomic_write` left in a folder when its process was killed while writing."""
    for path in folder.glob(".*"):
        if re.match(r"\.\d+\.", path.name) and path.is_file():
            path.unlink(missing_ok=True)


def is_name(value: Any) -> bool:
    """Whether a value is a text that can name a file: not empty, no null byte, no half of a character."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    try:
        os.fsencode(value)
    except UnicodeError:
        return False
    return True


def is_file(path: Path) -> bool:
    """False too where the system cannot even look: a name too long, a character that none may have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_dir(path: Path) -> bool:
    """As `is_file`."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_utf8(text: str) -> bool:
    """Whether a name can be given to OpenCV's videos, which end the process at one that is no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_writable(path: str | Path) -> None:
    """Raises UsageError when a file cannot be made where `path` lies: before work that would be lost."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UsageError(f"cannot write {path}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    """The system's words; h5py has them inside a long text of its own."""
    quoted = re.search(r"error message = '([^']+)'", str(error))
    return quoted.group(1) if quoted else error.strerror or str(error)


def write_text(path: str | Path, text: str, durable: bool = False) -> None:
    """Writes UTF-8 text as `atomic_write`; halves of characters, which a file name may hold, are escaped."""
    with atomic_write(path, durable) as aside:
        aside.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | Path, value: Any, durable: bool = False) -> None:
    """Writes JSON (indent 2) as `atomic_write`; NaN is refused, as no JSON reader need accept it."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n", durable)
