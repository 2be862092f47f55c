"""What is wrong with a data set, found before the first step: in every split, and between them."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from yoloseg.data.anchor_fitting import fit_any_anchors, letterboxed_sizes
from yoloseg.data.coco_masks import area_of
from yoloseg.data.datafile import join_split, load_datasets, read_datafile
from yoloseg.data.duplicates import alike, thumbnails
from yoloseg.data.formats import Entry, load_entry
from yoloseg.data.records import Dataset, Problem, Record
from yoloseg.errors import DataError

ANCHORS, IMGSZ = 3, (416, 416)  # a level, and the network input that training fits them for by default
WRONG_AREA = 0.2  # share of a mask's area by which the file's may differ


@dataclass
class Findings:
    """Of `check_data`. datasets: what could be read, by split, classes as each file has them. problems:
    defects that training leaves out or lives with, of files, classes and pictures. refusals: why training
    would not start; none if it would. unusable: why the test split cannot be used."""

    datasets: dict[str, Dataset] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)

    def refused(self, split: str, error: DataError) -> None:
        """Notes what makes a split unusable."""
        (self.unusable if split == "test" else self.refusals).append(str(error))


def check_data(data: str | Path, *, pictures: bool = True) -> Findings:
    """Reads every split of a data file, each on its own, and compares them.

    pictures: also look at the pixels of all, for pictures that stand there twice or in two splits. The
    built-in "shapes" are what they are, and only read. Raises DataError if `data` is no data file.
    """
    if str(data) == "shapes":
        return Findings(load_datasets(data))
    entries = read_datafile(data)
    found = Findings()
    for split, entry in entries.items():
        try:
            known = next(iter(found.datasets.values())).classes if found.datasets else ()
            found.datasets[split] = load_entry(entry, f"{Path(data).stem} {split}", known)
        except DataError as error:
            found.refused(split, error)
            continue
        found.problems += found.datasets[split].problems
        found.problems += class_problems(found.datasets[split], entry.source)
        found.problems += area_problems(found.datasets[split], entry.source)
    _join(data, entries, found)
    if pictures:
        thumbs = {split: thumbnails(dataset.records) for split, dataset in found.datasets.items()}
        for split in list(found.datasets):
            _drop_unreadable(found, split, thumbs)
        found.problems += picture_problems(found.datasets, entries, thumbs)
    return found


def _drop_unreadable(found: Findings, split: str, thumbs: dict[str, np.ndarray]) -> None:
    """Takes pictures out whose header and end are there but whose pixels cannot be decoded: training would
    end. What a decoder makes something of, as of most damaged JPEG, is no error to it either."""
    dataset, kept = found.datasets[split], []
    for index, record in enumerate(dataset.records):
        try:
            if not thumbs[split][index].any() or not _plain_suffix(record):
                record.read_image()
        except DataError as error:
            found.refused(split, error)
        else:
            kept.append(index)
    if len(kept) < len(dataset):
        found.datasets[split] = replace(dataset, records=[dataset.records[index] for index in kept])
        thumbs[split] = thumbs[split][kept]


def _plain_suffix(record: Record) -> bool:
    """Whether thumbnails are made by the decoder that training reads the picture with."""
    source = record.source
    return not isinstance(source, Path) or source.suffix.lower() in (".jpg", ".jpeg", ".png")


def _join(data: str | Path, entries: dict[str, Entry], found: Findings) -> None:
    """What only shows when the splits come together, as training brings them."""
    for split in ("train", "val"):
        if split not in entries:
            found.refusals.append(f"{data}: it has no `{split}`, which training needs")
    first = found.datasets.get("train")
    if first is not None:
        try:
            sizes = letterboxed_sizes(first, IMGSZ)
            fit_any_anchors(sizes, ANCHORS, imgsz=IMGSZ, source=entries["train"].source)
        except DataError as error:
            found.refused("train", error)
    joined: dict[str, Dataset] = {}
    for split, dataset in found.datasets.items():
        source = entries[split].source
        if first is not None and dataset is not first:
            found.problems += id_problems(dataset, first, source)
        known = len(dataset.problems)
        try:
            join_split(joined, split, dataset, source)
        except DataError as error:
            found.refused(split, error)
        else:
            found.problems += joined[split].problems[known:]


def class_problems(dataset: Dataset, source: str) -> list[Problem]:
    """Names that differ only in how they are written, that were decoded wrongly, or that nothing is of."""
    problems = []
    spelled = defaultdict(list)
    for name in dataset.classes:
        spelled[_plain(name)].append(name)
        if (meant := _meant(name)) is not None:
            what = f"written in a wrong encoding; {meant!r} is meant" if meant else "holds broken characters"
            problems.append(Problem(source, f"class {name!r}", what))
        elif name != name.strip():
            problems.append(Problem(source, f"class {name!r}", "has spaces at its ends"))
    for names in spelled.values():
        if len(names) > 1:
            listed = ", ".join(map(repr, names))
            problems.append(Problem(source, f"classes {listed}", "differ only in how they are written"))
    used = {a.class_index for record in dataset.records for a in record.annotations}
    never = [name for index, name in enumerate(dataset.classes) if index not in used]
    if never:
        problems.append(Problem(source, f"{len(never)} of {len(dataset.classes)} classes", _never(never)))
    return problems


def area_problems(dataset: Dataset, source: str) -> list[Problem]:
    """Areas in the file that are not those of the masks, as exports write that give the box's."""
    stated = np.array([a.area for record in dataset.records for a in record.annotations])
    masks = np.array([area_of(a.segmentation) for record in dataset.records for a in record.annotations])
    wrong = int((np.abs(stated - masks) > WRONG_AREA * masks).sum())
    if not wrong:
        return []
    what = f"is more than {WRONG_AREA:.0%} off their masks': not used, masks are measured"
    return [Problem(source, f"area of {wrong} of {len(masks)} annotations", what)]


