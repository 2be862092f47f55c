"""Results agree with themselves in every form: masks, COCO, polygons, supervision."""

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from yoloseg.errors import UsageError
from yoloseg.inference.paste import paste_mask
from yoloseg.inference.results import Result

HEIGHT, WIDTH = 120, 160


def disc_probabilities(size=28):
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    return (1 / (1 + np.exp(20 * (np.hypot(y, x) - 0.4)))).astype(np.float32)


def result(count=2, **changes):
    boxes = np.array([[20, 30, 80, 90], [100.25, 10.5, 160, 70.125]], np.float32)[:count]
    values = {
        "image": np.full((HEIGHT, WIDTH, 3), 114, np.uint8),
        "boxes": boxes,
        "scores": np.array([0.9, 0.1234567], np.float32)[:count],
        "class_ids": np.array([2, 0])[:count],
        "class_names": ["tiger", "bear"][:count],
        "mask_probabilities": np.stack([disc_probabilities()] * 2)[:count],
    }
    return Result(**values | changes)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_masks_are_discs_in_their_boxes():
    found = result()
    assert found.masks.shape == (2, HEIGHT, WIDTH) and found.masks.dtype == bool
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    assert iou(found.masks[0], np.hypot(x - 50, y - 60) < 24) > 0.97
    assert np.array_equal(found.masks[1], paste_mask(disc_probabilities(), found.boxes[1], HEIGHT, WIDTH))
    assert np.array_equal(found.mask(1), found.masks[1])


def test_masks_are_pasted_once_and_only_when_asked_for(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "yoloseg.inference.results.paste_mask", lambda *arguments: calls.append(1) or paste_mask(*arguments)
    )
    found = result()
    found.to_coco(1, [1, 2, 3])
    assert len(found) == 2 and not calls
    assert found.masks is found.masks and len(calls) == 2


def test_coco_results_hold_the_same_masks_and_survive_json():
    found = result()
    first, second = json.loads(json.dumps(found.to_coco(17, [5, 6, 9])))
    assert (first["image_id"], first["category_id"], second["category_id"]) == (17, 9, 5)
    assert first["bbox"] == [20, 30, 60, 60]
    assert second["bbox"] == [100.25, 10.5, 59.75, 59.62] and second["score"] == 0.123457
    for entry, mask in zip((first, second), found.masks, strict=True):
        assert isinstance(entry["segmentation"]["counts"], str)
        assert entry["segmentation"]["size"] == [HEIGHT, WIDTH]
        assert np.array_equal(coco_mask.decode(entry["segmentation"]).astype(bool), mask)


def rasterise(polygons, height, width):
    """COCO's own rasteriser."""
    rles = coco_mask.frPyObjects([polygon.ravel().tolist() for polygon in polygons], height, width)
    return coco_mask.decode(coco_mask.merge(rles)).astype(bool)


def test_polygons_cover_the_masks():
    found = result()
    for parts, mask in zip(found.polygons(), found.masks, strict=True):
        np.testing.assert_array_equal(rasterise(parts, HEIGHT, WIDTH), mask)
    for parts, mask in zip(found.polygons(tolerance=1.0), found.masks, strict=True):
        assert len(parts) == 1 and iou(rasterise(parts, HEIGHT, WIDTH), mask) > 0.95


def test_supervision_detections():
    found = result()
    detections = found.to_supervision()
    assert np.array_equal(detections.xyxy, found.boxes)
    assert np.array_equal(detections.mask, found.masks)
    assert np.array_equal(detections.confidence, found.scores)
    assert detections.class_id.tolist() == [2, 0]
    assert detections.data["class_name"].tolist() == ["tiger", "bear"]


def test_nothing_found_is_no_special_case(tmp_path):
    found = result(0)
    assert len(found) == 0 and found.masks.shape == (0, HEIGHT, WIDTH)
    assert found.to_coco(1, [1]) == [] and found.polygons() == []
    assert np.array_equal(found.draw(), found.image)
    detections = found.to_supervision()
    assert len(detections) == 0 and len(detections[detections.confidence > 0.5]) == 0
    found.save(tmp_path / "empty.png")
    assert np.array_equal(cv2.imread(str(tmp_path / "empty.png")), found.image)


def test_save_writes_rgb_whole_or_not_at_all(tmp_path):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0] = 200  # red
    found = result(0, image=image)
    found.save(tmp_path / "new" / "red.png")
    assert (cv2.imread(str(tmp_path / "new" / "red.png"))[..., 2] == 200).all()
    with pytest.raises(UsageError, match=r"no picture format has the suffix '.xyz'"):
        found.save(tmp_path / "red.xyz")
    with pytest.raises(UsageError, match="suffix ''"):
        found.save(tmp_path / "red")
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


def test_drawing_shows_masks_without_touching_the_picture():
    found = result()
    drawn = found.draw()
    assert (drawn[60, 50] != 114).any() and (drawn[110, 90] == 114).all()
    assert (found.image == 114).all()
