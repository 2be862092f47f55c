"""A Dataset as COCO ground truth, with areas that are the areas of the masks.

The size bands of COCO's metrics go by `area`. COCO writes the area of the outline; annotation tools often
write the area of the box instead, which moves objects into larger bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from yoloseg.data.records import Annotation, Dataset

TOLERANCE = 0.01


@dataclass(frozen=True)
class AreaReport:
    """What was found about the areas in the file, crowds left out.

    objects: how many were looked at; differ: how many areas are more than 1 % (and a pixel) off both the
    mask's pixel count and the outline's area; box_areas: how many of those are the box's area; recomputed:
    how many were replaced by the mask's pixel count.
    """

    objects: int
    differ: int
    box_areas: int
    recomputed: int

    def __str__(self) -> str:
        if not self.recomputed:
            return f"areas: as in the file (checked against the masks of {self.objects} objects)"
        return (
            f"areas: {self.differ} of {self.objects} in the file differ from their mask's by more than "
            f"{TOLERANCE:.0%} ({self.box_areas} are box areas); {self.recomputed} recomputed from the masks"
        )


def coco_ground_truth(dataset: Dataset) -> tuple[dict, AreaReport]:
    """COCO instances dict of `dataset` and the report on its areas.

    Image and category ids are the file's, annotations are numbered from 1 (the official code never matches an
    id 0). Polygons stay polygons and RLE stays RLE, crowds stay crowds. Wrong areas are replaced by the
    mask's pixel count; if more than half are wrong, the file holds no areas worth keeping and all are
    replaced. The area of a crowd is used nowhere and is kept. Of a federated set it is an LVIS instances
    dict.
    """
    annotations, mask_areas, wrong, boxes = [], [], [], []
    for record in dataset.records:
        for annotation in record.annotations:
            x0, y0, x1, y1 = map(float, annotation.box)
            segmentation = _segmentation(annotation)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": record.image_id,
                    "category_id": dataset.category_ids[annotation.class_index],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": float(annotation.area),
                    "iscrowd": int(annotation.crowd),
                    "segmentation": segmentation,
                }
            )
            in_mask = _mask_area(segmentation, record.height, record.width)
            true_areas = (in_mask, _outline_area(annotation.segmentation, in_mask))
            mask_areas.append(in_mask)
            wrong.append(
                not annotation.crowd and not any(_close(annotation.area, area) for area in true_areas)
            )
            boxes.append(wrong[-1] and _close(annotation.area, (x1 - x0) * (y1 - y0)))

    counted = [not annotation["iscrowd"] for annotation in annotations]
    replace = counted if 2 * sum(wrong) > sum(counted) else wrong
    for annotation, area, replaced in zip(annotations, mask_areas, replace, strict=True):
        if replaced:
            annotation["area"] = area
    ground_truth = {
        "images": [{"id": r.image_id, "height": r.height, "width": r.width} for r in dataset.records],
        "categories": [
            {"id": category_id, "name": name}
            for category_id, name in zip(dataset.category_ids, dataset.classes, strict=True)
        ],
        "annotations": annotations,
    }
    if dataset.federated:
        ids = dataset.category_ids
        for image, record in zip(ground_truth["images"], dataset.records, strict=True):
            image["neg_category_ids"] = [ids[k] for k in record.verified.absent]
            image["not_exhaustive_category_ids"] = [ids[k] for k in record.verified.partly]
        for category, frequency in zip(ground_truth["categories"], dataset.frequencies, strict=True):
            category["frequency"] = frequency
    return ground_truth, AreaReport(sum(counted), sum(wrong), sum(boxes), sum(replace))


def _segmentation(annotation: Annotation) -> list[list[float]] | dict:
    if isinstance(annotation.segmentation, dict):
        return dict(annotation.segmentation)
    return [np.asarray(polygon, float).reshape(-1).tolist() for polygon in annotation.segmentation]


def _mask_area(segmentation: list[list[float]] | dict, height: int, width: int) -> float:
    """Pixels of the mask as the official code rasterises it."""
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    return float(coco_mask.area(segmentation))


def _outline_area(segmentation: Sequence[np.ndarray] | dict, in_mask: float) -> float:
    """Sum of the polygons' areas (what COCO writes), the mask's area for an RLE."""
    if isinstance(segmentation, dict):
        return in_mask
    total = 0.0
    for polygon in segmentation:
        x, y = np.asarray(polygon, float).T
        total += abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    return float(total)


def _close(area: float, true_area: float) -> bool:
    return abs(area - true_area) <= max(TOLERANCE * true_area, 1.0)
