"""A data set divided into train, val and test: every class in its share, every clip on one side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from yoloseg.data.duplicates import alike, thumbnails
from yoloseg.data.records import Dataset
from yoloseg.errors import DataError, UsageError


def split_dataset(
    dataset: Dataset, fractions: dict[str, float], *, seed: int = 0, apart: bool = True
) -> dict[str, Dataset]:
    """Divides pictures so that each split has nearly its fraction of the pictures that show each class.

    fractions: split -> share, each above 0, 1 in all. Frames of a clip stay together, and with `apart` (which
    reads every picture) so do pictures that look the same. Groups are dealt out rarest class first, each to
    the split that lacks most of what is in it: iterative stratification (Sechidis, Tsoumakas and Vlahavas
    2011, algorithm 1). The same seed gives the same splits; records keep their order. Raises UsageError for
    fractions that are none, DataError where a split would have no picture.
    """
    shares = list(fractions.values())
    if not shares or not all(share > 0 for share in shares) or not abs(sum(shares) - 1) <= 1e-6:
        raise UsageError(f"fractions must be above 0 and 1 in all, not {fractions}")
    if seed < 0:
        raise UsageError(f"the seed must be at least 0, not {seed}")
    groups = _groups(dataset, apart)
    names = list(fractions)
    share = np.array([fractions[name] for name in names])
    # rows: groups; columns: pictures that show each class, pictures without any, pictures
    content = np.zeros((len(groups), len(dataset.classes) + 2))
    for row, group in enumerate(groups):
        for index in group:
            own = {annotation.class_index for annotation in dataset.records[index].annotations}
            content[row, list(own) or -2] += 1
        content[row, -1] = len(group)
    chosen = deal(content, share, np.random.default_rng(seed))
    splits = {}
    for number, name in enumerate(names):
        indices = sorted(
            index
            for group, where in zip(groups, chosen.tolist(), strict=True)
            if where == number
            for index in group
        )
        if not indices:
            count = f"there are {len(groups)} that may be apart"
            parted = apart and len(_groups(dataset, False)) >= len(names)
            advice = "; --no-alike-together parts pictures that look the same" if parted else ""
            raise DataError(f"{dataset.name}: `{name}` would have no picture; {count}{advice}")
        records = [dataset.records[index] for index in indices]
        splits[name] = replace(dataset, name=f"{dataset.name} {name}", records=records, problems=[])
    return splits


def deal(content: np.ndarray, share: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which part each group goes to, int [G].

    content: [G, C] of how much of each kind is in a group, something of one kind at least; the last column is
    its size, by which parts that lack the same of a kind are told apart; and of a kind in so few groups that
    the smallest part has no claim to one, parts that have their size get no more. share: [P], the parts'
    shares.
    """
    chosen = np.full(len(content), -1)
    wanted = share[:, None] * content.sum(0)
    order = rng.permutation(len(content))
    while (left := order[chosen[order] < 0]).size:
        remaining = content[left, :-1].sum(0)
        kind = int(np.where(remaining > 0, remaining, np.inf).argmin())
        own = left[content[left, kind] > 0]
        own = own[np.argsort(-content[own, kind], kind="stable")]
        # of such a kind the largest part would always get all: not where it has its share of pictures
        few = np.count_nonzero(content[:, kind]) * share.min() < 1
        for group in own.tolist():
            open_to = (wanted[:, -1] > 0) | ~few
            wish = np.where(open_to | ~open_to.any(), wanted[:, kind], -np.inf)
            best = np.flatnonzero(wish == wish.max())
            best = best[wanted[best, -1] == wanted[best, -1].max()]
            part = int(rng.choice(best))
            chosen[group] = part
            wanted[part] -= content[group]
    return chosen


def _groups(dataset: Dataset, apart: bool) -> list[list[int]]:
    """Indices of records that must stay together, in order."""
    owner = list(range(len(dataset)))

    def find(index: int) -> int:
        while owner[index] != index:
            owner[index] = owner[owner[index]]
            index = owner[index]
        return index

    first_of: dict[str, int] = {}
    for index, record in enumerate(dataset.records):
        if record.frame_of is not None:
            owner[index] = find(first_of.setdefault(record.frame_of[0], index))
    for clip, index in first_of.items():  # `merged` may have made two of one, and left one plain
        plain = re.sub(r" \(\d+\)$", "", clip)
        if plain in first_of:
            owner[find(index)] = find(first_of[plain])
    for one, other in alike(thumbnails(dataset.records)) if apart else ():
        owner[find(other)] = find(one)
    groups: dict[int, list[int]] = {}
    for index in range(len(dataset)):
        groups.setdefault(find(index), []).append(index)
    return list(groups.values())


def merged(datasets: Sequence[Dataset], name: str) -> Dataset:
    """One data set, of that name, of several with the same classes; pictures are numbered anew, and a clip of
    the same name as one of another set is another clip unless its frames lie in the same folder. Raises
    DataError where some are federated and others not."""
    if len({dataset.federated for dataset in datasets}) > 1:
        raise DataError(f"{name}: some splits say which classes pictures do not show (LVIS), others do not")
    datasets = _clips_apart(datasets)
    clip_ids: dict[str, int] = {}
    for dataset in datasets:
        clip_ids |= dataset.clip_ids
    if len(set(clip_ids.values())) < len(clip_ids):
        clip_ids = {}  # ids that stand for other clips in another file
    records, number = [], 0
    for dataset in datasets:
        for record in dataset.records:
            number += 1
            annotations = tuple(replace(a, annotation_id=None) for a in record.annotations)
            records.append(replace(record, image_id=number, annotations=annotations))
    problems = [problem for dataset in datasets for problem in dataset.problems]
    return replace(datasets[0], name=name, records=records, problems=problems, clip_ids=clip_ids)


def _clips_apart(datasets: Sequence[Dataset]) -> list[Dataset]:
    """The data sets with clips renamed that have the name of one before them and no folder in common."""
    folders: dict[str, set] = {}  # of the frames of each clip so far
    renamed = []
    for dataset in datasets:
        own: dict[str, set] = {}
        for record in dataset.records:
            if record.frame_of is not None:
                place = record.source.parent if isinstance(record.source, Path) else None
                own.setdefault(record.frame_of[0], set()).add(place)
        names = {}
        for clip, places in own.items():
            name, number = clip, 1
            while (name in folders and folders[name].isdisjoint(places)) or (number > 1 and name in own):
                number += 1
                name = f"{clip} ({number})"
            names[clip] = name
        for clip, places in own.items():
            folders.setdefault(names[clip], set()).update(places)
        records = [
            record
            if record.frame_of is None
            else replace(record, frame_of=(names[record.frame_of[0]], record.frame_of[1]))
            for record in dataset.records
        ]
        clip_ids = {names.get(clip, clip): number for clip, number in dataset.clip_ids.items()}
        renamed.append(replace(dataset, records=records, clip_ids=clip_ids))
    return renamed
