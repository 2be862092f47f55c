"""Other classes for a data set: brought to those of another split, or some of them chosen, by name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from yoloseg.data.records import Annotation, Dataset, Problem, Record, Verified
from yoloseg.errors import DataError


def align_classes(
    dataset: Dataset,
    classes: Sequence[str],
    category_ids: Sequence[int] | None = None,
    source: str | None = None,
) -> Dataset:
    """The dataset with its classes replaced by `classes`, matched by name: class indices follow.

    A class that the dataset's file does not name is added, with a Problem; its id is the one in
    `category_ids` (those of the file `classes` come from) if the file does not use that for another, else the
    next free one. A class that `classes` does not name is dropped if no annotation uses it, with a Problem.
    `source`: the file in messages (default: the dataset's name). Raises DataError if an annotation uses a
    class that `classes` does not name.
    """
    classes, source = tuple(classes), source or dataset.name
    if dataset.classes == classes:
        return dataset
    used = {a.class_index for record in dataset.records for a in record.annotations}
    foreign = [name for name in dataset.classes if name not in classes]
    annotated = [name for name in foreign if dataset.classes.index(name) in used]
    if annotated:
        raise DataError(
            f"{source}: class {annotated[0]!r} is annotated here but is none of the classes to be used "
            f"({_listed(classes)}); names must agree in every split and with the network, letter by letter"
        )
    id_of = dict(zip(dataset.classes, dataset.category_ids, strict=True))
    taken = set(dataset.category_ids)
    problems = [Problem(source, f"class {name!r}", "dropped: not a class in use") for name in foreign]
    for k, name in enumerate(classes):
        if name not in id_of:
            wanted = category_ids[k] if category_ids is not None else max(taken, default=0) + 1
            id_of[name] = wanted if wanted not in taken else max(taken) + 1
            taken.add(id_of[name])
            problems.append(Problem(source, f"class {name!r}", "not in this file"))
    index = {old: classes.index(name) for old, name in enumerate(dataset.classes) if name in classes}
    records = dataset.records
    if len(index) < len(dataset.classes) or any(old != new for old, new in index.items()):
        records = [_reindexed(record, index) for record in records]
    return replace(
        dataset,
        classes=classes,
        category_ids=tuple(id_of[name] for name in classes),
        records=records,
        problems=dataset.problems + problems,
        frequencies=_frequencies(dataset, classes),
    )


def choose_classes(dataset: Dataset, names: Sequence[str], source: str) -> Dataset:
    """The dataset with only the classes `names`, in its own order; annotations of others are left out.

    Pictures without any of them stay as background, but not those of a federated set of which nothing is
    known about these classes. What was left out is one Problem. `source`: the file in messages. Raises
    DataError for a name that is none of the dataset's classes.
    """
    for name in names:
        if name not in dataset.classes:
            alike = difflib.get_close_matches(name, dataset.classes, 3, 0.6)
            hint = f"; did you mean {' or '.join(map(repr, alike))}?" if alike else ""
            raise DataError(f"{source}: `classes` names {name!r}, which is no class of the set{hint}")
    kept = tuple(name for name in dataset.classes if name in names)
    index = {old: kept.index(name) for old, name in enumerate(dataset.classes) if name in kept}
    records = [_reindexed(record, index) for record in dataset.records]
    known = [one for one in records if one.verified is None or one.annotations or one.verified.absent]
    if not known:
        raise DataError(f"{source}: no picture of which anything is known about {_listed(kept)}")
    count = sum(len(record.annotations) for record in dataset.records)
    count -= sum(len(record.annotations) for record in known)
    message = f"{count} annotations of other classes left out"
    if len(known) < len(records):
        message += f", and {len(records) - len(known)} pictures of which nothing is known about these"
    return replace(
        dataset,
        classes=kept,
        category_ids=tuple(dataset.category_ids[old] for old in index),
        records=known,
        problems=[*dataset.problems, Problem(source, f"{len(kept)} chosen classes", message)],
        frequencies=_frequencies(dataset, kept),
    )


def _frequencies(dataset: Dataset, classes: Sequence[str]) -> tuple[str, ...]:
    """Of federated sets; a class that the set does not have counts as rare, and has nothing to count."""
    if not dataset.federated:
        return ()
    known = dict(zip(dataset.classes, dataset.frequencies, strict=True))
    return tuple(known.get(name, "r") for name in classes)


def _reindexed(record: Record, index: dict[int, int]) -> Record:
    """The record with class k as index[k], and without what is of classes that are not in `index`."""
    annotations: tuple[Annotation, ...] = tuple(
        replace(annotation, class_index=index[annotation.class_index])
        for annotation in record.annotations
        if annotation.class_index in index
    )
    verified = record.verified
    if verified is not None:
        absent, partly = (
            frozenset(index[k] for k in known if k in index) for known in (verified.absent, verified.partly)
        )
        verified = Verified(absent, partly)
    return replace(record, annotations=annotations, verified=verified)


def _listed(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
