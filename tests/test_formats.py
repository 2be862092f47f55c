"""Every format of annotations: the same pictures, classes and masks come out; what is wrong is named."""

import json
import struct
import zlib

import numpy as np
import pytest
from annotated import CLASSES, HEIGHT, OBJECTS, WIDTH, WRITERS, label_image, mask, picture, save_labels, write
from fuzz_readers import fuzz
from PIL import Image
from pycocotools import mask as mask_utils

from yoloseg.data.datafile import load_datasets
from yoloseg.data.images import read_image
from yoloseg.data.instances import Instance
from yoloseg.data.label_images import label_rles
from yoloseg.data.loader import Loader
from yoloseg.errors import DataError

EXACT = ("label-images", "davis", "youtube-vis", "wad")  # of pixels, not of outlines


def decoded(annotation, height=HEIGHT, width=WIDTH):
    shape = annotation.segmentation
    if not isinstance(shape, dict):
        parts = [np.asarray(part, np.float64).ravel().tolist() for part in shape]
        shape = mask_utils.merge(mask_utils.frPyObjects(parts, height, width))
    return mask_utils.decode(shape) > 0


def load(path, split="train"):
    return load_datasets(path, (split,))[split]


@pytest.mark.parametrize("format", WRITERS)
def test_values(format, tmp_path):
    dataset = load(write(format, tmp_path))
    classes = {"davis": ("object",), "wad": None, "lvis": (*CLASSES, "zebra")}.get(format, CLASSES)
    if classes is not None:
        assert dataset.classes == classes
    names = {"car": "cat", "person": "dog"}
    assert [(r.height, r.width) for r in dataset.records] == [(HEIGHT, WIDTH)] * 2
    for number, record in enumerate(dataset.records):
        if format != "wad":
            np.testing.assert_array_equal(record.read_image(), picture(number))
        left = [n for n, one in enumerate(OBJECTS) if one[0] == number]
        for annotation in record.annotations:
            found = decoded(annotation)
            n = max(left, key=lambda n: (mask(n) & found).sum())
            truth = mask(n) & (label_image(number, [1] * 4) > 0)
            if format == "label-images":
                truth[0] = False
            if format in EXACT:
                np.testing.assert_array_equal(found, truth)
            else:
                assert (found & truth).sum() / (found | truth).sum() > 0.97
            name = dataset.classes[annotation.class_index]
            assert names.get(name, name) in (CLASSES[OBJECTS[n][1]], "object")
            ys, xs = np.nonzero(truth)
            around = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            np.testing.assert_allclose(annotation.box, around, atol=1.01)
            left.remove(n)
        assert not left
    if format in ("davis", "youtube-vis"):
        assert [r.frame_of for r in dataset.records] == [("pets", 0), ("pets", 1)]
        tracks = [[a.track_id for a in r.annotations] for r in dataset.records]
        assert tracks == ([[1, 2], [1, 2]] if format == "davis" else [[11, 12], [11, 12]])
    assert dataset.problems == [] or format == "coco"


@pytest.mark.parametrize("format", WRITERS)
def test_batches_can_be_made(format, tmp_path):
    datasets = load_datasets(write(format, tmp_path))
    batch = Loader(datasets["train"], (64, 96), 2, shuffle=False, workers=0)[0]
    assert (batch["classes"][:, :2] >= 0).all() and (batch["classes"][:, 2:] < 0).all()
    assert (batch["masks"][:, :2].max((2, 3)) == 255).all()


def test_the_folder_of_an_export_is_a_data_file(tmp_path):
    write("coco", tmp_path)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "train").rename(tmp_path / "valid")
    assert len(load(tmp_path, "val")) == 2
    with pytest.raises(DataError, match="has no `train`"):
        load_datasets(tmp_path)
    with pytest.raises(DataError, match="_annotations.coco.json"):
        load_datasets(tmp_path / "valid")
    (tmp_path / "yolo").mkdir()
    write("yolo", tmp_path / "yolo")  # has a data.yaml
    assert len(load(tmp_path / "yolo")) == 2


# YOLO


def yolo(folder, text, names="[cat, dog]"):
    write("yolo", folder)
    (folder / "train" / "labels" / "a.txt").write_text(text)
    (folder / "data.yaml").write_text(f"train: train/images\nnames: {names}\n")
    return folder / "data.yaml"


