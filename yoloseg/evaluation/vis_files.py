"""YouTube-VIS ground-truth and results files, read and checked before tracks are scored.

What would crash the score, or silently give a meaningless number, is a DataError that names file and record.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yoloseg.data.coco_masks import FAR
from yoloseg.data.json_file import read_json
from yoloseg.errors import DataError, shown
from yoloseg.evaluation.coco_files import check_segmentation, is_known, is_number, kind_of

OCCLUSION = {"no_occlusion": 0.0, "slight_occlusion": 0.25, "severe_occlusion": 0.75}  # OVIS
_TRUTH_FIELDS = ("video_id", "category_id", "segmentations")
_RESULT_FIELDS = ("video_id", "category_id", "score", "segmentations")
_UNPUBLISHED = "is it of a part whose ground truth is not published? Score a part that has annotations"


def read_vis_ground_truth(path: str | Path) -> dict:
    """The YouTube-VIS file `path`, checked by `check_vis_ground_truth`. Raises DataError."""
    ground_truth = read_json(Path(path))
    check_vis_ground_truth(ground_truth, str(path))
    return ground_truth


def read_vis_results(path: str | Path, ground_truth: dict) -> list[dict]:
    """The YouTube-VIS results file `path`, checked by `check_vis_results`. Raises DataError."""
    results = read_json(Path(path))
    check_vis_results(results, ground_truth, str(path))
    return results


def check_vis_ground_truth(ground_truth: Any, source: str) -> None:
    """Raises DataError unless `ground_truth` is a YouTube-VIS dict that tracks can be scored on."""
    if not isinstance(ground_truth, dict):
        kind = kind_of(ground_truth)
        raise DataError(f"{source}: a YouTube-VIS annotation file is a JSON object, this is a {kind}")
    for key in ("videos", "categories"):
        if not isinstance(ground_truth.get(key), list):
            raise DataError(f"{source}: no list '{key}'; is it a YouTube-VIS file?")
    if not isinstance(ground_truth.get("annotations"), list):
        raise DataError(f"{source}: no annotations; {_UNPUBLISHED}")
    for key in ("videos", "categories", "annotations"):
        _check_ids(ground_truth[key], key, source)
    for index, video in enumerate(ground_truth["videos"]):
        where = f"{source}: videos[{index}] (id {video['id']})"
        for side in ("height", "width"):
            if type(video.get(side)) is not int or video[side] < 1:
                raise DataError(f"{where}: '{side}' must be a whole number of pixels; masks need it")
        if _length(video) is None:
            raise DataError(f"{where} has neither a 'length' (frames) nor a list 'file_names'")
    videos = {video["id"]: video for video in ground_truth["videos"]}
    categories = {category["id"] for category in ground_truth["categories"]}
    for index, annotation in enumerate(ground_truth["annotations"]):
        where = f"{source}: annotations[{index}] (id {annotation['id']})"
        _check_track(annotation, _TRUTH_FIELDS, videos, categories, where, "the file's `%s`")
        if annotation.get("iscrowd", 0) not in (0, 1):
            raise DataError(f"{where}: 'iscrowd' must be 0 or 1, not {shown(annotation['iscrowd'])}")
        _check_areas(annotation, where)
        levels = annotation.get("occlusion")
        if levels is not None:
            whole = isinstance(levels, list) and len(levels) == len(annotation["segmentations"])
            named = whole and all(level is None or isinstance(level, str) for level in levels)
            if not named or not all(level is None or level in OCCLUSION for level in levels):
                raise DataError(
                    f"{where}: 'occlusion' must be a list with {', '.join(OCCLUSION)} or null for each frame"
                )


def check_vis_results(results: Any, ground_truth: dict, source: str) -> None:
    """Raises DataError unless `results` are tracks in clips of `ground_truth`, which has been checked."""
    if not isinstance(results, list):
        raise DataError(
            f"{source}: a YouTube-VIS results file is a JSON list of tracks, this is a {kind_of(results)}"
        )
    videos = {video["id"]: video for video in ground_truth["videos"]}
    categories = {category["id"] for category in ground_truth["categories"]}
    for index, result in enumerate(results):
        where = f"{source}: track {index}"
        if not isinstance(result, dict):
            raise DataError(f"{where} is not an object but a {kind_of(result)}")
        if any(isinstance(segmentation, list) and segmentation for segmentation in _frames(result)):
            raise DataError(
                f"{where}: its 'segmentations' must be RLEs {{size, counts}} or null, not polygons"
            )
        _check_track(result, _RESULT_FIELDS, videos, categories, where, "the annotation file's `%s`")
        if not is_number(result["score"]):
            raise DataError(f"{where}: score {shown(result['score'])} is not a finite number")


def _check_ids(entries: list, key: str, source: str) -> None:
    taken: set[int] = set()
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or type(entry.get("id")) is not int:
            raise DataError(f"{source}: {key}[{index}] is not an object with a whole number as its 'id'")
        if entry["id"] in taken:
            raise DataError(
                f"{source}: {key}[{index}] repeats the id {entry['id']} of another; give each its own"
            )
        taken.add(entry["id"])


def _check_track(
    entry: dict, fields: tuple[str, ...], videos: dict, categories: set, where: str, listed: str
) -> None:
    for field in fields:
        if field not in entry:
            raise DataError(f"{where} has no '{field}'")
    for field, known, key in (("video_id", set(videos), "videos"), ("category_id", categories, "categories")):
        if not is_known(entry[field], known):
            raise DataError(f"{where}: {field} {shown(entry[field])} is not in {listed % key}")
    video = videos[entry["video_id"]]
    frames, length = entry["segmentations"], _length(video)
    if not isinstance(frames, list) or len(frames) != length:
        has = f"{len(frames)} entries" if isinstance(frames, list) else f"a {kind_of(frames)}"
        raise DataError(
            f"{where}: 'segmentations' must be a list of {length}, one of each frame of clip {video['id']} "
            f"(null where it is not seen), not {has}"
        )
    for frame, segmentation in enumerate(frames):
        if segmentation:
            _check_mask(segmentation, video, f"{where}, frame {frame}")


def _check_mask(segmentation: Any, video: dict, where: str) -> None:
    """Raises DataError unless this can be rasterised at the clip's size."""
    check_segmentation(segmentation, where)
    if isinstance(segmentation, list):
        if any(len(part) < 6 or max(map(abs, part)) > FAR for part in segmentation):
            raise DataError(f"{where}: a polygon needs 3 points or more, all within {FAR:.0f} pixels")
    elif list(segmentation["size"]) != [video["height"], video["width"]]:
        raise DataError(
            f"{where}: an RLE of size {shown(segmentation['size'])} (height, width) in a clip of "
            f"[{video['height']}, {video['width']}]; write masks at the clip's size"
        )


def _check_areas(annotation: dict, where: str) -> None:
    areas = annotation.get("areas")
    if areas is None:
        return
    frames = len(annotation["segmentations"])
    valid = isinstance(areas, list) and len(areas) == frames
    if not valid or not all(area is None or is_number(area) for area in areas):
        raise DataError(
            f"{where}: 'areas' must be a list of {frames}, a number or null for each frame; leave it out to "
            "have it measured"
        )


def _frames(entry: dict) -> list:
    frames = entry.get("segmentations")
    return frames if isinstance(frames, list) else []


def _length(video: dict) -> int | None:
    """Frames of the clip, None where it does not say."""
    if type(video.get("length")) is int:
        return max(video["length"], 0) or None
    return len(video["file_names"]) or None if isinstance(video.get("file_names"), list) else None
