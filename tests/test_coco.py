"""COCO files, sound and otherwise. What is read is compared with pycocotools."""

import json
import math
import re

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from yoloseg.data.coco import load_coco
from yoloseg.errors import DataError

HEIGHT, WIDTH = 40, 60
SQUARE = [10, 10, 30, 10, 30, 25, 10, 25]


def image(image_id, **changes):
    return {"id": image_id, "file_name": f"{image_id}.png", "height": HEIGHT, "width": WIDTH, **changes}


def annotation(annotation_id, image_id=0, **changes):
    entry = {"id": annotation_id, "image_id": image_id, "category_id": 1, "segmentation": [SQUARE]}
    return {**entry, "bbox": [10, 10, 20, 15], "area": 300, "iscrowd": 0, **changes}


def categories(*names, first=1):
    return [{"id": first + k, "name": name, "supercategory": "thing"} for k, name in enumerate(names)]


@pytest.fixture
def load(tmp_path):
    """Writes a COCO file with its pictures and reads it."""

    def load(images=None, annotations=None, classes=None, write=True, text=None, **extra):
        images = [image(0), image(1)] if images is None else images
        folder = tmp_path / "pictures"
        folder.mkdir(exist_ok=True)
        if write:
            for i in range(4):
                pixels = np.full((HEIGHT, WIDTH, 3), i, np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
        content = {
            "images": images,
            "annotations": [annotation(1)] if annotations is None else annotations,
            "categories": categories("cat", "dog") if classes is None else classes,
            **extra,
        }
        (tmp_path / "a.json").write_text(json.dumps(content) if text is None else text)
        return load_coco(tmp_path / "a.json", folder)

    return load


def only_annotation(dataset):
    (found,) = [a for record in dataset.records for a in record.annotations]
    return found


def only_problem(dataset):
    (found,) = map(str, dataset.problems)
    return found


# ---------------------------------------------------------------- what is sound


def test_a_sound_file(load, tmp_path):
    dataset = load()
    assert dataset.problems == [] and dataset.name == "a"
    assert dataset.classes == ("cat", "dog") and dataset.category_ids == (1, 2)
    first, second = dataset.records
    assert (first.image_id, first.height, first.width) == (0, HEIGHT, WIDTH)
    assert first.source == tmp_path / "pictures" / "0.png" and second.annotations == ()
    assert dataset.read_image(1).tolist() == np.full((HEIGHT, WIDTH, 3), 1).tolist()
    (found,) = first.annotations
    assert (found.class_index, found.box, found.area) == (0, (10.0, 10.0, 30.0, 25.0), 300.0)
    assert (found.crowd, found.annotation_id, found.track_id) == (False, 1, None)
    (polygon,) = found.segmentation
    assert polygon.dtype == np.float32 and polygon.tolist() == [[10, 10], [30, 10], [30, 25], [10, 25]]


def test_masks_boxes_and_areas_agree_with_pycocotools(load, tmp_path):
    bitmap = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    bitmap[5:20, 30:41] = 1
    bitmap[8:10, 33] = 0
    compressed = mask_utils.encode(bitmap)
    compressed["counts"] = compressed["counts"].decode()
    flat = bitmap.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    parts = [SQUARE, [40, 5, 50.5, 5, 45, 20.25]]
    forms = [parts, compressed, {"size": [HEIGHT, WIDTH], "counts": runs}]
    entries = [
        annotation(n, segmentation=form, iscrowd=int(n == 2), bbox=None) for n, form in enumerate(forms)
    ]
    dataset = load(annotations=entries)
    assert dataset.problems == []
    coco = COCO(tmp_path / "a.json")
    found = dataset.records[0].annotations
    assert [a.crowd for a in found] == [False, False, True] and len(found[0].segmentation) == 2
    for ours, theirs in zip(found, coco.loadAnns([0, 1, 2]), strict=True):
        rle = ours.segmentation
        if isinstance(rle, tuple):
            flat_polygons = [p.ravel().astype(float).tolist() for p in rle]
            rle = mask_utils.merge(mask_utils.frPyObjects(flat_polygons, HEIGHT, WIDTH))
        assert isinstance(rle["counts"], bytes)
        np.testing.assert_array_equal(mask_utils.decode(rle), coco.annToMask(theirs))


@pytest.mark.parametrize(
    ("bbox", "kept"),
    [
        ([10, 10, 30, 25], False),  # two corners in place of a corner and a size
        ([30, 30, 20, 10], False),
        ([10.4, 9.6, 19, 15.9], True),
        ([8, 8, 20, 15], True),  # rounded, or shifted a little
        ([6, 8, 24, 20], True),
    ],
)
def test_a_box_that_is_not_of_its_segmentation_is_made_again(load, bbox, kept):
    dataset = load(annotations=[annotation(1, bbox=bbox)])
    found = only_annotation(dataset).box
    x, y, width, height = bbox
    assert found == ((x, y, x + width, y + height) if kept else (10, 10, 30, 25))
    if kept:
        assert dataset.problems == []
    else:
        assert f"its box {bbox} is not of its segmentation" in only_problem(dataset)


def test_a_box_is_compared_within_the_picture(load):
    """An outline may lie beyond it, a box seldom does."""
    wide = [-500, 10, 30, 10, 30, 25, -500, 25]
    assert load(annotations=[annotation(1, segmentation=[wide], bbox=[0, 10, 30, 15])]).problems == []


def test_a_file_under_two_ids_is_told(load):
    images = [image(0), image(1), {**image(2), "file_name": image(0)["file_name"]}]
    dataset = load(images=images)
    assert "the same file as image 0 (0.png): what is annotated under one" in only_problem(dataset)


def test_missing_box_and_area_are_made_from_the_segmentation(load):
    entries = [annotation(1, segmentation=[SQUARE, [40, 5, 50, 5, 45, 20]])]
    del entries[0]["bbox"], entries[0]["area"]
    rle = mask_utils.encode(np.asfortranarray(np.pad(np.ones((3, 4), np.uint8), ((5, 32), (7, 49)))))
    entries.append({**entries[0], "id": 2, "segmentation": {**rle, "counts": rle["counts"].decode()}})
    polygons, bitmap = load(annotations=entries).records[0].annotations
    assert polygons.box == (10.0, 5.0, 50.0, 25.0) and polygons.area == 300 + 75
    assert bitmap.box == (7.0, 5.0, 11.0, 8.0) and bitmap.area == 12


@pytest.mark.parametrize("ids", [(0, 1), (5, 90), (90, 5), (-3, 7)])
def test_category_ids_with_gaps_or_from_zero_are_sorted(load, ids):
    classes = [{"id": ids[0], "name": "cat"}, {"id": ids[1], "name": "dog"}]
    dataset = load(classes=classes, annotations=[annotation(1, category_id=ids[1])])
    assert dataset.category_ids == tuple(sorted(ids))
    assert dataset.classes[only_annotation(dataset).class_index] == "dog"


def test_an_unused_heading_is_no_class_but_other_unused_categories_are(load):
    heading = [{"id": 0, "name": "pets", "supercategory": "none"}]
    pets = [{"id": k, "name": n, "supercategory": "pets"} for k, n in ((1, "cat"), (2, "dog"))]
    dataset = load(classes=heading + pets)
    assert dataset.classes == ("cat", "dog") and "'a.json'" not in only_problem(dataset)
    assert "category 0 (pets)" in only_problem(dataset)
    used = load(classes=heading + pets, annotations=[annotation(1, category_id=0)])
    assert used.classes == ("pets", "cat", "dog") and used.problems == []
    mixed = load(classes=[*heading, *pets, {"id": 3, "name": "car", "supercategory": "vehicle"}])
    assert mixed.classes == ("pets", "cat", "dog", "car")
    alone = load(classes=[{"id": 1, "name": "person", "supercategory": "person"}], annotations=[])
    assert alone.classes == ("person",)


def test_a_file_with_a_byte_order_mark(load):
    entry = {"images": [image(0)], "annotations": [], "categories": categories("cat")}
    assert len(load(text="\ufeff" + json.dumps(entry))) == 1


def test_names_in_folders_with_either_slash(load, tmp_path):
    (tmp_path / "pictures" / "sub").mkdir(parents=True)
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / "pictures" / "sub" / "x.png")
    names = ["sub/x.png", "sub\\x.png", "./sub/../sub/x.png"]
    dataset = load([image(i, file_name=name) for i, name in enumerate(names)], annotations=[])
    assert [r.source for r in dataset.records] == [tmp_path / "pictures" / "sub" / "x.png"] * 3