def test_yolo_lines_that_cannot_be_used(tmp_path):
    lines = ["0 .1 .1 .5 .1 .5 .5", "0 .5 .5 .2 .2", "0 .1 .1 .5 .1", "7 .1 .1 .5 .1 .5 .5"]
    lines += ["0 10 10 50 10 50 50", "0 .1 .1 .5 x .5 .5", "0 nan .1 .5 .1 .5 .5", "0 .1 .1 .2 .2 .3 .3"]
    lines += ["", "0 .1 .1 .5 .1 .5"]
    dataset = load(yolo(tmp_path, "\n".join(lines)))
    assert [len(r.annotations) for r in dataset.records] == [1, 2]
    told = "\n".join(map(str, dataset.problems))
    for said in (
        "line 4 of", "class 7 is not in `names`", "line 5 of", "are they pixels?", "not a number", "NaN",
        "polygon has no area", "2 of 11 lines: left out: only a box (5 numbers)", "5 numbers after the class",
    ):  # fmt: skip
        assert said in told, said


def test_yolo_sets_of_boxes_are_refused(tmp_path):
    path = yolo(tmp_path, "0 .5 .5 .2 .2\n1 .5 .5 .2 .2\n")
    (tmp_path / "train" / "labels" / "b.txt").unlink()
    with pytest.raises(DataError, match="a set of boxes: all 2 lines"):
        load(path)


def test_yolo_texts_beside_pictures_and_lists_of_pictures(tmp_path):
    path = write("yolo", tmp_path)
    texts = tmp_path / "train" / "labels"
    (tmp_path / "list.txt").write_text("train/images/b.png\n\n")
    path.write_text("path: .\ntrain: [list.txt]\nnames: {0: cat, 1: dog}\n")
    assert [len(r.annotations) for r in load(path).records] == [2]
    for name in ("a.txt", "b.txt"):
        (texts / name).rename(tmp_path / "train" / "images" / name)
    texts.rmdir()
    (tmp_path / "train" / "images").rename(tmp_path / "all")
    path.write_text("train: {images: all}\nnames: [cat, dog]\n")
    assert [len(r.annotations) for r in load(path).records] == [2, 2]
    (tmp_path / "all" / "a.txt").unlink()
    dataset = load(path)
    assert [len(r.annotations) for r in dataset.records] == [0, 2]
    assert "1 of 2 pictures: kept as background: there is no text" in str(dataset.problems[0])


@pytest.mark.parametrize(
    ("names", "message"),
    [("[]", "`names` must be"), ("[a, a]", "'a' more than once"), ("{x: a}", "'x'"), ("[a, null]", "None")],
)
def test_yolo_names(names, message, tmp_path):
    with pytest.raises(DataError, match=message):
        load(yolo(tmp_path, "", names))


# Label images, clips


def test_label_images_of_one_class_and_broken_ones(tmp_path):
    path = write("label-images", tmp_path)
    path.write_text("names: [thing]\ntrain: {images: photographs, instances: ids}\n")
    dataset = load(path)
    assert dataset.classes == ("thing",) and [len(r.annotations) for r in dataset.records] == [2, 2]
    path.write_text("names: [cat, dog]\ntrain: {images: photographs, instances: ids}\n")
    with pytest.raises(DataError, match="2 class names but no `semantic`"):
        load(path)
    path.write_text("names: [thing]\ntrain: {images: photographs, instances: ids}\n")
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "ids" / "a.png")
    assert "one channel, this has R/G/B" in str(load(path).problems[0])
    Image.new("L", (WIDTH, 5), 1).save(tmp_path / "ids" / "a.png")
    dataset = load(path)
    assert len(dataset) == 1 and "says 60 x 5; was it resized" in str(dataset.problems[0])
    (tmp_path / "ids" / "a.png").write_bytes(b"")
    assert "broken label image" in str(load(path).problems[0])
    (tmp_path / "ids" / "a.png").unlink()
    dataset = load(path)
    assert "no such label image" in str(dataset.problems[0]) and len(dataset) == 1


