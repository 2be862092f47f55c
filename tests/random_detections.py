"""Random ground truth and detections, made to be awkward: what tests of scores share."""

import numpy as np
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 120, 160
BAND_LIMITS = (32**2, 96**2, 32**2 - 1, 32**2 + 1, 96**2 + 1)


def rectangle(rng):
    w, h = rng.integers(1, WIDTH), rng.integers(1, HEIGHT)
    if rng.random() < 0.3:
        w = h = rng.choice([32, 96, 31, 33])
    x, y = rng.integers(0, WIDTH - w + 1), rng.integers(0, HEIGHT - h + 1)
    return [int(x), int(y), int(w), int(h)]


def mask_of(box, rng, cut=True):
    x, y, w, h = box
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y : y + h, x : x + w] = 1
    if cut and rng.random() < 0.5:
        mask[y : y + h // 2, x : x + w // 2] = 0
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def random_data(seed, images=12, classes=4, boxes=True, masks="rle", per_image=9):
    """Crowds, equal scores, empty images, areas on band limits, unused classes, ids with gaps."""
    rng = np.random.default_rng(seed)
    ground_truth = {
        "images": [{"id": 3 * i + 2, "height": HEIGHT, "width": WIDTH} for i in range(images)][::-1],
        # the last is never used
        "categories": [{"id": 5 * k, "name": f"class {k}"} for k in range(classes + 1)],
        "annotations": [],
    }
    results = []
    for image in ground_truth["images"]:
        truths = []
        for _ in range(rng.integers(0, 6)):
            box = rectangle(rng)
            rle = mask_of(box, rng)
            x, y, w, h = box
            polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            area = float(coco_mask.area(rle)) if rng.random() < 0.6 else float(rng.choice(BAND_LIMITS))
            annotation = {
                "id": len(ground_truth["annotations"]) * 2 + 1,
                "image_id": image["id"],
                "category_id": int(rng.integers(classes)) * 5,
                "bbox": box,
                "area": area,
                "iscrowd": int(rng.random() < 0.2),
                "segmentation": rle if rng.random() < 0.5 else polygon,
            }
            ground_truth["annotations"].append(annotation)
            truths.append(annotation)
        for _ in range(rng.integers(0, per_image)):
            box, category = rectangle(rng), int(rng.integers(classes)) * 5
            if truths and rng.random() < 0.7:
                truth = truths[rng.integers(len(truths))]
                x, y, w, h = truth["bbox"]
                shift = int(rng.integers(-3, 4))
                x, y = min(max(x + shift, 0), WIDTH - w), min(max(y, 0), HEIGHT - h)
                box, category = [x, y, w, h], truth["category_id"]
            result = {
                "image_id": image["id"],
                "category_id": category,
                "score": round(float(rng.random()), 1),
            }
            if boxes:
                result["bbox"] = [float(value) for value in box]
            if masks == "rle":
                result["segmentation"] = mask_of(box, rng)
            elif masks == "polygons":
                x, y, w, h = box
                result["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            results.append(result)
    return ground_truth, results


def random_lvis(seed, crowded=False, **options):
    """`random_data` with what LVIS adds; crowded: one picture has more than 300 detections."""
    ground_truth, results = random_data(seed, **options)
    rng = np.random.default_rng((seed, 1))
    ids = [category["id"] for category in ground_truth["categories"]]
    for category in ground_truth["categories"]:
        category["frequency"] = "rcf"[int(rng.integers(3))]
    for image in ground_truth["images"]:
        image["neg_category_ids"] = [k for k in ids if rng.random() < 0.3]
        image["not_exhaustive_category_ids"] = [k for k in ids if rng.random() < 0.2]
    if crowded:
        image_id = ground_truth["images"][0]["id"]
        template = [result for result in results if result["image_id"] == image_id] or results[:1]
        for number in range(400):
            one = template[number % len(template)] | {"image_id": image_id}
            results.append(one | {"score": round(float(rng.random()), 2)})
    return ground_truth, results