def test_a_size_not_stated_is_read_from_the_picture(load):
    entry = {"id": 0, "file_name": "0.png"}
    (record,) = load([entry]).records
    assert (record.height, record.width) == (HEIGHT, WIDTH) and len(record.annotations) == 1


@pytest.mark.parametrize("stated", [(60, 40), (40, 60)])
def test_a_turned_photograph_is_read_in_the_orientation_of_the_annotations(load, tmp_path, stated):
    (tmp_path / "pictures").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = cv2.resize(np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8), (60, 40))
    Image.fromarray(pixels).save(tmp_path / "pictures" / "t.png", exif=exif)
    dataset = load([image(0, file_name="t.png", height=stated[0], width=stated[1])])
    expected = pixels if stated == (40, 60) else np.rot90(pixels, -1)
    np.testing.assert_array_equal(dataset.read_image(0), expected)


# ---------------------------------------------------------------- what is left out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file_name": "none.png"}, "image 9 (none.png): left out with its 1 annotations: .*no such picture"),
        ({"file_name": "../a.json"}, "not a path inside the folder"),
        ({"file_name": "x/../../a.json"}, "not a path inside the folder"),
        ({"file_name": "..\\a.json"}, "not a path inside the folder"),
        ({"file_name": "/etc/passwd"}, "not a path inside the folder"),
        ({"file_name": "C:\\a.png"}, "not a path inside the folder"),
        ({"file_name": "C:a.png"}, "not a path inside the folder"),
        ({"file_name": "\\\\server\\a.png"}, "not a path inside the folder"),
        ({"file_name": "0\0.png"}, "not a path inside the folder"),
        ({"file_name": ""}, "not a path inside the folder"),
        ({"file_name": "."}, "not a path inside the folder"),
        ({"file_name": 7}, "not a path inside the folder"),
        ({"file_name": "\ud800.png"}, r"image 9 \('.ud800.png'\): left out"),
        ({"file_name": None}, "not a path inside the folder"),
        ({"file_name": ["0.png"]}, "not a path inside the folder"),
        ({"height": 41}, "picture is 60 x 40 .* says 60 x 41"),
        ({"height": 80, "width": 120}, "resized after it was annotated"),
        ({"height": 0}, "not a size"),
        ({"height": -40}, "not a size"),
        ({"height": "40"}, "not a size"),
        ({"height": None}, "not a size"),
        ({"height": math.nan}, "not a size"),
        ({"height": math.inf}, "not a size"),
        ({"id": "9"}, "image number 1: left out: it has no `id`"),
        ({"id": None}, "no `id`"),
        ({"id": True}, "no `id`"),
    ],
)
def test_bad_pictures_are_left_out(load, changes, message):
    bad = image(9, **{"file_name": "1.png", **changes})
    dataset = load([image(0), bad], [annotation(1), annotation(2, image_id=9)])
    assert [r.image_id for r in dataset.records] == [0]
    assert only_annotation(dataset).annotation_id == 1
    text = "\n".join(map(str, dataset.problems))
    assert "a.json" in text
    assert re.search(message.replace("(none.png)", r"\(none.png\)"), text), text


