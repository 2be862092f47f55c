"""Writes any `Dataset` as pictures and one COCO JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from yoloseg.data.records import Annotation, Dataset
from yoloseg.data.write_pictures import PictureNames, encode_picture, write_picture
from yoloseg.errors import UsageError
from yoloseg.files import write_json

SUFFIXES = (".png", ".jpg")


def write_coco(dataset: Dataset, folder: str | Path, *, suffix: str | None = ".png") -> Path:
    """Writes `folder/images/...` and then `folder/annotations.json`; returns the path of the JSON.

    Frames of a clip share a folder (`clip0001/00000.png`), other pictures are named by image id. suffix:
    ".png" keeps the pixels exactly, ".jpg" (quality 95) does not; None copies picture files under their own
    names (`write_picture`). Image, annotation and category ids are kept; missing annotation ids are counted
    up. RLE stays RLE, polygons stay polygons; `bbox` is x, y, width, height. Clips are listed under `videos`;
    their images carry `video_id` and `frame_index`, annotations `track_id` and `video_id`. What is verified
    of pictures is written as LVIS has it. The JSON is written last and whole, so a folder without it is
    unfinished. Raises UsageError for another suffix or a folder that cannot be written, DataError where a
    picture cannot be read.
    """
    folder = Path(folder)
    if suffix is not None and suffix not in SUFFIXES:
        raise UsageError(f"write_coco: suffix {suffix!r} is not one of {', '.join(SUFFIXES)}")
    given = [a.annotation_id for r in dataset.records for a in r.annotations if a.annotation_id is not None]
    next_id = max(given, default=0) + 1
    video_ids: dict[str, int] = {}
    names = PictureNames()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for record in dataset.records:
        entry: dict[str, Any] = {"id": record.image_id, "width": record.width, "height": record.height}
        video: dict[str, Any] = {}
        if record.frame_of is None:
            file = f"{record.image_id:012d}{suffix}"
        else:
            clip, frame = record.frame_of
            video = {"video_id": video_ids.setdefault(clip, len(video_ids) + 1)}
            entry |= video | {"frame_index": frame}
            file = f"clip{video['video_id']:04d}/{frame:05d}{suffix}"
        if suffix is None:
            file = write_picture(record, folder / "images", names.stem(record))
        else:
            encode_picture(folder / "images" / file, record.read_image())
        entry["file_name"] = file
        if record.verified is not None:
            ids = dataset.category_ids
            entry["neg_category_ids"] = [ids[k] for k in sorted(record.verified.absent)]
            entry["not_exhaustive_category_ids"] = [ids[k] for k in sorted(record.verified.partly)]
        images.append(entry)
        for annotation in record.annotations:
            annotation_id = annotation.annotation_id
            if annotation_id is None:
                annotation_id, next_id = next_id, next_id + 1
            ids = {"id": annotation_id, "image_id": record.image_id}
            category = {"category_id": dataset.category_ids[annotation.class_index]}
            annotations.append(ids | category | _geometry(annotation) | video)
    content: dict[str, Any] = {"info": {"description": dataset.name}}
    if video_ids:
        content["videos"] = [{"id": number, "name": clip} for clip, number in video_ids.items()]
    content["images"] = images
    content["annotations"] = annotations
    content["categories"] = [
        {"id": number, "name": name}
        for number, name in zip(dataset.category_ids, dataset.classes, strict=True)
    ]
    for category, frequency in zip(content["categories"], dataset.frequencies, strict=False):
        category["frequency"] = frequency
    path = folder / "annotations.json"
    write_json(path, content)
    return path


def _geometry(annotation: Annotation) -> dict[str, Any]:
    """The fields of a COCO annotation that say where the object is, and its track."""
    shape = annotation.segmentation
    if isinstance(shape, dict):
        counts = shape["counts"]
        text = counts.decode("ascii") if isinstance(counts, bytes) else counts
        segmentation: Any = {"size": [int(n) for n in shape["size"]], "counts": text}
    else:
        segmentation = [np.asarray(part, np.float64).ravel().tolist() for part in shape]
    x0, y0, x1, y1 = (float(v) for v in annotation.box)
    fields: dict[str, Any] = {
        "segmentation": segmentation,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": float(annotation.area),
        "iscrowd": int(annotation.crowd),
    }
    if annotation.track_id is not None:
        fields["track_id"] = annotation.track_id
    return fields
