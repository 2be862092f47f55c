"""The same instances seen several times: frames of a clip, or one picture drawn in several ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from yoloseg.data.augment import Affine, Colour
from yoloseg.data.records import Dataset, Record
from yoloseg.data.samples import Flip, Sample, Transform, read_sample

# What an instance may look like a while later. Hues are left alone: it is known again by them.
DRAWN: tuple[Transform, ...] = (Affine((0.6, 1.5), 0.1, 180.0), Flip(), Colour(0.0, 0.1, 0.25))


@dataclass(frozen=True)
class View:
    """sample: one look at a group of instances, whose track_id says which of the group each is. group,
    number: of the group in the set, of the view in the group, from 0 on."""

    group: int
    number: int
    sample: Sample


def groups_of(dataset: Dataset) -> list[list[Record]]:
    """The pictures that show the same instances: the frames of each clip, by number, if all its objects have
    track ids; any other picture alone. Pictures without an object are left out."""
    groups: dict[object, list[Record]] = {}
    untracked = {
        record.frame_of[0]
        for record in dataset.records
        if record.frame_of and any(one.track_id is None for one in record.annotations if not one.crowd)
    }
    for position, record in enumerate(dataset.records):
        if any(not one.crowd for one in record.annotations):
            tracked = record.frame_of is not None and record.frame_of[0] not in untracked
            groups.setdefault(record.frame_of[0] if tracked else position, []).append(record)
    for records in groups.values():
        records.sort(key=lambda record: record.frame_of[1] if record.frame_of else 0)
    return list(groups.values())


def views_of(
    groups: Sequence[Sequence[Record]], count: int, imgsz: tuple[int, int], seed: int
) -> Iterator[View]:
    """`count` views of each group, letterboxed to imgsz (height, width), group by group.

    Frames are spread over their clip. A frame or picture that is taken again is drawn anew by `DRAWN`, with
    random numbers of `seed`. Crowds are left out; of two objects of one frame with one track id the second.
    Raises DataError for a picture that cannot be read.
    """
    rng = np.random.default_rng(seed)
    for group, records in enumerate(groups):
        places = np.sort(np.arange(count) % len(records))
        if count < len(records):
            places = np.rint(np.linspace(0, len(records) - 1, count)).astype(int)
        last = None
        for number, place in enumerate(places.tolist()):
            if place != last:
                plain = sample = _identified(read_sample(records[place], imgsz), len(records) > 1)
            else:
                sample = plain
                for transform in DRAWN:
                    sample = transform(sample, rng, ())
            last = place
            yield View(group, number, sample)


def _identified(sample: Sample, tracked: bool) -> Sample:
    """Without crowds; instances that are not tracked have their place as track_id."""
    found = {}
    for place, one in enumerate(sample.instances):
        if not one.crowd:
            identity = one.track_id if tracked else place
            found.setdefault(identity, replace(one, track_id=identity))
    return replace(sample, instances=tuple(found.values()))