def test_entries_that_are_no_objects(load):
    dataset = load([image(0), 5, None], [annotation(1), "x", None])
    assert len(dataset) == 1 and len(dataset.problems) == 4


@pytest.mark.parametrize("keep", [0, 30, 0.5])
def test_empty_and_truncated_pictures_are_left_out(load, tmp_path, keep):
    (tmp_path / "pictures").mkdir()
    path = tmp_path / "pictures" / "t.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    dataset = load([image(0), image(1, file_name="t.jpg")])
    assert len(dataset) == 1 and "image 1 (t.jpg)" in only_problem(dataset)


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"category_id": 9}, "category id 9 is not in `categories`"),
        ({"category_id": "1"}, "category id '1'"),
        ({"category_id": None}, "category id None"),
        ({"category_id": [1]}, r"category id \[1\]"),
        ({"image_id": 77}, "image id 77"),
        ({"image_id": [0]}, r"image id \[0\]"),
        ({"segmentation": None}, "no segmentation"),
        ({"segmentation": []}, "segmentation is empty"),
        ({"segmentation": "abc"}, "no segmentation"),
        ({"segmentation": [[]]}, "fewer than 3 points"),
        ({"segmentation": [[1, 2, 3, 4]]}, "fewer than 3 points"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "odd number"),
        ({"segmentation": [[[1, 2], [3, 4], [9, 1]]]}, "flat list"),
        ({"segmentation": [[1, 2, NAN, 4, 5, 6]]}, "not finite"),
        ({"segmentation": [[1, 2, INF, 4, 5, 6]]}, "not finite"),
        ({"segmentation": [[1, 2, 1e30, 4, 5, 6]]}, "beyond"),
        ({"segmentation": [[1, 2, 10**400, 4, 5, 6]]}, "not a number"),
        ({"segmentation": [[1, 2, "x", 4, 5, 6]]}, "not a number"),
        ({"segmentation": [[1, 2, None, 4, 5, 6]]}, "not a number|not finite"),
        ({"segmentation": [[1, 2, {}, 4, 5, 6]]}, "not a number"),
        ({"segmentation": ["abcdef"]}, "not a list of numbers"),
        ({"segmentation": [{"a": 1}]}, "not a list of numbers"),
        ({"segmentation": [[5, 5, 5, 5, 5, 5]]}, "no area"),
        ({"segmentation": [[5, 5, 10, 10, 20, 20]]}, "no area"),
        ({"segmentation": [[5, 5, 10, 5, 20, 5, 7, 5]]}, "no area"),
        ({"segmentation": [[60, 5, 70, 5, 70, 20]]}, "wholly outside"),
        ({"segmentation": [[-10, 5, 0, 5, -5, 20]]}, "wholly outside"),
        ({"segmentation": [[5, 40, 10, 40, 7, 50]]}, "wholly outside"),
        ({"segmentation": [[5, -40, 10, -40, 7, -1]]}, "wholly outside"),
        ({"segmentation": {}}, "no counts"),
        ({"segmentation": {"size": [HEIGHT, WIDTH]}}, "no counts"),
        ({"segmentation": {"size": [WIDTH, HEIGHT], "counts": [0, 2400]}}, "of size"),
        ({"segmentation": {"size": None, "counts": [0, 2400]}}, "of size"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [2400]}}, "no pixel"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, 2399]}}, "add up"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [2500, -100]}}, "add up"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [0.5, 2399.5]}}, "whole numbers"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [[0], [1, 2]]}}, "whole numbers"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": []}}, "add up"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, 10**400]}}, "add up"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": ""}}, "broken"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "oooo"}}, "broken"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "é"}}, "broken"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "04"}}, "add up"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "oooooooooooooooo0"}}, "broken"),
    ],
)
def test_bad_annotations_are_left_out(load, changes, message):
    dataset = load(annotations=[annotation(1), annotation(55, **changes), annotation(2)])
    assert [a.annotation_id for a in dataset.records[0].annotations] == [1, 2]
    problem = only_problem(dataset)
    assert "annotation 55" in problem and "left out" in problem
    assert re.search(message, problem), problem


