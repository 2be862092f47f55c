"""Data files, the classes of several splits, and the summary that commands print."""

import json

import numpy as np
import pytest
from PIL import Image

from yoloseg.data.classes import align_classes
from yoloseg.data.datafile import load_datasets, read_datafile
from yoloseg.data.summary import count_instances, summary
from yoloseg.errors import DataError

TRIANGLE = [[1, 1, 9, 1, 5, 8]]


def write_split(folder, split, categories, annotations, pictures=2):
    """A split of 10 x 12 pictures, ids from 0; annotations: (image id, category id), each a triangle."""
    images = folder / split
    images.mkdir(parents=True, exist_ok=True)
    for i in range(pictures):
        Image.fromarray(np.full((10, 12, 3), 20 * i, np.uint8)).save(images / f"{i}.png")
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 10, "width": 12} for i in range(pictures)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "segmentation": TRIANGLE, "bbox": [1, 1, 8, 7]}
            for n, (i, c) in enumerate(annotations)
        ],
        "categories": [{"id": c, "name": name, "supercategory": ""} for c, name in categories.items()],
    }
    (folder / f"{split}.json").write_text(json.dumps(content))


@pytest.fixture
def datafile(tmp_path):
    write_split(tmp_path, "train", {1: "cat", 2: "dog"}, [(0, 1), (0, 2), (1, 2)])
    write_split(tmp_path, "val", {1: "cat", 2: "dog"}, [(0, 1)])
    path = tmp_path / "pets.yaml"
    path.write_text(
        "train: {annotations: train.json, images: train}  # relative\n"
        f"val: {{annotations: {tmp_path}/val.json, images: {tmp_path}/val}}\n"
    )
    return path


def test_splits_are_read_from_relative_and_absolute_paths(datafile):
    datasets = load_datasets(datafile)
    assert list(datasets) == ["train", "val"]
    assert datasets["train"].name == "pets train"
    assert datasets["train"].classes == datasets["val"].classes == ("cat", "dog")
    assert [[a.class_index for a in r.annotations] for r in datasets["train"].records] == [[0, 1], [1]]
    assert datasets["train"].read_image(1)[0, 0].tolist() == [20, 20, 20]
    assert datasets["val"].problems == []


def test_classes_are_matched_by_name_in_the_order_of_train(datafile):
    write_split(datafile.parent, "val", {0: "dog", 1: "cat"}, [(0, 0), (1, 1)])
    val = load_datasets(datafile)["val"]
    assert val.classes == ("cat", "dog") and val.category_ids == (1, 0)
    assert [a.class_index for r in val.records for a in r.annotations] == [1, 0]


def test_a_class_missing_in_val_keeps_its_place(datafile):
    write_split(datafile.parent, "val", {1: "dog"}, [(0, 1)])
    val = load_datasets(datafile)["val"]
    assert val.classes == ("cat", "dog")
    assert val.category_ids == (2, 1)  # the file uses train's 1 for the dog
    assert val.records[0].annotations[0].class_index == 1
    assert "cat" in str(val.problems[0])


def test_a_foreign_class_is_dropped_when_unused_and_refused_when_used(datafile):
    categories = {1: "cat", 2: "dog", 7: "cow"}
    write_split(datafile.parent, "val", categories, [(0, 2)])
    val = load_datasets(datafile)["val"]
    assert val.classes == ("cat", "dog") and "cow" in str(val.problems[0])
    write_split(datafile.parent, "val", categories, [(0, 2), (0, 7)])
    with pytest.raises(DataError, match=r"val\.json.*'cow'.*cat, dog"):
        load_datasets(datafile)


def test_align_to_a_network(datafile):
    val = load_datasets(datafile, splits=("val",))["val"]
    aligned = align_classes(val, ("bird", "dog", "cat"))
    assert aligned.classes == ("bird", "dog", "cat") and aligned.category_ids == (3, 2, 1)
    assert aligned.records[0].annotations[0].class_index == 2
    assert align_classes(val, val.classes) is val


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_instances_is_refused(datafile, split):
    write_split(datafile.parent, split, {1: "cat", 2: "dog"}, [])
    with pytest.raises(DataError, match=rf"{split}\.json.*2 pictures but no instance"):
        load_datasets(datafile)


def test_an_empty_validation_set_is_refused(datafile):
    write_split(datafile.parent, "val", {1: "cat", 2: "dog"}, [], pictures=0)
    with pytest.raises(DataError, match=r"val\.json.*empty set"):
        load_datasets(datafile)


def test_a_test_split_may_be_all_background(datafile):
    write_split(datafile.parent, "test", {1: "cat", 2: "dog"}, [])
    datafile.write_text(datafile.read_text() + "test: {annotations: test.json, images: test}\n")
    assert len(load_datasets(datafile, ("train", "test"))["test"]) == 2


def test_pictures_in_both_splits_are_reported(datafile):
    text = "{annotations: train.json, images: train}"
    datafile.write_text(f"train: {text}\nval: {text}\n")
    problems = load_datasets(datafile)["val"].problems
    assert len(problems) == 1 and "2 of its 2 pictures: stand in 'pets train' too" in str(problems[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a data file"),
        ("- a\n- b\n", "not a data file"),
        ("train: {annotations: a.json, images: [}\n", "broken YAML.*line 1"),
        ("trian: {annotations: a.json, images: b}\n", "unknown key `trian`"),
        ("train: a.json\n", "`train`.*annotations: FILE.json"),
        ("train: {annotations: a.json}\n", "`train`.*`images` is missing"),
        ("train: {annotations: a.json, images: 3}\n", "`images` must be a path"),
        ("train: {annotations: a.json, images: b}\n", "no `val`"),
        ("train: {annotations: a.json, images: b}\nval: {annotations: a.json, images: b}\n", "a.json.*read"),
    ],
)
def test_bad_data_files(tmp_path, text, message):
    path = tmp_path / "d.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_datasets(path)


def test_not_a_data_file_at_all(tmp_path):
    with pytest.raises(DataError, match="none.yaml.*cannot be read"):
        read_datafile(tmp_path / "none.yaml")
    with pytest.raises(DataError, match=r"a\.json.*YAML"):
        read_datafile(tmp_path / "a.json")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00\xff")
    with pytest.raises(DataError, match="b.yaml"):
        read_datafile(tmp_path / "b.yaml")


def test_shapes_is_the_built_in_set(monkeypatch):
    shapes = pytest.importorskip("yoloseg.data.shapes")
    monkeypatch.setattr(shapes, "load_shapes", lambda split: f"the {split} set")
    assert load_datasets("shapes") == {"train": "the train set", "val": "the val set"}


def test_summary_counts_and_lists(datafile):
    write_split(datafile.parent, "train", {1: "cat", 2: "dog", 3: "cow"}, [(0, 1), (0, 2), (0, 2)])
    content = json.loads((datafile.parent / "train.json").read_text())
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"] += [{"id": 50 + i, "image_id": 0, "category_id": 9} for i in range(12)]
    (datafile.parent / "train.json").write_text(json.dumps(content))
    train = load_datasets(datafile)["train"]
    counts, crowds = count_instances(train)
    assert counts.tolist() == [0, 2, 0] and crowds == 1
    lines = summary(train).split("\n")
    assert lines[0] == "pets train: 2 pictures (1 without annotations), 2 instances of 3 classes, 1 crowd"
    assert lines[1:3] == ["  dog 2", "  never annotated: cat, cow"]
    assert lines[3] == "  12 problems met while reading:" and len(lines) == 15
    assert "annotation 50" in lines[4] and lines[-1] == "    ... and 2 more"
