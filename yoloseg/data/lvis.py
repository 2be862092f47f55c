"""LVIS annotations -> Dataset: COCO's JSON, and of each picture which classes were looked for.

Gupta, Dollar and Girshick 2019 (arXiv 1908.03195). Of a picture `neg_category_ids` are classes that it surely
does not show, `not_exhaustive_category_ids` classes of which not every object is annotated; of classes that
are neither annotated nor negative nothing is known. Pictures are COCO's, found by the end of `coco_url`
(`train2017/000000391895.jpg`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from yoloseg.data.coco import coco_dataset
from yoloseg.data.records import Dataset, Problem, Verified
from yoloseg.errors import DataError, shown

FREQUENCIES = ("r", "c", "f")  # rare, common, frequent: in at most 10, at most 100, more training pictures


def is_lvis(document: Any) -> bool:
    """Whether pictures say which classes they do not show."""
    images = document.get("images") if isinstance(document, dict) else None
    return isinstance(images, list) and any("neg_category_ids" in e for e in images if isinstance(e, dict))


def lvis_dataset(document: Any, source: Path, folder: Path, name: str | None) -> Dataset:
    """As `coco_dataset`, its records with `verified` and the dataset with `frequencies`.

    folder: holds `train2017` and `val2017`; or, where pictures have a `file_name`, what that is relative to.
    A picture without `neg_category_ids` or `not_exhaustive_category_ids`, or with ids in them that no
    category has, is a Problem: nothing, or only the rest, is taken from them. Raises DataError as
    `coco_dataset`, and for a category without a `frequency`.
    """
    if not is_lvis(document):
        raise DataError(f"{source}: not LVIS annotations: no picture has `neg_category_ids`")
    verified, frequency = _verified(document["images"]), _frequencies(document.get("categories"))
    for entry in document["images"]:
        if isinstance(entry, dict) and "file_name" not in entry and isinstance(entry.get("coco_url"), str):
            entry["file_name"] = "/".join(entry["coco_url"].split("/")[-2:])
    dataset = coco_dataset(document, source, folder, name)
    problems: list[Problem] = []
    class_of = {category_id: k for k, category_id in enumerate(dataset.category_ids)}
    missing = [k for k in dataset.category_ids if frequency.get(k) not in FREQUENCIES]
    if missing:
        value = shown(frequency.get(missing[0]))
        raise DataError(f"{source}: category {missing[0]}: its `frequency` must be r, c or f, not {value}")
    records = []
    for record in dataset.records:
        sets = []
        for key, ids in verified[record.image_id].items():
            label = f"image {record.image_id}"
            if not isinstance(ids, list):
                problems.append(Problem(str(source), label, f"`{key}` is no list of category ids; not used"))
                ids = []
            unknown = [k for k in ids if type(k) is not int or k not in class_of]
            if unknown:
                message = f"{len(unknown)} of its `{key}` not used: {shown(unknown[0])} is no category's id"
                problems.append(Problem(str(source), label, message))
            sets.append(frozenset(class_of[k] for k in ids if type(k) is int and k in class_of))
        records.append(replace(record, verified=Verified(*sets)))
    frequencies = tuple(frequency[k] for k in dataset.category_ids)
    return replace(
        dataset, records=records, problems=[*dataset.problems, *problems], frequencies=frequencies
    )


def _verified(entries: list) -> dict[int, dict[str, Any]]:
    """Image id -> its two lists, as written."""
    return {
        entry["id"]: {key: entry.get(key) for key in ("neg_category_ids", "not_exhaustive_category_ids")}
        for entry in entries
        if isinstance(entry, dict) and type(entry.get("id")) is int
    }


def _frequencies(entries: Any) -> dict[int, Any]:
    """Category id -> its frequency, as written."""
    return {
        entry["id"]: entry.get("frequency")
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and type(entry.get("id")) is int
    }
