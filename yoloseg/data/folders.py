"""Files below a folder, wherever its links lead."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from yoloseg.errors import DataError


def find_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files with one of these suffixes (lower case, with their dots) below a folder, in the order of their
    paths; hidden ones are passed over. Linked folders are followed, each once, but not to what lies below
    `folder` anyway. Raises DataError for a folder that cannot be read."""

    def refuse(error: OSError) -> None:
        if os.path.basename(str(error.filename)) != "lost+found":  # of every disk, and root's alone
            raise DataError(f"{error.filename}: cannot be read: {error.strerror or error}")

    top = os.path.realpath(folder)
    found, known = [], set()
    for root, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in list(folders):
            path = os.path.join(root, name)
            place = os.path.realpath(path)
            inside = os.path.islink(path) and os.path.commonpath([place, top]) == top
            if inside or place in known:  # it is, or was, found under its own name
                folders.remove(name)
            else:
                known.add(place)
        suffix = tuple(suffixes)
        found += [
            Path(root, name) for name in files if name.lower().endswith(suffix) and not name.startswith(".")
        ]
    return sorted(found)
