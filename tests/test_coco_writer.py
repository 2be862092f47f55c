"""Datasets written as COCO files, read back by pycocotools."""

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from yoloseg.data.coco import load_coco
from yoloseg.data.coco_writer import write_coco
from yoloseg.data.records import Annotation, Dataset, Record
from yoloseg.data.shapes import load_shapes
from yoloseg.errors import UsageError


def test_shapes_survive_the_files(tmp_path):
    dataset = load_shapes("val", clips=2, frames=3)
    path = write_coco(dataset, tmp_path / "set")
    assert path == tmp_path / "set" / "annotations.json"
    coco = COCO(str(path))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(dataset.classes)
    assert [v["name"] for v in coco.dataset["videos"]] == ["val-0000", "val-0001"]
    names = set()
    for record in dataset.records:
        image = coco.loadImgs(record.image_id)[0]
        names.add(image["file_name"])
        assert (image["height"], image["width"]) == (record.height, record.width)
        assert (
            coco.dataset["videos"][image["video_id"] - 1]["name"],
            image["frame_index"],
        ) == record.frame_of
        pixels = cv2.imread(str(tmp_path / "set" / "images" / image["file_name"]))[:, :, ::-1]
        np.testing.assert_array_equal(pixels, record.read_image())
        written = coco.loadAnns(coco.getAnnIds(imgIds=record.image_id))
        assert len(written) == len(record.annotations)
        for ours, theirs in zip(record.annotations, written, strict=True):
            assert theirs["id"] == ours.annotation_id and theirs["track_id"] == ours.track_id
            assert theirs["video_id"] == image["video_id"]
            assert theirs["category_id"] == dataset.category_ids[ours.class_index]
            np.testing.assert_array_equal(coco.annToMask(theirs), coco_mask.decode(ours.segmentation))
            x, y, w, h = theirs["bbox"]
            assert (x, y, x + w, y + h) == ours.box and theirs["area"] == ours.area
    assert len(names) == len(dataset)
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".")]


@pytest.mark.parametrize("key", ["frame_index", "frame_id", None])
def test_clips_of_others_are_clips(key, tmp_path):
    """By whichever key a frame has its number, or none; videos of one name, or without, are not one."""
    path = write_coco(load_shapes("val", clips=3, frames=2), tmp_path)
    content = json.loads(path.read_text())
    for image in content["images"]:
        number = image.pop("frame_index")
        if key is not None:
            image[key] = number
    content["videos"][0]["name"] = content["videos"][1]["name"] = "run"
    del content["videos"][2]["name"]
    for entries in (content["images"], content["videos"]):
        entries.append(dict(entries[0]))  # written twice is once
    path.write_text(json.dumps(content))
    found = [record.frame_of for record in load_coco(path, tmp_path / "images").records]
    assert found == [(clip, frame) for clip in ("run", "run 2", "video 3") for frame in (0, 1)]


def test_polygons_crowds_gaps_in_ids_and_pictures_that_are_no_video(tmp_path):
    square = np.float32([[1, 2], [5, 2], [5, 8], [1, 8]])
    picture = np.arange(10 * 12 * 3, dtype=np.uint8).reshape(10, 12, 3)
    annotations = (
        Annotation(1, (square, square + 0.25), (1, 2, 5.25, 8.25), 24.0, annotation_id=40),
        Annotation(0, (square,), (1, 2, 5, 8), 24.0, crowd=True),
    )
    record = Record(7, lambda: picture, 10, 12, annotations)
    dataset = Dataset("two", ("cat", "dog"), (3, 9), [record, Record(8, lambda: picture, 10, 12)])
    content = json.loads(write_coco(dataset, tmp_path).read_text())
    first, second = content["annotations"]
    assert first["segmentation"] == [square.ravel().tolist(), (square + 0.25).ravel().tolist()]
    assert first["bbox"] == [1, 2, 4.25, 6.25] and first["category_id"] == 9
    assert (first["id"], second["id"], second["iscrowd"]) == (40, 41, 1)
    assert "videos" not in content and "track_id" not in first
    assert [i["file_name"] for i in content["images"]] == ["000000000007.png", "000000000008.png"]


def test_jpeg_and_refusals(tmp_path):
    dataset = load_shapes("val", clips=1, frames=1)
    write_coco(dataset, tmp_path / "jpeg", suffix=".jpg")
    pixels = cv2.imread(str(tmp_path / "jpeg" / "images" / "clip0001" / "00000.jpg"))[:, :, ::-1]
    assert np.abs(pixels.astype(int) - dataset.read_image(0)).mean() < 6
    with pytest.raises(UsageError, match="suffix"):
        write_coco(dataset, tmp_path, suffix=".gif")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        write_coco(dataset, tmp_path / "file")


def test_a_failure_leaves_no_json(tmp_path):
    def broken():
        raise RuntimeError("disc on fire")

    good = load_shapes("val", clips=1, frames=1).records[0]
    dataset = Dataset("x", ("disc",) * 8, tuple(range(8)), [good, Record(9, broken, 10, 10)])
    with pytest.raises(RuntimeError):
        write_coco(dataset, tmp_path)
    assert not (tmp_path / "annotations.json").exists()
