"""What readers must not pass over: key points, labels without pictures, links, ids of 16 bits, classes that a
split lacks."""

import json
import os
import shutil

import numpy as np
import pytest
import yaml
from annotated import HEIGHT, WIDTH, picture, write
from PIL import Image
from test_formats import decoded, load

from yoloseg.data.datafile import load_datasets
from yoloseg.data.folders import find_files
from yoloseg.data.labelme import load_labelme
from yoloseg.errors import DataError


def test_key_points_are_not_taken_for_polygons(tmp_path):
    """tiger-pose: a box and twelve points in a line, of an even number of fractions."""
    path = write("yolo", tmp_path)
    path.write_text(path.read_text() + "\nkpt_shape: [12, 2]\n")
    with pytest.raises(DataError, match="a set of boxes and key points"):
        load(path)


def test_labels_without_a_picture_are_counted(tmp_path):
    for format, picture_name, told in (
        ("yolo", "images", "1 texts: left out: there is no picture of theirs; first: "),
        ("label-images", "photographs", "1 label images: left out: there is no picture of theirs; first: "),
    ):
        path = write(format, tmp_path / format)
        assert load(path).problems == []
        gone = sorted((tmp_path / format).rglob(f"{picture_name}/**/*.png"))[0]
        gone.unlink()
        (problem,) = load(path).problems
        assert told in str(problem) and gone.stem in str(problem), problem


def test_linked_folders_are_followed_and_circles_are_not(tmp_path):
    path = write("yolo", tmp_path / "set")
    images = next(p for p in (tmp_path / "set").rglob("images") if any(p.rglob("*.png")))
    count = len(load(path).records)
    shutil.move(images, tmp_path / "elsewhere")
    images.mkdir()
    (images / "linked").symlink_to(tmp_path / "elsewhere")
    (images / "again").symlink_to(images)
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    (images / "run5").mkdir()
    Image.fromarray(picture(0)).save(images / "run5" / "z.png")
    (images / "current").symlink_to(images / "run5")  # found under its own name, which its label has
    found = find_files(images, (".png",))
    assert len(found) == len(find_files(tmp_path / "elsewhere", (".png",))) + 1 >= count + 1
    assert {p.relative_to(images).parts[0] for p in found} == {"linked", "run5"}


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def refused(folder, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", str(tmp_path / "b")))
        return iter(())

    monkeypatch.setattr(os, "walk", refused)
    with pytest.raises(DataError, match="b: cannot be read: Permission denied"):
        find_files(tmp_path, (".png",))


@pytest.mark.parametrize(("bits", "kept"), [(8, [1, 254]), (16, [1, 254, 255, 300])])
def test_255_is_an_instance_where_there_are_16_bits(tmp_path, bits, kept):
    for folder in ("photographs", "ids"):
        (tmp_path / folder).mkdir()
    ids = np.zeros((HEIGHT, WIDTH), np.uint16 if bits == 16 else np.uint8)
    for n, value in enumerate((1, 254, 255, 300)[: 4 if bits == 16 else 3]):
        ids[10 * n : 10 * n + 8, 5:30] = value
    Image.fromarray(picture(0)).save(tmp_path / "photographs" / "a.png")
    Image.fromarray(ids).save(tmp_path / "ids" / "a.png")
    split = "{images: photographs, instances: ids}"
    (tmp_path / "d.yaml").write_text(f"names: {{1: cell}}\ntrain: {split}\n")
    dataset = load(tmp_path / "d.yaml")
    found = [ids[decoded(one)] for one in dataset.records[0].annotations]
    assert sorted(int(values[0]) for values in found) == kept
    assert all((values == values[0]).all() for values in found)


def test_a_chosen_class_that_one_split_does_not_show(tmp_path):
    """Of labelme the classes of a split are the labels in it."""
    path = write("labelme", tmp_path)
    content = yaml.safe_load(path.read_text())
    content["val"] = dict(content["train"], annotations=str(tmp_path / "val_only_cats"))
    shutil.copytree(tmp_path / content["train"]["annotations"], tmp_path / "val_only_cats")
    for file in (tmp_path / "val_only_cats").rglob("*.json"):
        document = json.loads(file.read_text())
        document["shapes"] = [one for one in document["shapes"] if one["label"] == "cat"]
        file.write_text(json.dumps(document))
    content.pop("names", None)
    path.write_text(yaml.safe_dump(content | {"classes": ["cat", "dog"]}))
    datasets = load_datasets(path)
    assert datasets["train"].classes == datasets["val"].classes == ("cat", "dog")
    assert {a.class_index for r in datasets["val"].records for a in r.annotations} == {0}
    with pytest.raises(DataError, match="names 'dog', which is no class of the set"):
        load_datasets(path, ("val",))
    assert load_datasets(path, ("val",), ("dog", "cat"))["val"].classes == ("cat",), "known to a network"
    path.write_text(yaml.safe_dump(content | {"classes": ["cat", "dgo"]}))
    with pytest.raises(DataError, match="names 'dgo', which is no class of the set; did you mean 'dog'"):
        load_datasets(path)


def test_labelme_names_with_spaces_and_splits_without_objects(tmp_path):
    path = write("labelme", tmp_path)
    content = yaml.safe_load(path.read_text())
    folder = tmp_path / content["train"]["annotations"]
    path.write_text(yaml.safe_dump(content | {"names": ["dog ", " cat"]}))
    dataset = load(path)
    assert dataset.classes == ("dog ", " cat") and dataset.problems == []
    for file in folder.rglob("*.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"shapes": []}))
    assert load_labelme(folder, names=["dog"]).records[0].annotations == ()
    with pytest.raises(DataError, match="no labelme file with a labelled shape"):
        load_labelme(folder)
