"""JSON files of annotations: whatever is wrong with the text is a DataError."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yoloseg.errors import DataError


def read_json(source: Path) -> Any:
    """The content of a JSON file. Raises DataError: it cannot be read, is cut off or is not JSON."""
    try:
        return json.loads(source.read_bytes())
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror or error}") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{source}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}; "
            "was it cut off while being copied? Export it again"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not a JSON text file ({error})") from error
    except (RecursionError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise DataError(f"{source}: not a file of annotations ({error})") from error


@contextmanager
def without_collection() -> Iterator[None]:
    """Stops the search for garbage while millions of lists are made and none is dropped: it would double the
    time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
