"""Files below a folder, wherever its links lead."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from yoloseg.errors import DataError


def find_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files with one of these suffixes (lower case, with their dots) below a folder, in the order of their
    paths; hidden ones are passed over, linked folders are followed, each once. Raises DataError for a folder
    that cannot be read."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror or error}")

    found, known = [], {os.path.realpath(folder)}
    for root, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in list(folders):
            place = os.path.realpath(os.path.join(root, name))
            if place in known:  # a link back, or a second one
                folders.remove(name)
            known.add(place)
        suffix = tuple(suffixes)
        found += [
            Path(root, name) for name in files if name.lower().endswith(suffix) and not name.startswith(".")
        ]
    return sorted(found)
