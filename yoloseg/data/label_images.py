"""Pictures whose pixels are instance ids: Pascal-style label images, clips of DAVIS form, and the 16-bit
labels of the 2018 CVPR WAD challenge (ApolloScape), each one beside its photograph.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils

from yoloseg.data.folders import find_files
from yoloseg.data.images import BROKEN
from yoloseg.data.json_file import without_collection
from yoloseg.data.pictures import Picture, Problems, make_dataset, printable
from yoloseg.data.records import Dataset
from yoloseg.data.yolo import PICTURES
from yoloseg.errors import DataError
from yoloseg.files import is_dir

IGNORED = 255
_WORKERS = 4
_AT_ONCE = 64  # label images that are decoded ahead

MOST = 10_000  # instances of one picture: beyond, it is no label image
# Takes the ids [H, W] of a label image, as `read_labels` gives them, and its path; gives (place, entry) of
# each instance.
Entries = Callable[[np.ndarray, Path], list[tuple[str, dict]]]


@without_collection()
def load_label_images(
    images: Path, instances: Path, names: dict[int, str], name: str, semantic: Path | None = None
) -> Dataset:
    """Pascal-style label images: of `images/a/b.jpg` the ids are `instances/a/b.png`.

    Pixels of 0 are background, of 255 ignored in images of 8 bits: they belong to no instance. names: class
    value -> name. semantic: folder of PNGs of the same form whose pixels are classes; an instance is of the
    class that most of its pixels have there. Without it every instance is of the one class in `names`.

    Left out with a Problem: pictures without a label image, label images without a picture, label images that
    are broken or of another size, instances of a class that `names` lacks. Raises DataError: no such folder,
    several names without `semantic`, nothing there.
    """
    if semantic is None and len(names) != 1:
        raise DataError(
            f"{instances}: {len(names)} class names but no `semantic`, the folder of PNGs whose pixels are "
            "classes; add it, or leave one name"
        )
    if semantic is not None and not names.keys().isdisjoint((0, IGNORED)):
        form = "`names: {1: first class, ...}`"
        raise DataError(f"{semantic}: 0 is background there and 255 ignored; write {form}")
    for folder in (instances, *([semantic] if semantic else [])):
        if not is_dir(folder):
            raise DataError(f"{folder}: no such folder of label images")

    def entries(ids: np.ndarray, path: Path) -> list[tuple[str, dict]]:
        kinds = None if semantic is None else read_labels(semantic / path.relative_to(instances))
        if kinds is not None and kinds.shape != ids.shape:
            raise DataError(f"{semantic / path.relative_to(instances)}: not of the size of {path}")
        only = next(iter(names)) if kinds is None else None
        kind_of = {} if kinds is None else most_frequent(ids, kinds)
        return [
            (
                f"instance {value} of {printable(str(path))}",
                {"category_id": kind_of.get(value, only), "segmentation": rle},
            )
            for value, rle in label_rles(ids).items()
            if value != IGNORED or ids.dtype != np.uint8
        ]

    pictures = []
    for path in find_files(images, PICTURES):
        label = f"picture {printable(str(path))}"
        pictures.append(Picture(len(pictures) + 1, label, path, None))
    if not pictures:
        raise DataError(f"{images}: there are no pictures")
    texts = [(instances / p.path.relative_to(images)).with_suffix(".png") for p in pictures]
    problems, known = Problems(instances), set(texts)
    alone = [path for path in find_files(instances, (".png",)) if path not in known]
    if alone:
        note = f"left out: there is no picture of theirs; first: {printable(str(alone[0]))}"
        problems.report(f"{len(alone)} label images", note)
    attach_labels(pictures, texts, entries, problems)
    return make_dataset(name, instances, pictures, dict(sorted(names.items())), problems)


def attach_labels(
    pictures: list[Picture], labels: list[Path], entries: Entries, problems: Problems
) -> None:
    """Gives every picture the size and the instances of its label image, read by threads; one whose labels
    cannot be read is left out with a Problem."""

    def read(path: Path) -> tuple[tuple[int, int], list[tuple[str, dict]]] | DataError:
        try:
            labels = read_labels(path)
            found = entries(labels, path)
        except DataError as error:
            return error if str(path) in str(error) else DataError(f"{path}: {error}")
        for _, entry in found:  # a tenth of the room that lists of numbers take
            height, width = entry["segmentation"]["size"]
            rle = mask_utils.frPyObjects(entry["segmentation"], height, width)
            entry["segmentation"] = {"size": [height, width], "counts": rle["counts"].decode("ascii")}
        return labels.shape, found

    with ThreadPoolExecutor(_WORKERS) as pool:
        for start in range(0, len(pictures), _AT_ONCE):
            part = pictures[start : start + _AT_ONCE]
            for picture, found in zip(part, pool.map(read, labels[start : start + _AT_ONCE]), strict=True):
                if isinstance(found, DataError):
                    problems.report(picture.label, f"left out: {found}")
                    picture.usable = False
                else:
                    picture.size, picture.annotations = found


def read_labels(path: Path) -> np.ndarray:
    """[H, W], the values of a PNG of one channel: uint8 of grey of 8 bits and of palette indices, int32 of
    more bits.

    Raises DataError: missing, broken, too large to be a picture, of several channels.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
                bands = "/".join(picture.getbands())
                raise DataError(f"{path}: a label image has one channel, this has {bands}")
            values, few = np.asarray(picture).astype(np.int64), picture.mode in ("1", "L", "P")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such label image") from error
    except BROKEN as error:
        raise DataError(f"{path}: broken label image ({error})") from error
    if values.ndim != 2 or values.min(initial=0) < 0 or values.max(initial=0) >= 2**31:
        raise DataError(f"{path}: not a label image: its values are not whole numbers from 0 to 2^31")
    return values.astype(np.uint8 if few else np.int32)


def most_frequent(ids: np.ndarray, kinds: np.ndarray) -> dict[int, int]:
    """Instance id -> the class that most of its pixels have, the lowest of several; 0 and 255 are none.
    ids, kinds: whole numbers [H, W]."""
    counted = (ids > 0) & (kinds > 0) & (kinds != IGNORED)
    pairs, counts = np.unique((ids[counted].astype(np.int64) << 32) + kinds[counted], return_counts=True)
    best: dict[int, tuple[int, int]] = {}
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        value, kind = pair >> 32, pair & 0xFFFFFFFF
        if count > best.get(value, (0, 0))[0]:
            best[value] = count, kind
    return {value: kind for value, (_, kind) in best.items()}


def label_rles(labels: np.ndarray) -> dict[int, dict]:
    """Value -> COCO RLE (`size`, `counts` as a list of run lengths) of every value but 0, rising.

    labels: whole numbers [H, W]. One pass over the pixels, whatever the number of values. Raises DataError
    for more than MOST values.
    """
    height, width = labels.shape
    flat = np.ravel(labels, order="F")  # COCO's RLE goes down the columns
    if flat.size == 0:
        return {}
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    stops = np.concatenate([starts[1:], [flat.size]])
    values = flat[starts]
    if len(np.unique(values)) > MOST:
        raise DataError(f"more than {MOST} different values: not a label image")
    order = np.argsort(values, kind="stable")
    bounds = np.searchsorted(values[order], np.unique(values))
    rles = {}
    for runs in np.split(order, bounds[1:]):
        value = int(values[runs[0]])
        if value == 0:
            continue
        edges = np.stack([starts[runs], stops[runs]], axis=1).ravel()
        counts = np.diff(edges, prepend=0, append=flat.size)
        rles[value] = {"size": [height, width], "counts": counts.tolist()}
    return rles