def test_an_unusable_part_does_not_spoil_the_others(load):
    parts = [[1, 1, 2, 2], SQUARE, [70, 5, 80, 5, 80, 20]]
    dataset = load(annotations=[annotation(1, segmentation=parts)])
    (polygon,) = only_annotation(dataset).segmentation
    assert polygon.ravel().tolist() == SQUARE
    assert ["kept without one part" in str(p) for p in dataset.problems] == [True, True]


def test_what_covers_pixels_is_kept(load):
    figure_of_eight = [5, 5, 25, 25, 25, 5, 5, 25]  # its signed area is zero
    sliver = [5, 5, 6, 5, 6, 5.5]
    over_the_edge = [-20, -20, 90, -20, 90, 90, -20, 90]
    polygons = (figure_of_eight, sliver, over_the_edge)
    dataset = load(annotations=[annotation(n, segmentation=[p], bbox=None) for n, p in enumerate(polygons)])
    assert dataset.problems == [] and len(dataset.records[0].annotations) == 3
    assert dataset.records[0].annotations[2].segmentation[0].min() == -20


def test_a_part_without_the_outer_list_is_understood(load):
    assert len(only_annotation(load(annotations=[annotation(1, segmentation=SQUARE)])).segmentation) == 1


@pytest.mark.parametrize(
    "box",
    [[10, 10, 0, 5], [10, 10, 5, -1], [NAN, 1, 2, 3], [1, 2, INF, 3], [1, 2, 3], "1234", [1, 2, "3", 4], 5,
     [1, 2, 10**400, 4], [1, 2, None, 4]],
)  # fmt: skip
def test_a_bad_box_is_made_again(load, box):
    dataset = load(annotations=[annotation(1, bbox=box)])
    assert only_annotation(dataset).box == (10.0, 10.0, 30.0, 25.0)
    assert "annotation 1 " in only_problem(dataset) and "made again" in only_problem(dataset)


