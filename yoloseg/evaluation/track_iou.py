"""Tracks of clips as scores need them: the mask of every frame, its area, and the overlap of two tracks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as mask_utils

from yoloseg.evaluation.category_tables import names_of
from yoloseg.evaluation.vis_files import OCCLUSION


@dataclass(frozen=True)
class Track:
    """One object, annotated or detected, through the F frames of its clip.

    id: of an annotation its own, of a detection its place in the results, from 1. score: 1 of an annotation.
    area: what decides the size band, in pixels. masks: for each frame a compressed RLE, None where it is not
    seen. areas: int64 [F], pixels, 0 where it is not seen. boxes: float64 [F, 4], (x0, y0, x1, y1) around the
    masks. occlusion: of an annotation of OVIS the mean over the frames where it is seen, 0 to 0.75.
    """

    id: int
    score: float
    crowd: bool
    area: float
    masks: tuple[dict | None, ...]
    areas: np.ndarray
    boxes: np.ndarray
    occlusion: float | None = None


@dataclass(frozen=True)
class Tracks:
    """Of a ground truth and its results: names of the categories by id, ids ascending, and the tracks of each
    (video id, category id) in the order of their files; pairs without a track are missing."""

    names: dict[int, str]
    truths: dict[tuple[int, int], list[Track]]
    found: dict[tuple[int, int], list[Track]]

    def clips(self, category_id: int) -> list[int]:
        """The ids of the clips with a track of this category, ascending."""
        return sorted({clip for clip, category in [*self.truths, *self.found] if category == category_id})


def read_tracks(ground_truth: dict, results: Sequence[dict]) -> Tracks:
    """The tracks of YouTube-VIS `ground_truth` and `results`, which must have been checked (`vis_files`).

    The area of a track is its mean over the frames where it is above 0, as the official code has it: of an
    annotation by its `areas`, by its masks where it has none. It is 0 where no frame is left.
    """
    videos = {video["id"]: video for video in ground_truth["videos"]}
    truths: dict[tuple[int, int], list[Track]] = defaultdict(list)
    found: dict[tuple[int, int], list[Track]] = defaultdict(list)
    for entry in ground_truth["annotations"]:
        key = entry["video_id"], entry["category_id"]
        crowd = bool(entry.get("iscrowd"))
        truths[key].append(_track(entry, entry["id"], 1.0, crowd, entry.get("areas"), videos))
    for number, entry in enumerate(results, 1):
        key = entry["video_id"], entry["category_id"]
        found[key].append(_track(entry, number, float(entry["score"]), False, None, videos))
    names = names_of({category["id"]: category for category in ground_truth["categories"]})
    names = dict(sorted(names.items()))
    return Tracks(names, dict(truths), dict(found))


def overlaps(first: Sequence[Track], second: Sequence[Track]) -> Iterator[tuple[int, int, int, int]]:
    """(index of first, index of second, frame, pixels that they share in it), of those whose boxes do."""
    if not second:
        return
    boxes = np.stack([track.boxes for track in second])
    for row, one in enumerate(first):
        low = np.maximum(one.boxes[None, :, :2], boxes[..., :2])
        high = np.minimum(one.boxes[None, :, 2:], boxes[..., 2:])
        for column, frame in np.argwhere((high > low).all(axis=2)).tolist():
            both = [one.masks[frame], second[column].masks[frame]]
            yield row, column, frame, int(mask_utils.area(mask_utils.merge(both, intersect=True)))


def track_iou(found: Sequence[Track], truths: Sequence[Track]) -> np.ndarray:
    """float64 [len(found), len(truths)]: pixels shared in all frames by pixels covered in all frames (Yang,
    Fan and Xu 2019, arXiv 1905.04804, section 3.2); 0 where neither has any."""
    shared = np.zeros((len(found), len(truths)), np.int64)
    for row, column, _, pixels in overlaps(found, truths):
        shared[row, column] += pixels
    sizes = [np.array([track.areas.sum() for track in tracks], np.int64) for tracks in (found, truths)]
    union = sizes[0][:, None] + sizes[1][None] - shared
    return np.where(union > 0, shared / np.maximum(union, 1), 0.0)


def _track(
    entry: dict, number: int, score: float, crowd: bool, stated: Sequence[float | None] | None, videos: dict
) -> Track:
    video = videos[entry["video_id"]]
    size = video["height"], video["width"]
    masks = tuple(_rle(segmentation, *size) for segmentation in entry["segmentations"])
    areas, boxes = np.zeros(len(masks), np.int64), np.zeros((len(masks), 4))
    seen = [frame for frame, mask in enumerate(masks) if mask is not None]
    if seen:
        areas[seen] = mask_utils.area([masks[frame] for frame in seen])
        boxes[seen] = mask_utils.toBbox([masks[frame] for frame in seen])
        boxes[:, 2:] += boxes[:, :2]
    counted = [value for value in (areas.tolist() if stated is None else stated) if value]
    area = float(np.mean(counted)) if counted else 0.0
    levels = entry.get("occlusion") or ()
    hidden = [OCCLUSION[level] for level, mask in zip(levels, masks, strict=False) if level and mask]
    occlusion = float(np.mean(hidden)) if hidden else None
    return Track(number, score, crowd, area, masks, areas, boxes, occlusion)


def _rle(segmentation: dict | list | None, height: int, width: int) -> dict | None:
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        return mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
    whole = {"size": [height, width], "counts": segmentation["counts"]}
    return mask_utils.frPyObjects(whole, height, width) if isinstance(whole["counts"], list) else whole
