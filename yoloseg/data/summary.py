"""A dataset in a few lines for the commands to print: what there is, and what was left out."""

from __future__ import annotations

import textwrap

import numpy as np

from yoloseg.data.records import Dataset

_WIDTH = 100


def count_instances(dataset: Dataset) -> tuple[np.ndarray, int]:
    """Instances of each class, int64 [K], and how many crowds there are beside them."""
    counts = [0] * len(dataset.classes)
    crowds = 0
    for record in dataset.records:
        for annotation in record.annotations:
            if annotation.crowd:
                crowds += 1
            else:
                counts[annotation.class_index] += 1
    return np.asarray(counts, np.int64), crowds


def crowded(dataset: Dataset, most: int) -> str | None:
    """A note where a picture has more objects than the `most` detections that are kept of it, else None."""
    counts = [sum(not one.crowd for one in record.annotations) for record in dataset.records]
    above = sum(count > most for count in counts)
    if not above:
        return None
    pictures = "1 picture has" if above == 1 else f"{above} pictures have"
    return (
        f"{dataset.name}: {pictures} more than {most} objects, up to {max(counts)}, and at most {most} "
        "detections of a picture are kept; see --max-detections"
    )


def summary(dataset: Dataset, most: int = 10) -> str:
    """Lines of text: pictures, instances of each class, and the first `most` problems with their count."""
    lines = [counts(dataset)]
    if dataset.problems:
        lines.append(f"  {_plural(len(dataset.problems), 'problem')} met while reading:")
        lines += [f"    {problem}" for problem in dataset.problems[:most]]
        if len(dataset.problems) > most:
            lines.append(f"    ... and {len(dataset.problems) - most} more")
    return "\n".join(lines)


def counts(dataset: Dataset) -> str:
    """Lines of text: pictures, and instances of each class."""
    instances, crowds = count_instances(dataset)
    background = sum(not record.annotations for record in dataset.records)
    first = f"{dataset.name}: {_plural(len(dataset), 'picture')}"
    if background:
        first += f" ({background} without annotations)"
    first += f", {_plural(int(instances.sum()), 'instance')}"
    first += f" of {_plural(len(dataset.classes), 'class', 'classes')}"
    if crowds:
        first += f", {_plural(crowds, 'crowd')}"
    lines = [first]
    counted = list(zip(dataset.classes, instances.tolist(), strict=True))
    lines += _wrapped("", [f"{name} {count}" for name, count in counted if count])
    lines += _wrapped("never annotated: ", [name for name, count in counted if not count])
    return "\n".join(lines)


def _wrapped(heading: str, items: list[str]) -> list[str]:
    """Indented lines of items; none is broken in two."""
    if not items:
        return []
    text = heading + ", ".join(item.replace(" ", "\xa0") for item in items)
    lines = textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_long_words=False)
    return [line.replace("\xa0", " ") for line in lines]


def _plural(count: int, one: str, more: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"
