"""YouTube-VIS JSON (2019, 2021; OVIS is the same): annotated clips, frame by frame.

`videos` lists the frames of each clip, an annotation is one object through its clip: `segmentations` has an
RLE (or polygons) for each frame, null where the object is not seen. Every frame becomes a record; the id of
the annotation becomes the track id.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from yoloseg.data.coco import read_categories, whole
from yoloseg.data.json_file import read_json, without_collection
from yoloseg.data.pictures import Picture, Problems, Report, make_dataset, printable, relative_path
from yoloseg.data.records import Dataset
from yoloseg.errors import DataError
from yoloseg.files import is_dir


@without_collection()
def load_youtube_vis(
    annotations: str | Path, images: str | Path, name: str | None = None, every: int = 1
) -> Dataset:
    """Reads YouTube-VIS annotations.

    annotations: the JSON. images: the folder its `file_names` are relative to. every: only each `every`-th
    frame of a clip is taken, from its first on: neighbours hold nearly the same. Frames are numbered from 1
    over all clips (`image_id`), before any are passed over; `frame_of` is (the clip's folder, with its id
    where that is not its own, position in `file_names`).

    Left out with a Problem: frames that cannot be used (see `load_coco`), clips without an id or frames,
    annotations of an unknown clip or category, segmentations that cannot be used or are one too many. Raises
    DataError as `load_coco` does, and where no annotation has `segmentations`, as in the parts of these sets
    whose ground truth is not published.
    """
    return youtube_vis_dataset(read_json(Path(annotations)), Path(annotations), Path(images), name, every)


def youtube_vis_dataset(
    document: Any, source: Path, folder: Path, name: str | None, every: int = 1
) -> Dataset:
    """As `load_youtube_vis` from the content of its file, which is emptied."""
    if not isinstance(document, dict) or not isinstance(document.get("videos"), list):
        raise DataError(f"{source}: not YouTube-VIS annotations: it has no list `videos`")
    for key in ("annotations", "categories"):
        if not isinstance(document.get(key), list):
            raise DataError(
                f"{source}: it has no list `{key}`; is it of a part whose ground truth is not published?"
            )
    if not is_dir(folder):
        raise DataError(f"{folder}: no such folder of pictures (for {source}); correct `images`")
    problems = Problems(source)
    entries = document["annotations"]
    used = {e["category_id"] for e in entries if isinstance(e, dict) and type(e.get("category_id")) is int}
    categories = read_categories(source, document["categories"], used, problems.report)
    clips = _clips(document["videos"], source, folder, problems.report)
    if not any(isinstance(entry, dict) and isinstance(entry.get("segmentations"), list) for entry in entries):
        raise DataError(f"{source}: no annotation has a list `segmentations`; are these boxes alone?")
    tracks: set[int] = set()
    for position, entry in enumerate(entries):
        track = entry.get("id") if isinstance(entry, dict) else None
        if type(track) is int and track in tracks:
            problems.report(f"annotation {track}", "left out: another one has the same id")
            continue
        tracks |= {track} if type(track) is int else set()
        _attach(position, entry, clips, problems.report)
    document.clear()
    pictures = [frame for frames in clips.values() for frame in frames[::every] if frame.usable]
    if not pictures:
        raise DataError(f"{source}: it lists no frame of a clip")
    dataset = make_dataset(name or source.stem, source, pictures, categories, problems)
    ids = {frames[0].frame_of[0]: clip_id for clip_id, frames in clips.items()}
    return replace(dataset, clip_ids=ids)


def _clips(entries: list, source: Path, folder: Path, report: Report) -> dict[int, list[Picture]]:
    """Clip id -> its frames. One whose name is no path is there, not usable, so that positions hold."""
    clips: dict[int, list[Picture]] = {}
    known: set[str] = set()
    number = 0
    for position, entry in enumerate(entries):
        clip_id = entry.get("id") if isinstance(entry, dict) else None
        files = entry.get("file_names") if isinstance(entry, dict) else None
        if type(clip_id) is not int or not isinstance(files, list) or not files:
            report(f"video number {position}", "left out: it needs an `id` and a list `file_names`")
            continue
        if clip_id in clips:
            report(f"video {clip_id}", "left out: another one has the same id")
            continue
        height, width = whole(entry.get("height")), whole(entry.get("width"))
        paths = [relative_path(file) for file in files]
        clip = next((str(Path(path).parent) for path in paths if path and "/" in path), source.stem)
        if clip == source.stem or clip in known:
            clip = f"{clip} {clip_id}"
        known.add(clip)
        frames = []
        for frame, (file, path) in enumerate(zip(files, paths, strict=True)):
            number += 1
            label = f"frame {frame} of video {clip_id} ({printable(file)})"
            size = (height, width) if height and width else None
            picture = Picture(number, label, folder / (path or "."), size, frame_of=(clip, frame))
            if path is None:
                report(label, "left out: its name is not a path inside the folder of pictures")
                picture.usable = False
            frames.append(picture)
        clips[clip_id] = frames
    return clips


def _attach(position: int, entry: Any, clips: dict[int, list[Picture]], report: Report) -> None:
    """Hands the segmentations of one annotation to the frames of its clip."""
    if not isinstance(entry, dict):
        report(f"annotation number {position}", "left out: not an object")
        return
    track = entry.get("id")
    label = f"annotation {track}" if type(track) is int else f"annotation number {position}"
    clip_id = entry.get("video_id")
    frames = clips.get(clip_id) if type(clip_id) is int else None
    if frames is None:
        report(label, f"left out: video id {clip_id!r} is no usable entry of `videos`")
        return
    segmentations = entry.get("segmentations")
    if not isinstance(segmentations, list):
        report(label, "left out: it has no list `segmentations`")
        return
    if len(segmentations) > len(frames):
        surplus = len(segmentations) - len(frames)
        report(label, f"the last {surplus} of its {len(segmentations)} segmentations are left out: too many")
    boxes = entry.get("bboxes")
    if not isinstance(boxes, list) or len(boxes) != len(segmentations):
        boxes = [None] * len(segmentations)
    for frame, segmentation, box in zip(frames, segmentations, boxes, strict=False):
        if segmentation is None:
            continue
        fields = {
            "category_id": entry.get("category_id"),
            "segmentation": segmentation,
            "bbox": box,
            "iscrowd": entry.get("iscrowd"),
            "track_id": track if type(track) is int else None,
        }
        frame.annotations.append((f"{label} in {frame.label}", fields))
