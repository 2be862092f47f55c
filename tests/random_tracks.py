"""Random and hand-made clips with tracks: what tests of scores of tracks share."""

import numpy as np
from pycocotools import mask as coco_mask

from yoloseg.evaluation.accumulator import encode_mask

BAND_AREAS = (128**2, 256**2, 128**2 - 1, 128**2 + 1, 256**2 + 1, 20000, 0)


def random_vis(seed, clips=2, frames=4, classes=3, size=(40, 300), most=5):
    """Nulls, empty masks, crowds, repeated tracks, equal scores, classes without tracks, areas on limits."""
    rng = np.random.default_rng(seed)
    height, width = size
    videos = [{"id": 3 * i + 1, "height": height, "width": width, "length": frames} for i in range(clips)]
    categories = [{"id": 2 * k + 1, "name": f"class {k}"} for k in range(classes + 1)]
    annotations, results = [], []

    def box():
        w, h = rng.integers(4, width), rng.integers(4, height)
        return np.array([rng.integers(0, width - w + 1), rng.integers(0, height - h + 1), w, h])

    def segment(one, form):
        x, y, w, h = map(int, one)
        if form == "polygon":
            return [[x, y, x + w, y, x + w, y + h, x, y + h]]
        mask = np.zeros(size, bool)
        mask[max(y, 0) : y + h, max(x, 0) : x + w] = form != "empty"
        if form == "cut":
            mask[y + h // 2 :, x + w // 2 :] = False
        if form == "counts":
            flat = mask.T.ravel()
            runs = np.diff([0, *np.flatnonzero(np.diff(flat)) + 1, flat.size]).tolist()
            return {"size": [height, width], "counts": [0, *runs] if flat[0] else runs}
        return encode_mask(mask)

    for video in videos[::-1]:
        for _ in range(rng.integers(0, most)):
            start, forms = box(), rng.choice(["rle", "cut", "polygon", "counts", "empty"], frames)
            if rng.random() < 0.8:
                forms[forms == "empty"] = "rle"
            segmentations = [None if rng.random() < 0.2 else segment(start, str(form)) for form in forms]
            annotation = {
                "id": len(annotations) if seed % 10 == 0 else 2 * len(annotations) + 1,
                "video_id": video["id"],
                "category_id": int(rng.integers(classes)) * 2 + 1,
                "iscrowd": int(rng.random() < 0.15),
                "segmentations": segmentations,
            }
            if rng.random() < 0.6:
                values = rng.choice(BAND_AREAS) if rng.random() < 0.7 else None
                annotation["areas"] = [
                    None if one is None else float(rng.integers(1, 90000) if values is None else values)
                    for one in segmentations
                ]
            annotations.append(annotation)
            for _ in range(rng.integers(0, 4)):
                moved = start + np.array([*rng.integers(-2, 3, 2), 0, 0]) * int(rng.random() < 0.6)
                moved[:2] = np.clip(moved[:2], 0, [width, height] - moved[2:])
                results.append({"category_id": annotation["category_id"], "segmentations": [
                    None if rng.random() < 0.1 or one is None else segment(moved, rng.choice(["rle", "cut"]))
                    for one in segmentations
                ]})  # fmt: skip
                results[-1]["video_id"] = video["id"]
        extra = 14 if rng.random() < 0.1 else rng.integers(0, 4)
        for _ in range(extra):
            one = segment(box(), str(rng.choice(["rle", "empty"], p=[0.9, 0.1])))
            results.append(
                {
                    "video_id": video["id"],
                    "category_id": int(rng.integers(classes)) * 2 + 1,
                    "segmentations": [one if rng.random() < 0.7 else None for _ in range(frames)],
                }
            )
    if not annotations:
        return random_vis(seed + 100_000, clips, frames, classes, size, most)
    order = rng.permutation(len(results)) if seed % 17 else []
    results = [results[i] | {"score": round(float(rng.random()), 1)} for i in order]
    return {"videos": videos, "categories": categories, "annotations": annotations}, results


def decoded(segmentations, size):
    """bool [frames, height, width], zeros for null."""
    masks = np.zeros((len(segmentations), *size), bool)
    for mask, one in zip(masks, segmentations, strict=True):
        if isinstance(one, list):
            one = coco_mask.merge(coco_mask.frPyObjects(one, *size))
        elif one and isinstance(one["counts"], list):
            one = coco_mask.frPyObjects(one, *size)
        if one:
            mask[:] = coco_mask.decode(one)
    return masks


def mean_area(values):
    values = [value for value in values if value]
    return sum(values) / len(values) if values else 0


def read(ground_truth, results):
    """(clip, class) -> its true and its detected tracks, with masks."""
    groups = {}
    for video in ground_truth["videos"]:
        for category in ground_truth["categories"]:
            pair = []
            for entries in (ground_truth["annotations"], results):
                own = []
                for entry in entries:
                    if (entry["video_id"], entry["category_id"]) == (video["id"], category["id"]):
                        masks = decoded(entry["segmentations"], (video["height"], video["width"]))
                        areas = entry.get("areas") or masks.sum(axis=(1, 2)).tolist()
                        own.append(entry | {"masks": masks, "area": mean_area(areas)})
                pair.append(own)
            groups[video["id"], category["id"]] = pair
    return groups


def iou_of(first, second):
    union = (first | second).sum()
    return (first & second).sum() / union if union else 0.0


def strip(*masks, size=(10, 100)):
    """A track: in each frame a mask of the columns [start, stop), or None."""
    segmentations = []
    for columns in masks:
        mask = np.zeros(size, bool)
        if columns is not None:
            mask[:, columns[0] : columns[1]] = True
        segmentations.append(None if columns is None else encode_mask(mask))
    return segmentations


def scene(truths, found, crowds=()):
    """One clip and class of these tracks (lists as `strip` takes them)."""
    frames = len(truths[0])
    ground_truth = {
        "videos": [{"id": 1, "height": 10, "width": 100, "length": frames}],
        "categories": [{"id": 1, "name": "fish"}],
        "annotations": [
            {"id": number, "video_id": 1, "category_id": 1, "iscrowd": int(number > len(truths)),
             "segmentations": strip(*track)}
            for number, track in enumerate([*truths, *crowds], 1)
        ],
    }  # fmt: skip
    results = [
        {"video_id": 1, "category_id": 1, "score": 0.5, "segmentations": strip(*track)} for track in found
    ]
    return ground_truth, results