@pytest.mark.parametrize("area", [None, "3", 0, -5, NAN, INF, 10**400, []])
def test_a_bad_area_is_made_again(load, area):
    assert only_annotation(load(annotations=[annotation(1, area=area)])).area == 300


def test_duplicate_annotations(load):
    dataset = load(annotations=[annotation(1), annotation(1), annotation(1, category_id=2)])
    found = dataset.records[0].annotations
    assert [(a.annotation_id, a.class_index) for a in found] == [(1, 0), (None, 1)]
    assert "written twice" in str(dataset.problems[0]) and "without its id" in str(dataset.problems[1])


def test_duplicate_pictures(load):
    dataset = load([image(0), image(0), image(1)])
    assert [r.image_id for r in dataset.records] == [0, 1] and "written twice" in only_problem(dataset)
    images = [image(0), image(0, file_name="2.png"), image(1)]
    other = load(images, [annotation(1), annotation(2, image_id=1)])
    assert [r.image_id for r in other.records] == [1]  # whose annotations those of id 0 are cannot be known
    assert all("same id" in str(p) for p in other.problems) and len(other.problems) == 2


# ---------------------------------------------------------------- what cannot be used


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "broken JSON at line 1"),
        ('{"images": [{"id": 1,\n "file_na', "broken JSON at line 2.*cut off"),
        ("[]", "a list, not an object.*results"),
        ("3", "a int, not an object"),
        ("{}", "no list `images`"),
        ('{"images": [], "annotations": [], "categories": []}', "empty set"),
        ('{"images": {}, "annotations": [], "categories": []}', "no list `images`"),
        ('{"images": [1], "categories": []}', "no list `annotations`"),
        ('{"images": [1], "annotations": []}', "no list `categories`"),
        ('{"images": [1], "annotations": [], "categories": []}', "at least one class"),
        ('{"videos": [], "annotations": [], "categories": []}', "YouTube-VIS"),
        ("[" * 200_000, "recursion"),
        ("1" * 10_000, "digits"),
    ],
)
def test_files_that_are_not_coco(load, text, message):
    with pytest.raises(DataError, match=rf"(?s)a\.json: .*({message})"):
        load(text=text)


def test_a_binary_file(load, tmp_path):
    load()
    (tmp_path / "a.json").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    with pytest.raises(DataError, match="a.json"):
        load_coco(tmp_path / "a.json", tmp_path / "pictures")
    with pytest.raises(DataError, match="none.json.*cannot be read"):
        load_coco(tmp_path / "none.json", tmp_path / "pictures")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([{"id": "1", "name": "cat"}], "whole number"),
        ([{"id": 1}], "`name`"),
        ([{"id": 1, "name": " "}], "`name`"),
        ([{"name": "cat"}], "`id`"),
        (["cat"], "category cat"),
        ([{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}], "id 1 stands for both 'cat' and 'dog'"),
        ([{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}], r"\[1, 2\] are all called 'cat'"),
    ],
)
def test_bad_categories(load, classes, message):
    with pytest.raises(DataError, match=message):
        load(classes=classes)


def test_wrong_folders(load, tmp_path):
    load()
    with pytest.raises(DataError, match="nowhere.*no such folder"):
        load_coco(tmp_path / "a.json", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"none of its 2 pictures.*image 0 \(0.png\).*no such picture"):
        load_coco(tmp_path / "a.json", tmp_path / "empty")
