"""Tracks as the YouTube-VIS challenge's results, kept on disk until the clip ends."""

from __future__ import annotations

import json
import tempfile
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from yoloseg.errors import UsageError
from yoloseg.files import atomic_write
from yoloseg.tracking.tracks import Tracks


class VisResults:
    """Collects the tracks of clips and writes them in the challenge's form: one entry a track with
    `video_id`, `category_id`, `score` and `segmentations`, an RLE or null for each frame of its clip.

    category_ids[k]: the id of class index k, None if it has none. A track's score is the mean of its
    detections', its class the one they voted for, each with its score. Masks go to a temporary file, in
    `folder` or where the system has such, so that memory holds three numbers for each of them. Use it in a
    `with` block, which deletes that file. Raises UsageError where it cannot be written.
    """

    def __init__(self, category_ids: Sequence[int | None], folder: Path | None = None):
        self.category_ids = tuple(category_ids)
        self._folder = folder or tempfile.gettempdir()
        try:
            self._file = tempfile.TemporaryFile("w+b", dir=folder)
        except OSError as error:
            raise self._unwritable(error) from error
        self._frames: dict[int, int] = {}  # of each clip
        self._tracks: dict[tuple[int, int], _Track] = defaultdict(_Track)  # by clip and id

    def __enter__(self) -> VisResults:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what could not be written is not to be written
            self._file.close()

    def add(self, video_id: int, frame: int, tracks: Tracks) -> None:
        """Adds one frame, `frame` counted from 0; frames come in order, ones that are left out are null."""
        self._frames[video_id] = frame + 1
        for number, score, kind, rle in zip(
            tracks.ids.tolist(), tracks.scores.tolist(), tracks.class_ids.tolist(), tracks.rles, strict=True
        ):
            track = self._tracks[video_id, number]
            try:
                track.places.extend((frame, self._file.seek(0, 2), len(rle["counts"])))
                self._file.write(rle["counts"])
            except OSError as error:
                raise self._unwritable(error) from error
            track.size, track.class_id = rle["size"], kind
            track.score += score

    def _unwritable(self, error: OSError) -> UsageError:
        return UsageError(f"cannot keep the masks of tracks in {self._folder}: {error.strerror or error}")

    def end(self, video_id: int, frames: int) -> None:
        """Says that the clip has so many frames, where its last ones had to be left out."""
        self._frames[video_id] = frames

    def __iter__(self) -> Iterator[dict]:
        """The entries, by clip and id, one in memory at a time."""
        for (video_id, _), track in sorted(self._tracks.items()):
            segmentations: list[dict | None] = [None] * self._frames[video_id]
            for frame, place, length in zip(*[iter(track.places)] * 3, strict=True):
                self._file.seek(place)
                counts = self._file.read(length).decode("ascii")
                segmentations[frame] = {"size": track.size, "counts": counts}
            yield {
                "video_id": video_id,
                "category_id": self.category_ids[track.class_id],
                "score": round(3 * track.score / len(track.places), 6),
                "segmentations": segmentations,
            }

    def save(self, path: str | Path) -> None:
        """Writes the results file, one track a line, whole or not at all. Raises UsageError."""
        with atomic_write(path) as aside, aside.open("w", encoding="utf-8") as file:
            file.write("[")
            for number, entry in enumerate(self):
                file.write(",\n" if number else "\n")
                file.write(json.dumps(entry, allow_nan=False, separators=(",", ":")))
            file.write("\n]\n")


class _Track:
    """places: of each mask its frame, where its RLE's counts start in the file, and how long they are."""

    def __init__(self):
        self.places = array("q")
        self.size: list[int] = []
        self.class_id = 0
        self.score = 0.0