def test_a_decompression_bomb_is_refused(tmp_path):
    """A PNG of a few bytes that says it is 60,000 x 60,000."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    path = write("label-images", tmp_path)
    (tmp_path / "ids" / "a.png").write_bytes(bomb)
    assert "broken label image (Image size (3600000000 pixels) exceeds limit" in str(load(path).problems[0])
    (tmp_path / "photographs" / "b.png").write_bytes(bomb)
    with pytest.raises(DataError, match="none of its 2 pictures can be used"):
        load(path)
    with pytest.raises(DataError, match="b.png: has more than [0-9,]+ pixels; cut it into tiles"):
        read_image(tmp_path / "photographs" / "b.png")


def test_one_object_of_255_is_davis_2016(tmp_path):
    path = write("davis", tmp_path)
    for number in (0, 1):
        labels = label_image(number, (255, 0, 0, 255))
        save_labels(tmp_path / "Annotations" / "480p" / "pets" / f"0000{number}.png", labels)
    assert [[a.track_id for a in r.annotations] for r in load(path).records] == [[1], [1]]
    labels = label_image(0, (255, 3, 0, 0))
    save_labels(tmp_path / "Annotations" / "480p" / "pets" / "00000.png", labels)
    assert [[a.track_id for a in r.annotations] for r in load(path).records] == [[3], []]  # 255 is void
    path.write_text("train: {root: ., every: 2, clips: [pets]}\n")
    assert [r.frame_of for r in load(path).records] == [("pets", 0)]
    path.write_text("train: {root: ., clips: [cows]}\n")
    with pytest.raises(DataError, match="no clip 'cows'; there are pets"):
        load(path)


def test_youtube_vis_frames_and_what_is_wrong(tmp_path):
    path = write("youtube-vis", tmp_path)
    path.write_text("train: {annotations: instances.json, images: frames, every: 2}\n")
    assert [r.frame_of for r in load(path).records] == [("pets", 0)]
    content = json.loads((tmp_path / "instances.json").read_text())
    first, second, third = content["annotations"]
    first["segmentations"].append(None)
    second["video_id"] = 9
    del third["segmentations"]
    content["videos"] += [{"id": 5, "file_names": ["x"]}, {"id": 6}]
    content["videos"][0]["file_names"][1] = "../../etc/passwd"
    (tmp_path / "instances.json").write_text(json.dumps(content))
    dataset = load(path)
    assert [len(r.annotations) for r in dataset.records] == [1]
    told = "\n".join(map(str, dataset.problems))
    for said in ("the last 1 of its 3", "video id 9", "no list `segmentations`", "left out: another one"):
        assert said in told, said
    assert "video number 2" in told and "not a path inside the folder" in told
    del content["annotations"]
    (tmp_path / "instances.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="no list `annotations`; is it of a part"):
        load(path)


def test_wad_is_cropped_and_scaled(tmp_path):
    path = write("wad", tmp_path)
    path.write_text("train: {format: wad, images: color, labels: label, crop: [10, 6], scale: 0.5}\n")
    dataset = load(path)
    assert dataset.classes[0] == "car" and len(dataset.classes) == 7
    for number, record in enumerate(dataset.records):
        assert (record.height, record.width) == (12, 30) == record.read_image().shape[:2]
        small = picture(number)[10:34].reshape(12, 2, 30, 2, 3).mean((1, 3))
        assert np.abs(record.read_image() - small).mean() < 12  # of a JPEG
        for annotation in record.annotations:
            found = np.kron(decoded(annotation, 12, 30), np.ones((2, 2), bool))
            overlap = max((mask(n)[10:34] & found).sum() / (mask(n)[10:34] | found).sum() for n in range(4))
            assert overlap > 0.8
    path.write_text("train: {format: wad, images: color, labels: label, crop: [30, 20]}\n")
    with pytest.raises(DataError, match="nothing is left of its 40 rows"):
        load(path)


# Annotation tools


def via(folder, change):
    path = write("via", folder)
    content = json.loads((folder / "via.json").read_text())
    content = change(content) or content
    (folder / "via.json").write_text(json.dumps(content))
    return path


def test_via_projects_circles_and_ellipses(tmp_path):
    def change(content):
        for entry in content.values():  # version 1: an object, not a list
            entry["regions"] = {str(k): region for k, region in enumerate(entry["regions"])}
        first = content["a.png123"]["regions"]
        first["0"]["shape_attributes"] = {"name": "circle", "cx": 20, "cy": 20, "r": 10}
        shape = {"name": "ellipse", "cx": 40, "cy": 20, "rx": 15, "ry": 5, "theta": np.pi / 2}
        first["1"]["shape_attributes"] = shape
        return {"_via_settings": {}, "_via_img_metadata": content}

    circle, ellipse = load(via(tmp_path, change)).records[0].annotations
    assert circle.area == pytest.approx(np.pi * 100, rel=0.005)
    np.testing.assert_allclose(circle.box, (10, 10, 30, 30), atol=0.05)
    assert ellipse.area == pytest.approx(np.pi * 75, rel=0.005)
    np.testing.assert_allclose(ellipse.box, (35, 5, 45, 35), atol=0.05)


def test_via_what_is_wrong(tmp_path):
    def change(content):
        first, second = content["a.png123"]["regions"]
        first["shape_attributes"] = {"name": "point", "cx": 1, "cy": 1}
        second["region_attributes"] = {"kind": {"dog": True, "cat": False}}  # checkboxes
        content["b.png123"]["regions"][0]["region_attributes"] = {"kind": ""}
        content["c"] = {"filename": "/etc/passwd", "regions": []}

    dataset = load(via(tmp_path, change))
    found = [[dataset.classes[a.class_index] for a in record.annotations] for record in dataset.records]
    assert found == [["dog"], ["cat"]]
    told = "\n".join(map(str, dataset.problems))
    assert "a point has no mask" in told and "names no class" in told and "not a path inside" in told

    def two(content):
        content["a.png123"]["regions"][0]["region_attributes"]["age"] = "old"

    with pytest.raises(DataError, match=r"several attributes \(kind, age\)"):
        load(via(tmp_path, two))
    path = tmp_path / "data.yaml"
    path.write_text("train: {annotations: via.json, images: pictures, attribute: age}\n")
    assert load(path).classes == ("old",)


def test_labelme_groups_and_what_is_wrong(tmp_path):
    path = write("labelme", tmp_path)
    file = tmp_path / "labelled" / "a.json"
    content = json.loads(file.read_text())
    part = [[40, 2], [50, 2], [50, 8]]
    content["shapes"][0]["group_id"] = 4
    content["shapes"] += [
        {"label": "cat", "points": part, "group_id": 4},
        {"label": "dog", "points": part, "group_id": 4},
        {"label": "cat", "points": [[1, 1], [5, 5]], "shape_type": "line"},
        {"label": "", "points": part},
        {"label": "cat", "points": [[1, 1], [5, "x"]], "shape_type": "rectangle"},
        {"label": "cat", "points": [[1, 1], [5, 5]], "shape_type": "mask", "mask": "no base64"},
        {"label": "cat", "points": [[10, 10], [13, 10]], "shape_type": "circle"},
    ]
    file.write_text(json.dumps(content))
    (tmp_path / "labelled" / "c.json").write_text("{")
    (tmp_path / "labelled" / "d.json").write_text('{"shapes": [], "imagePath": "../../d.png"}')
    dataset = load(path)
    found = [(dataset.classes[a.class_index], len(a.segmentation)) for a in dataset.records[0].annotations]
    assert found == [("cat", 2), ("dog", 1), ("dog", 1), ("cat", 1)]
    assert dataset.records[0].annotations[3].area == pytest.approx(np.pi * 9, rel=0.005)
    told = "\n".join(map(str, dataset.problems))
    for said in ("a line has no mask", "no `label`", "are not numbers", "its mask cannot be read"):
        assert said in told, said
    assert "broken JSON" in told and "d.json: left out: its `imagePath`" in told


# The data file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {format: voc, images: a}", "format 'voc' is none of"),
        ("train: {format: davis}", "format davis needs root; `root` is missing"),
        ("train: {images: a}", "`annotations`"),
        ("train: {annotations: a.json}", "format json needs annotations, images; `images` is missing"),
        ("train: {root: ., clip: [a]}", "unknown key `clip`; format davis has"),
        ("train: {root: ., every: 0}", "`every` must be a whole number from 1"),
        ("train: {root: ., clips: pets}", "`clips` must be a list"),
        ("train: {root: 5}", "`root` must be a path"),
        ("train: {images: a, instances: b}", "needs `names"),
        ("train: {format: wad, images: a, labels: b, crop: 5}", "`crop` must be"),
        ("train: {format: wad, images: a, labels: b, scale: 2}", "`scale` must be a number"),
        ("train: {annotations: instances.json, images: frames, attribute: x}", "unknown key `attribute`"),
        ("train: [a]", "it needs lines such as"),
        ("names: [a]\npath: none\ntrain: a", "`path` none: no such folder"),
        ("names: [a]\ntrain: nowhere", "no such folder of pictures"),
        ("names: [a]\npath: .\ntrain: [1]", "must be a path or a list of paths"),
        ("names: [a, yes]\ntrain: a", "in quotes where YAML"),
        ("names: [a]\ntrain: {images: list.txt, labels: a}", "no such folder"),
        ('train: !!int ""', "broken YAML"),
        ("train: !!timestamp xx", "broken YAML"),
        ("train: " + "[" * 3000, "brackets within each other"),
        ("train: {root: ., every: 0x" + "f" * 4000 + "}", "`every` must be a whole number"),
        ("train: {format: wad, images: a, labels: b, crop: [" + "9" * 400 + ", 0]}", "`crop` must be"),
        ('train: {root: "\\ud800"}', "`root` must be a path"),
        ("names: [a]\n", "not a data file"),
    ],
)
def test_entries_that_cannot_be_read(text, message, tmp_path):
    path = write("youtube-vis", tmp_path)
    path.write_text(text + "\n")
    with pytest.raises(DataError, match=message):
        load(path)


def test_instances_have_the_same_geometry_in_training(tmp_path):
    """An RLE and a polygon of one object give the network the same mask but for its rim."""
    (tmp_path / "yolo").mkdir()
    (tmp_path / "vis").mkdir()
    polygons, rles = (load(write(f, tmp_path / d)) for f, d in (("yolo", "yolo"), ("youtube-vis", "vis")))
    for drawn, stored in zip(polygons.records, rles.records, strict=True):
        boxes = {a.class_index: a for a in stored.annotations}
        for annotation in drawn.annotations:
            one, other = (
                Instance.from_annotation(a).rasterise(HEIGHT, WIDTH) > 0
                for a in (annotation, boxes[annotation.class_index])
            )
            assert (one & other).sum() / (one | other).sum() > 0.95


@pytest.mark.parametrize("format", WRITERS)
def test_mutated_files_end_in_records_or_in_a_clear_error(format, tmp_path):
    """300 of them; `tests/fuzz_readers.py` tries as many as one likes."""
    ends = fuzz(format, 300, tmp_path)
    assert ends["records"] > 30 and ends["refused"] > 30


def test_boxes_that_are_not_numbers_are_made_again(tmp_path):
    path = write("coco", tmp_path)
    file = tmp_path / "train" / "_annotations.coco.json"
    content = json.loads(file.read_text())
    content["annotations"][1]["bbox"] = [0, float("nan"), 5, 5]
    file.write_text(json.dumps(content))
    assert load(path).records[0].annotations[1].box == (30, 10, 55, 35)


def test_one_picture_in_two_entries_is_one(tmp_path):
    def change(content):
        content["again"] = {**content["a.png123"], "regions": content["a.png123"]["regions"][:1]}

    dataset = load(via(tmp_path, change))
    assert [len(record.annotations) for record in dataset.records] == [3, 2]
    assert "named twice: its annotations are put together" in str(dataset.problems[0])


def test_clips_of_one_folder_are_told_apart(tmp_path):
    path = write("youtube-vis", tmp_path)
    content = json.loads((tmp_path / "instances.json").read_text())
    content["videos"].append({**content["videos"][0], "id": 6})
    content["videos"].append({"id": 7, "file_names": ["flat.png"]})
    content["annotations"].append(content["annotations"][0])
    (tmp_path / "instances.json").write_text(json.dumps(content))
    Image.fromarray(picture(0)).save(tmp_path / "frames" / "flat.png")
    dataset = load(path)
    clips = [record.frame_of[0] for record in dataset.records]
    assert clips == ["pets", "pets", "pets 6", "pets 6", "instances 7"]
    assert "another one has the same id" in str(dataset.problems[0])
    for entry in content["annotations"]:
        entry.pop("segmentations", None)
    (tmp_path / "instances.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="no annotation has a list `segmentations`"):
        load(path)


def test_class_images_and_names_must_agree(tmp_path):
    path = write("label-images", tmp_path)
    path.write_text(path.read_text().replace("{1: cat, 2: dog}", "[cat, dog]"))
    with pytest.raises(DataError, match="0 is background there and 255 ignored; write `names: {1: first"):
        load(path)
    noise = np.random.default_rng(0).permutation(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
    assert len(label_rles(noise)) == WIDTH * HEIGHT - 1
    with pytest.raises(DataError, match="more than 10000 different values"):
        label_rles(np.arange(20_000).reshape(100, 200))
