"""Writes clips as YouTube-VIS: frames and one JSON of tracks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pycocotools import mask as mask_utils

from yoloseg.data.records import Annotation, Dataset, Record
from yoloseg.data.write_pictures import PictureNames, write_picture
from yoloseg.errors import DataError
from yoloseg.files import write_json


def write_youtube_vis(dataset: Dataset, folder: str | Path) -> Path:
    """Writes `folder/frames/CLIP/00000...` and then `folder/annotations.json`; returns its path.

    A track is what has one clip, track id and class, and is a crowd or not (the format says so of whole
    tracks); track ids are numbered anew over all clips, as it wants it, in the order they appear. Polygons
    become RLE, which is what its readers take. Raises DataError for pictures that are no frames, annotations
    without a track id, or two of one track in a frame; UsageError for a folder that cannot be written.
    """
    folder = Path(folder)
    content, clips = vis_document(dataset)
    names = PictureNames()
    for video, records in zip(content["videos"], clips, strict=True):
        video["file_names"] = [
            write_picture(record, folder / "frames", names.stem(record)) for record in records
        ]
    path = folder / "annotations.json"
    write_json(path, {"info": {"description": dataset.name}} | content)
    return path


def vis_document(dataset: Dataset) -> tuple[dict[str, Any], list[list[Record]]]:
    """YouTube-VIS annotations of a set of clips, without `file_names`, and the frames of each of its videos.

    A track is what has one clip, track id and class, and is a crowd or not; of less than a pixel it is not
    seen. Ids are numbered from 1, those of videos are the set's where it has them all. Raises DataError as
    `write_youtube_vis`.
    """
    clips: dict[str, list[Record]] = {}
    for record in dataset.records:
        if record.frame_of is None:
            raise DataError(f"{dataset.name}: picture id {record.image_id} is no frame of a clip")
        clips.setdefault(record.frame_of[0], []).append(record)
    own_ids = dataset.clip_ids.keys() >= clips.keys()
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for clip, records in clips.items():
        records.sort(key=lambda record: record.frame_of[1])
        height, width = records[0].height, records[0].width
        if any((record.height, record.width) != (height, width) for record in records):
            raise DataError(f"{dataset.name}: frames of clip {clip} differ in size")
        size = {"width": width, "height": height, "length": len(records)}
        video_id = dataset.clip_ids[clip] if own_ids else len(videos) + 1
        videos.append({"id": video_id, "name": clip} | size)
        for (_, class_index, crowd), frames in _tracks(dataset, clip, records).items():
            rles = [None if a is None else _rle(a, height, width) for a in frames]
            rles = [r if r and mask_utils.area(r) else None for r in rles]  # of less than a pixel: not seen
            if not any(rles):
                continue
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "video_id": video_id,
                    "category_id": dataset.category_ids[class_index],
                    "iscrowd": int(crowd),
                    "width": width,
                    "height": height,
                    "segmentations": rles,
                    "bboxes": [r and [float(v) for v in mask_utils.toBbox(r)] for r in rles],
                    "areas": [r and int(mask_utils.area(r)) for r in rles],
                }
            )
    categories = [
        {"id": number, "name": name}
        for number, name in zip(dataset.category_ids, dataset.classes, strict=True)
    ]
    for annotation in annotations:
        for rle in annotation["segmentations"]:
            if rle is not None:
                rle["counts"] = rle["counts"].decode("ascii")
    content = {"videos": videos, "annotations": annotations, "categories": categories}
    return content, list(clips.values())


def _tracks(dataset: Dataset, clip: str, records: list[Record]) -> dict[tuple[int, int, bool], list]:
    """(track id, class, crowd) -> its annotation in each frame, None where it is not seen."""
    tracks: dict[tuple[int, int, bool], list[Annotation | None]] = {}
    for position, record in enumerate(records):
        where = f"{dataset.name}: clip {clip}, frame {position}"
        for annotation in record.annotations:
            if annotation.track_id is None:
                raise DataError(f"{where}: an object without a track id")
            key = (annotation.track_id, annotation.class_index, annotation.crowd)
            frames = tracks.setdefault(key, [None] * len(records))
            if frames[position] is not None:
                raise DataError(f"{where}: two objects of track {annotation.track_id}")
            frames[position] = annotation
    return tracks


def _rle(annotation: Annotation, height: int, width: int) -> dict:
    """With counts as bytes."""
    shape = annotation.segmentation
    if isinstance(shape, dict):
        return {"size": [height, width], "counts": shape["counts"]}
    parts = [part.astype(float).ravel().tolist() for part in shape]
    merged = mask_utils.merge(mask_utils.frPyObjects(parts, height, width))
    return {"size": [height, width], "counts": merged["counts"]}
