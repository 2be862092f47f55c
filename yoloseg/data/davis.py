"""Clips of DAVIS form: `JPEGImages/480p/CLIP/00000.jpg` and `Annotations/480p/CLIP/00000.png`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yoloseg.data.folders import find_files
from yoloseg.data.json_file import without_collection
from yoloseg.data.label_images import IGNORED, attach_labels, label_rles
from yoloseg.data.pictures import Picture, Problems, make_dataset, printable
from yoloseg.data.records import Dataset
from yoloseg.data.yolo import PICTURES
from yoloseg.errors import DataError
from yoloseg.files import is_dir

CLASS = "object"  # DAVIS has no classes


@without_collection()
def load_davis(
    root: Path,
    name: str,
    *,
    resolution: str = "480p",
    clips: Sequence[str] | None = None,
    every: int = 1,
    class_name: str = CLASS,
) -> Dataset:
    """Reads annotated clips of one class.

    root: holds `JPEGImages/RESOLUTION` and `Annotations/RESOLUTION`. clips: their names, all if None. every:
    as in `load_youtube_vis`. The values of an annotation's pixels are its track ids, 255 is ignored; where a
    clip has no other value (DAVIS 2016, one object) 255 is its object, of track id 1.

    Frames without an annotation (the test sets have one for the first frame alone) and those that cannot be
    used are left out with a Problem. Raises DataError: no such folder or clip, nothing there.
    """
    photographs, labels = root / "JPEGImages" / resolution, root / "Annotations" / resolution
    for folder in (photographs, labels):
        if not is_dir(folder):
            raise DataError(f"{folder}: no such folder; is the resolution another, or the clips elsewhere?")
    there = sorted(path.name for path in photographs.iterdir() if path.is_dir())
    missing = [clip for clip in clips or () if clip not in there]
    if missing:
        raise DataError(f"{photographs}: no clip {missing[0]!r}; there are {', '.join(there[:20])}")
    problems = Problems(labels)
    pictures: list[Picture] = []
    number = 0
    for clip in there if clips is None else clips:
        frames = []
        for position, path in enumerate(find_files(photographs / clip, PICTURES)):
            number += 1
            if position % every:
                continue
            label = f"frame {position} of clip {printable(clip)}"
            frames.append(Picture(number, label, path, None, frame_of=(clip, position)))
        paths = [(labels / p.path.relative_to(photographs)).with_suffix(".png") for p in frames]
        attach_labels(frames, paths, _entries, problems)
        values = {entry["track_id"] for frame in frames for _, entry in frame.annotations}
        for frame in frames:
            if values == {IGNORED}:
                frame.annotations = [(place, entry | {"track_id": 1}) for place, entry in frame.annotations]
            else:
                frame.annotations = [one for one in frame.annotations if one[1]["track_id"] != IGNORED]
        pictures += frames
    if not pictures:
        raise DataError(f"{photographs}: there are no frames")
    return make_dataset(name, labels, pictures, {1: class_name}, problems)


def _entries(ids: np.ndarray, path: Path) -> list[tuple[str, dict]]:
    return [
        (
            f"object {value} of {printable(str(path))}",
            {"category_id": 1, "segmentation": rle, "track_id": value},
        )
        for value, rle in label_rles(ids).items()
    ]