def _never(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"never annotated: {', '.join(names[:most])}{more}"


def id_problems(dataset: Dataset, first: Dataset, source: str) -> list[Problem]:
    """Classes whose id is another in the first split: they are matched by name."""
    ids = dict(zip(first.classes, first.category_ids, strict=True))
    different = [
        f"{name} {number} ({ids[name]})"
        for name, number in zip(dataset.classes, dataset.category_ids, strict=True)
        if ids.get(name, number) != number
    ]
    if not different:
        return []
    what = f"have another id than in {first.name!r}: matched by name ({', '.join(different[:20])})"
    return [Problem(source, f"{len(different)} classes", what)]


def picture_problems(
    datasets: dict[str, Dataset], entries: dict[str, Entry], thumbs: dict[str, np.ndarray]
) -> list[Problem]:
    """Pictures that show the same: twice in a split, or in two. Frames of one clip are not compared.

    thumbs: the thumbnails of each split.
    """
    places = [(split, record) for split, dataset in datasets.items() for record in dataset.records]
    problems = []
    for i, j in alike(np.concatenate([thumbs[split] for split in datasets])) if places else ():
        (first, one), (second, other) = places[i], places[j]
        if one.frame_of and other.frame_of and one.frame_of[0] == other.frame_of[0] and first == second:
            continue
        what = f"looks the same as {_name(one)}"
        if first != second:
            what += f" of `{first}`: scores on it flatter"
        problems.append(Problem(entries[second].source, f"picture {_name(other)}", what))
    clips = {
        split: {r.frame_of[0] for r in dataset.records if r.frame_of} for split, dataset in datasets.items()
    }
    for first, second in combinations(clips, 2):
        if shared := sorted(clips[first] & clips[second]):
            what = f"stand in `{first}` too: {', '.join(shared[:20])}; `yoloseg data split` keeps clips apart"
            problems.append(Problem(entries[second].source, f"frames of {len(shared)} clips", what))
    return problems


def _name(record: Record) -> str:
    return f"id {record.image_id}" if record.file is None else str(record.file)


def _plain(name: str) -> str:
    """The name without case, spaces, hyphens and underscores; as it is where nothing else is in it."""
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", name).casefold()) or name


def _meant(name: str) -> str | None:
    """What a name said before it was read in a wrong encoding; "" if that is lost, None if nothing shows."""
    if "\N{REPLACEMENT CHARACTER}" in name:
        return ""
    for encoding in ("cp1252", "latin-1"):
        try:
            meant = name.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
        if meant != name:
            return meant
    return None


def listed(problems: Sequence[Problem], most: int) -> list[str]:
    """Lines, the first `most` of each file and then how many more there are."""
    by_file = defaultdict(list)
    for problem in problems:
        by_file[problem.file].append(problem)
    lines = []
    for file, own in by_file.items():
        lines.append(f"{file}: {len(own)} problems" if len(own) > 1 else f"{file}: one problem")
        lines += [f"  {problem.record}: {problem.message}" for problem in own[:most]]
        if len(own) > most:
            lines.append(f"  ... and {len(own) - most} more (--most)")
    return lines
