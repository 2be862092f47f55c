"""`python -m yoloseg.data`: look at a data set before training, or write it in another format."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from yoloseg.cli import run_command


@dataclass
class Check:
    """Read every split and name every defect, with file and record. Exit status 1 when training would refuse
    the data, else 0."""

    data: str
    """A data file (YAML), or a folder that an annotation tool exported."""
    fix: Path | None = None
    """A new folder: what can be used of the data as COCO, with all problems in dropped.txt."""
    most: int = 20
    """Problems that are printed of each file."""
    skip_pictures: bool = False
    """Do not look at pixels: for pictures that stand there twice or in two splits, or are damaged inside."""


@dataclass
class Convert:
    """Write the data in another format, pictures included."""

    data: str
    """A data file (YAML), a folder that an annotation tool exported, or "shapes"."""
    to: Literal["coco", "yolo", "youtube-vis", "labelme"]
    """The format."""
    out: Path
    """A new folder; its data.yaml is a data file."""


@dataclass
class Stats:
    """Plot what the data holds, and show some of it: one page (data.html) that opens without a server."""

    data: str
    """A data file (YAML), a folder that an annotation tool exported, or "shapes"."""
    out: Path
    """Folder of the page and its pictures."""
    imgsz: Annotated[tuple[int, ...], tyro.conf.arg(metavar="H [W]")] = (416,)
    """Network input for which box sizes and anchors are computed."""
    per_level: int = 3
    """Anchors a level that are fitted to each split."""


@dataclass
class Split:
    """Divide all pictures of the data anew into train, val and test: each class in its share, frames of a
    clip and pictures that look the same on one side. Writes COCO, pictures included."""

    data: str
    """A data file (YAML) or a folder that an annotation tool exported; all its splits are put together."""
    out: Path
    """A new folder; its data.yaml is a data file."""
    train: float = 0.8
    """Share of the pictures."""
    val: float = 0.2
    """Share of the pictures."""
    test: float = 0.0
    """Share of the pictures; 0 for no such split."""
    seed: int = 0
    """Another seed divides otherwise."""
    alike_together: bool = True
    """Keep pictures that look the same on one side. Of a camera that never moves all may look the same."""


Command = (
    Annotated[Check, tyro.conf.subcommand("check", prefix_name=False)]
    | Annotated[Stats, tyro.conf.subcommand("stats", prefix_name=False)]
    | Annotated[Convert, tyro.conf.subcommand("convert", prefix_name=False)]
    | Annotated[Split, tyro.conf.subcommand("split", prefix_name=False)]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, 1 where `check` finds what training would refuse, or 2 after an error of the user's."""
    options = tyro.cli(Command, args=argv, prog="yoloseg data", description=__doc__)
    refused = False

    def run() -> None:
        nonlocal refused
        for kind, command in ((Check, check), (Stats, stats), (Convert, convert), (Split, split)):
            if isinstance(options, kind):
                refused = bool(command(options))

    return run_command(run) or int(refused)


def check(options: Check) -> bool:
    """Runs the command; whether training would refuse the data. Raises YolosegError for what is no data."""
    from yoloseg.data.check import check_data, listed
    from yoloseg.data.convert import check_new, write_datasets
    from yoloseg.data.summary import counts
    from yoloseg.files import write_text

    if options.fix is not None:
        check_new(options.fix)
    found = check_data(options.data, pictures=not options.skip_pictures)
    for dataset in found.datasets.values():
        print(counts(dataset))
    print("\n".join(listed(found.problems, max(options.most, 0))) or "no problems")
    for refusal in found.unusable:
        print(f"not to be used: {refusal}")
    for refusal in found.refusals:
        print(f"training would refuse: {refusal}")
    if options.fix is not None and found.datasets:
        path, lost = write_datasets(found.datasets, "coco", options.fix)
        problems = found.problems + lost
        dropped = [*listed(problems, len(problems)), *found.unusable, *found.refusals]
        write_text(options.fix / "dropped.txt", "\n".join(dropped) + "\n")
        print(f"written: {path}")
    return bool(found.refusals)


def stats(options: Stats) -> None:
    """Runs the command. Raises YolosegError."""
    from yoloseg.data.check import check_data
    from yoloseg.errors import UsageError
    from yoloseg.evaluation.data_report import write_data_report

    sides = options.imgsz
    if len(sides) not in (1, 2) or min(sides) < 1 or options.per_level < 1:
        raise UsageError("--imgsz is one or two sides, --per-level a number; both at least 1")
    found, imgsz = check_data(options.data), (sides[0], sides[-1])
    path = write_data_report(options.out, found, f"Data of {options.data}", imgsz, options.per_level)
    print(f"written: {path}")


def convert(options: Convert) -> None:
    """Runs the command. Raises YolosegError."""
    from yoloseg.data.convert import check_new, write_datasets
    from yoloseg.data.datafile import SPLITS, load_datasets, read_datafile
    from yoloseg.data.summary import summary

    check_new(options.out)
    there = ("train", "val") if options.data == "shapes" else read_datafile(options.data)
    datasets = load_datasets(options.data, [name for name in SPLITS if name in there])
    for dataset in datasets.values():
        print(summary(dataset))
    path, lost = write_datasets(datasets, options.to, options.out)
    for problem in lost:
        print(f"note: {problem}", file=sys.stderr)
    print(f"written: {path}")


def split(options: Split) -> None:
    """Runs the command. Raises YolosegError."""
    from yoloseg.data.convert import check_new, write_datasets
    from yoloseg.data.datafile import SPLITS, load_datasets, read_datafile
    from yoloseg.data.split import merged, split_dataset
    from yoloseg.data.summary import summary

    check_new(options.out)
    there = ("train", "val") if options.data == "shapes" else read_datafile(options.data)
    datasets = load_datasets(options.data, [name for name in SPLITS if name in there])
    for dataset in datasets.values():
        print(summary(dataset))
    whole = merged(list(datasets.values()), Path(options.data).stem)
    fractions = {"train": options.train, "val": options.val, "test": options.test}
    if options.test == 0:
        del fractions["test"]
    splits = split_dataset(whole, fractions, seed=options.seed, apart=options.alike_together)
    for dataset in splits.values():
        print(summary(dataset))
    path, _ = write_datasets(splits, "coco", options.out)
    print(f"written: {path}")


if __name__ == "__main__":
    sys.exit(main())
