"""Which objects of which pictures were found, missed, taken for another class or invented."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

MATCH_IOU = 0.5


@dataclass(frozen=True)
class PictureReview:
    """What became of one picture's objects. found + confused + missed are all its objects without crowds.

    confused: found by mask, but as another class. false: detections that are of no object: of background, of
    one that another detection has found, or with a mask IoU below 0.5. ignored: detections on crowd regions,
    or of a class that is not annotated everywhere in the picture.
    """

    image_id: int
    found: int
    confused: int
    missed: int
    false: int
    ignored: int

    @property
    def errors(self) -> int:
        return self.confused + self.missed + self.false


@dataclass(frozen=True)
class Review:
    """pictures: in the order of the ground truth. confusion: int [K + 1, K + 1], objects of the class of the
    row taken for the class of the column; the last row are false detections, the last column missed objects.
    classes: K names."""

    pictures: tuple[PictureReview, ...]
    confusion: np.ndarray
    classes: tuple[str, ...]
    threshold: float


def review(ground_truth: dict, results: list[dict], threshold: float) -> Review:
    """Matches the masks of detections with score >= threshold to objects, at most one to one.

    ground_truth: COCO instances dict, results: COCO results with masks. Best-scored detections choose first,
    each the object with the largest mask IoU of at least 0.5: first among the objects of its own class, then,
    when all of those are settled, among those of other classes. In between, detections half of which lie on a
    crowd of their class are left out of the count, and those of a class of which the picture does not have
    every object annotated (LVIS' `not_exhaustive_category_ids`).
    """
    order = sorted(category["id"] for category in ground_truth["categories"])
    index = {category_id: i for i, category_id in enumerate(order)}
    names = {category["id"]: category["name"] for category in ground_truth["categories"]}
    confusion = np.zeros((len(order) + 1, len(order) + 1), np.int64)
    truths, detections = defaultdict(list), defaultdict(list)
    for annotation in ground_truth["annotations"]:
        truths[annotation["image_id"]].append(annotation)
    for result in results:
        if result["score"] >= threshold:
            detections[result["image_id"]].append(result)
    pictures = []
    for image in ground_truth["images"]:
        found = _review_picture(image, truths[image["id"]], detections[image["id"]], index, confusion)
        pictures.append(found)
    return Review(tuple(pictures), confusion, tuple(names[k] for k in order), threshold)


def _review_picture(
    image: dict, truths: list[dict], detections: list[dict], index: dict, confusion: np.ndarray
) -> PictureReview:
    """Adds the picture to `confusion`."""
    detections = sorted(detections, key=lambda result: -result["score"])
    truth_classes = np.array([index[t["category_id"]] for t in truths], int)
    classes = np.array([index[d["category_id"]] for d in detections], int)
    crowd = np.array([bool(t.get("iscrowd", 0)) for t in truths], bool)
    overlap = np.zeros((len(detections), len(truths)))
    if len(truths) and len(detections):
        regions = [_rle(t["segmentation"], image) for t in truths]
        overlap = coco_mask.iou(
            [d["segmentation"] for d in detections], regions, crowd.astype(np.uint8).tolist()
        )
    unfinished = [index[k] for k in image.get("not_exhaustive_category_ids", ())]
    taken = np.full(len(truths), -1)
    used = np.zeros(len(detections), bool)

    def choose(own_class: bool) -> None:
        for number in np.flatnonzero(~used):
            open_to = (taken < 0) & ~crowd & ((truth_classes == classes[number]) == own_class)
            fits = np.where(open_to, overlap[number], 0.0)
            if len(fits) and fits.max() >= MATCH_IOU:
                taken[fits.argmax()], used[number] = number, True

    found = confused = missed = false = ignored = 0
    choose(own_class=True)
    for number in np.flatnonzero(~used):
        on_crowd = crowd & (truth_classes == classes[number])
        if classes[number] in unfinished or (overlap[number][on_crowd] >= MATCH_IOU).any():
            used[number] = True
            ignored += 1
    choose(own_class=False)
    for number in np.flatnonzero(~crowd):
        if taken[number] < 0:
            missed += 1
            confusion[truth_classes[number], -1] += 1
        else:
            seen = classes[taken[number]]
            confusion[truth_classes[number], seen] += 1
            found += int(seen == truth_classes[number])
            confused += int(seen != truth_classes[number])
    for number in np.flatnonzero(~used):
        false += 1
        confusion[-1, classes[number]] += 1
    return PictureReview(image["id"], found, confused, missed, false, ignored)


def _rle(segmentation: list | dict, image: dict) -> dict:
    """Compressed RLE of polygons, or of an RLE in either form."""
    height, width = image["height"], image["width"]
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return coco_mask.frPyObjects(segmentation, height, width)
    return segmentation


def crowding(ground_truth: dict) -> dict[str, list[int]]:
    """Image ids by how many objects (no crowds) a picture shows: "1", "2 to 4", "5 to 9", "10 and more"."""
    counts = defaultdict(int)
    for annotation in ground_truth["annotations"]:
        counts[annotation["image_id"]] += not annotation.get("iscrowd", 0)
    bands = {"1": (1, 1), "2 to 4": (2, 4), "5 to 9": (5, 9), "10 and more": (10, np.inf)}
    return {
        name: [image["id"] for image in ground_truth["images"] if low <= counts[image["id"]] <= high]
        for name, (low, high) in bands.items()
    }
