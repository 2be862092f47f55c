"""`yoloseg data check` and `convert`: what is said of broken sets, and round trips through every format."""

import json
import shutil

import cv2
import numpy as np
import pytest
from annotated import HEIGHT, WIDTH, WRITERS, picture, rle, write
from pycocotools import mask as mask_utils

from yoloseg.cli import main
from yoloseg.data.check import check_data, class_problems
from yoloseg.data.convert import write_datasets
from yoloseg.data.datafile import load_datasets
from yoloseg.data.labelme_writer import write_labelme
from yoloseg.data.records import Annotation, Dataset, Problem, Record
from yoloseg.data.split import merged, split_dataset
from yoloseg.data.write_pictures import PictureNames
from yoloseg.data.yolo_writer import outline
from yoloseg.data.youtube_vis_writer import vis_document, write_youtube_vis
from yoloseg.errors import DataError, UsageError
from yoloseg.evaluation.data_report import write_data_report


def decoded(annotation):
    shape = annotation.segmentation
    if not isinstance(shape, dict):
        parts = [np.asarray(part, np.float64).ravel().tolist() for part in shape]
        shape = mask_utils.merge(mask_utils.frPyObjects(parts, HEIGHT, WIDTH))
    return mask_utils.decode(shape) > 0


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("to", ["coco", "yolo", "youtube-vis", "labelme"])
@pytest.mark.parametrize("format", WRITERS)
def test_round_trips(format, to, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    path = write(format, tmp_path / "in")
    before = load_datasets(path)
    status = main(["data", "convert", "--data", str(path), "--to", to, "--out", str(tmp_path / "out")])
    if to == "youtube-vis" and format not in ("davis", "youtube-vis"):
        assert status == 2 and "is no frame of a clip" in capsys.readouterr().err
        return
    assert status == 0, capsys.readouterr().err
    after = load_datasets(tmp_path / "out" / "data.yaml")
    for split, dataset in before.items():
        assert to == "labelme" or after[split].classes == dataset.classes  # it holds those in use
        assert len(after[split]) == len(dataset)
        for old, new in zip(dataset.records, after[split].records, strict=True):
            np.testing.assert_array_equal(new.read_image(), old.read_image())
            names = [after[split].classes[a.class_index] for a in new.annotations]
            assert names == [dataset.classes[a.class_index] for a in old.annotations]
            for one, other in zip(old.annotations, new.annotations, strict=True):
                exact = isinstance(one.segmentation, dict) or to == "youtube-vis"
                assert iou(decoded(one), decoded(other)) >= (1 if exact else 0.99)
        if to == "youtube-vis":
            tracks = [[a.track_id for a in r.annotations] for r in after[split].records]
            assert tracks == [[1, 2], [1, 2]]
            assert [r.frame_of for r in after[split].records] == [("pets", 0), ("pets", 1)]


def test_what_yolo_cannot_hold_is_said(tmp_path):
    """Parts become one polygon; a crowd is left out."""
    triangle = np.array([[2, 2], [8, 2], [8, 8]], np.float32)
    parts = (triangle, triangle + 20)
    box = (2.0, 2.0, 28.0, 28.0)
    crowd = Annotation(0, rle(1) | {"counts": rle(1)["counts"].encode()}, box, 1.0, crowd=True)
    record = Record(1, lambda: picture(0), HEIGHT, WIDTH, (Annotation(0, parts, box, 1.0), crowd))
    dataset = Dataset("set", ("cat",), (1,), [record])
    path, lost = write_datasets({"val": dataset}, "yolo", tmp_path / "out")
    assert "1 crowds: left out" in str(lost[0])
    (annotation,) = load_datasets(path, ("val",))["val"].records[0].annotations
    assert iou(decoded(annotation), decoded(record.annotations[0])) > 0.99
    with pytest.raises(UsageError, match="exists; remove it"):
        write_datasets({"val": dataset}, "yolo", tmp_path / "out")


def polygons(*parts):
    return tuple(np.array(part, np.float32) for part in parts)


def test_what_polygons_lose_when_joined_is_drawn_instead(tmp_path):
    """Parts that overlap, and corners outside the picture: YOLO text has neither."""
    overlapping = polygons([[5, 5], [25, 5], [25, 25], [5, 25]], [[15, 15], [35, 15], [35, 30], [15, 30]])
    beyond = polygons([[40, 10], [200, 10], [200, 30], [40, 30]])
    nothing = polygons([[100, 100], [120, 100], [120, 120]])
    shapes = (overlapping, beyond, nothing)
    annotations = tuple(Annotation(0, shape, (0.0, 0.0, 1.0, 1.0), 1.0) for shape in shapes)
    record = Record(1, lambda: picture(0), HEIGHT, WIDTH, annotations)
    path, lost = write_datasets({"val": Dataset("set", ("cat",), (1,), [record])}, "yolo", tmp_path / "out")
    assert [str(problem) for problem in lost] == ["set: 1 instances: left out: no pixel in the picture"]
    dataset = load_datasets(path, ("val",))["val"]
    found = [decoded(annotation) for annotation in dataset.records[0].annotations]
    assert not dataset.problems and [int(mask.sum()) for mask in found] == [400 + 300 - 100, 400]


def test_every_picture_gets_a_name_of_its_own(tmp_path):
    records, names = [], PictureNames()
    for number, name in enumerate(
        ("a/x.png", "b/x_2.png", "c/x.png", "images.png", ".x.png", "X.png", "y\\z.png", "c:1.png")
    ):
        records.append(Record(number, tmp_path / name, 5, 5))
    stems = [names.stem(record) for record in records]
    assert len({stem.casefold() for stem in stems}) == 8 and stems[3:5] == ["_images", "_.x"]
    assert stems[6:] == ["y_z", "c_1"], "no separator, and no drive, of Windows"
    assert names.stem(Record(9, lambda: None, 5, 5, frame_of=("images", 3))) == "_images/00003"


def test_classes_that_differ_by_spaces_are_no_labelme():
    with pytest.raises(DataError, match="class 'car' and another differ by spaces"):
        write_labelme(Dataset("d", ("car", "car ", "dog"), (1, 2, 3), []), "nowhere")


def test_a_track_that_is_a_crowd_in_one_frame_is_two():
    square = (np.array([[1, 1], [9, 1], [9, 9]], np.float32),)
    seen = [Annotation(0, square, (1, 1, 9, 9), 32.0, n == 1, None, 5) for n in range(3)]
    records = [Record(n, lambda: None, 10, 10, (one,), ("c", n)) for n, one in enumerate(seen)]
    content, _ = vis_document(Dataset("d", ("a",), (1,), records))
    told = [(one["iscrowd"], [r is not None for r in one["segmentations"]]) for one in content["annotations"]]
    assert told == [(0, [True, False, True]), (1, [False, True, False])]


def test_yolo_traces_polygons_only_where_they_overlap():
    """Two triangles whose boxes cross, which have no pixel in common, keep their corners."""
    upper = np.array([[0, 0], [8, 0], [0, 8]], np.float32) + (1, 1)
    lower = np.array([[8, 8], [8, 0], [0, 8]], np.float32) + (4, 4)
    apart = Annotation(0, (upper, lower), (1, 1, 12, 12), 64.0)
    corners = outline(apart, 16, 16)
    assert {tuple(p) for p in corners.tolist()} == {tuple(p) for p in np.concatenate([upper, lower]).tolist()}
    same = Annotation(0, (upper, upper + 2), (1, 1, 11, 11), 64.0)
    assert len(outline(same, 16, 16)) > 12


def test_clips_stay_clips_through_coco(tmp_path):
    path = write("davis", tmp_path)
    path, _ = write_datasets(load_datasets(path), "coco", tmp_path / "out")
    dataset = load_datasets(path)["train"]
    assert [record.frame_of for record in dataset.records] == [("pets", 0), ("pets", 1)]
    assert [[a.track_id for a in record.annotations] for record in dataset.records] == [[1, 2], [1, 2]]


def test_pictures_are_copied_as_they_are(tmp_path):
    path = write("coco", tmp_path)
    write_datasets(load_datasets(path), "coco", tmp_path / "out")
    for name in ("a.png", "b.png"):
        copy = tmp_path / "out" / "train" / "images" / name
        assert copy.read_bytes() == (tmp_path / "train" / name).read_bytes()


def many(folder):
    """Twelve more boxes."""
    file = folder / "_annotations.coco.json"
    content = json.loads(file.read_text())
    for k in range(12):
        x, y = 6 + k, 4 + 2 * k
        shape = {"segmentation": [[0, 0, x, 0, x, y, 0, y]], "image_id": k % 2, "category_id": 3}
        content["annotations"].append({"id": 100 + k} | shape)
    file.write_text(json.dumps(content))


def test_check_of_a_sound_set(tmp_path, capsys):
    path = write("coco", tmp_path)
    many(tmp_path / "train")
    other = tmp_path / "other"
    other.mkdir()
    shutil.copytree(tmp_path / "train", other / "val")
    for k, name in enumerate(("a.png", "b.png")):
        cv2.imwrite(str(other / "val" / name), picture(5 + k))
    path.write_text("train: train\nval: other/val\n")
    assert main(["data", "check", "--data", str(path)]) == 0
    out = capsys.readouterr().out
    assert "data train: 2 pictures, 16 instances of 2 classes" in out and "cat 14, dog 2" in out
    assert "not a class: only the heading" in out and "looks the same" not in out


def test_check_says_what_is_wrong(tmp_path, capsys):
    path = write("coco", tmp_path)
    many(tmp_path / "train")
    val = tmp_path / "val"
    shutil.copytree(tmp_path / "train", val)
    grey = cv2.imread(str(val / "a.png"))
    cv2.imwrite(str(val / "a.png"), cv2.add(grey, 2))  # the same to the eye
    content = json.loads((val / "_annotations.coco.json").read_text())
    content["categories"] = [
        {"id": 3, "name": "dog"},
        {"id": 7, "name": "cat"},
        {"id": 8, "name": "Cat "},
        {"id": 9, "name": "CafÃ©"},
    ]
    content["annotations"][0]["category_id"] = 99
    content["images"].append({"id": 7, "file_name": "../secret.png", "height": 4, "width": 4})
    (val / "_annotations.coco.json").write_text(json.dumps(content))
    path.write_text("train: train\nval: val\n")
    assert main(["data", "check", "--data", str(path), "--fix", str(tmp_path / "fixed")]) == 0
    out = capsys.readouterr().out
    for said in (
        "annotation 0 of image 0 (a.png): left out: category id 99",
        "image 7 (../secret.png): left out",
        "'CafÃ©': written in a wrong encoding; 'Café' is meant",
        "classes 'cat', 'Cat ': differ only in how they are written",
        "2 classes: have another id than in 'data train': matched by name (dog 3 (7), cat 7 (3))",
        "looks the same as " + str(tmp_path / "train" / "a.png") + " of `train`: scores on it flatter",
    ):
        assert said in out, said
    assert "2 of 4 classes: never annotated: Cat , CafÃ©" in (tmp_path / "fixed" / "dropped.txt").read_text()
    fixed = load_datasets(tmp_path / "fixed" / "data.yaml")
    assert [len(r.annotations) for r in fixed["val"].records] == [7, 8]
    assert main(["data", "check", "--data", str(path), "--fix", str(tmp_path / "fixed")]) == 2


def test_pictures_damaged_in_the_middle(tmp_path, capsys):
    """Their header and end are there: only pixels tell. --fix leaves them out."""
    path = write("coco", tmp_path)
    many(tmp_path / "train")
    shutil.copytree(tmp_path / "train", tmp_path / "val")
    damaged = tmp_path / "val" / "b.png"
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    cv2.imwrite(str(damaged), noise)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    damaged.write_bytes(content)
    path.write_text("train: train\nval: val\n")
    assert main(["data", "check", "--data", str(path), "--fix", str(tmp_path / "fixed")]) == 1
    assert f"training would refuse: {damaged}: truncated or broken" in capsys.readouterr().out
    assert str(damaged) in (tmp_path / "fixed" / "dropped.txt").read_text()
    assert main(["data", "check", "--data", str(tmp_path / "fixed" / "data.yaml")]) == 0
    assert len(load_datasets(tmp_path / "fixed" / "data.yaml")["val"]) == 1


def test_check_refuses_what_training_would(tmp_path, capsys):
    path = write("coco", tmp_path)
    path.write_text("train: train\nval: train\ntest: {annotations: none.json, images: train}\n")
    assert main(["data", "check", "--data", str(path)]) == 0
    assert "not to be used: " in capsys.readouterr().out
    path.write_text("train: train\n")
    assert main(["data", "check", "--data", str(path)]) == 1
    assert "training would refuse: " in capsys.readouterr().out
    path.write_text("train: train\nval: {annotations: none.json, images: train}\n")
    assert main(["data", "check", "--data", str(path)]) == 1
    assert "none.json: cannot be read" in capsys.readouterr().out
    shutil.copytree(tmp_path / "train", tmp_path / "val")
    file = tmp_path / "val" / "_annotations.coco.json"
    file.write_text(file.read_text().replace('"cat"', '"cow"'))
    path.write_text("train: train\nval: val\n")
    found = check_data(path, pictures=False)
    assert len(found.refusals) == 1 and "'cow' is annotated here but is none of" in found.refusals[0]
    assert main(["data", "check", "--data", str(tmp_path / "none.yaml")]) == 2


def test_names_in_a_wrong_encoding():
    names = ("Ã¶", "ö", "naïve", "a\N{REPLACEMENT CHARACTER}b", "traffic light", "traffic_light", " pole")
    told = [f"{p.record}: {p.message}" for p in class_problems(Dataset("d", names, tuple(range(7)), []), "f")]
    told = [line for line in told if "never" not in line]
    assert len(told) == 4
    assert told[0] == "class 'Ã¶': written in a wrong encoding; 'ö' is meant"
    assert "broken characters" in told[1] and "spaces at its ends" in told[2]
    assert told[3] == "classes 'traffic light', 'traffic_light': differ only in how they are written"


def test_clips_on_both_sides_are_said(tmp_path):
    path = write("davis", tmp_path)
    text = "\n".join(map(str, check_data(path).problems))
    assert "frames of 1 clips: stand in `train` too: pets" in text
    with pytest.raises(DataError, match="cannot be read"):
        check_data(tmp_path / "none.yaml")


def test_the_split_command_keeps_what_looks_the_same_together(tmp_path, capsys):
    path = write("coco", tmp_path)  # train and val are the same pictures
    out = tmp_path / "out"
    flags = ["--data", str(path), "--out", str(out), "--train", "0.5", "--val", "0.5"]
    assert main(["data", "split", *flags]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert "written: " in told
    assert told.count("heading of the others") == 2, "what the readers left out of each split, too"
    datasets = load_datasets(out / "data.yaml")
    assert [len(dataset) for dataset in datasets.values()] == [2, 2]
    for dataset in datasets.values():
        np.testing.assert_array_equal(dataset.read_image(0), dataset.read_image(1))


def test_stats_of_a_set(tmp_path, capsys):
    path = write("coco", tmp_path)
    assert main(["data", "stats", "--data", str(path), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "data.html").read_text()
    assert "<td>cat</td><td>2</td><td>2</td>" in page
    assert "<td>train</td><td>2</td><td>0</td><td>4</td>" in page
    assert page.count("data:image/") == 8  # four of each split; anchors of four boxes are these and multiples
    assert "No anchors" not in page and "looks the same as" in page
    for name in ("train_labels.png", "train_shapes.png", "train_gallery.jpg"):
        assert cv2.imread(str(tmp_path / "out" / name)).std() > 1
    assert main(["data", "stats", "--data", str(path), "--out", str(tmp_path), "--imgsz", "0"]) == 2


def test_stats_tell_what_check_tells(tmp_path):
    """Why the test split cannot be used; and of very many problems some of each file, what compares splits
    before all."""
    path = write("coco", tmp_path)
    path.write_text("train: train\nval: train\ntest: {annotations: none.json, images: train}\n")
    found = check_data(path)
    assert found.unusable and not found.refusals
    many = [Problem("labels.json", f"annotation {number}", "too small") for number in range(300)]
    found.problems = [*many, Problem("other.json", "annotation 1", "alone"), *found.problems]
    write_data_report(tmp_path / "out", found, "many", (64, 64))
    page = (tmp_path / "out" / "data.html").read_text()
    assert "The test split cannot be used as it is" in page and "none.json" in page
    assert "looks the same as" in page and "other.json" in page and "more: `yoloseg data check`" in page


def test_areas_that_are_boxes_are_said(tmp_path):
    path = write("coco", tmp_path)
    file = tmp_path / "train" / "_annotations.coco.json"
    content = json.loads(file.read_text())
    content["annotations"][3]["area"] = 23 * 18  # of the triangle's box
    file.write_text(json.dumps(content))
    told = [str(problem) for problem in check_data(path, pictures=False).problems]
    assert any("area of 1 of 4 annotations: is more than 20% off" in line for line in told)


def test_clips_of_one_name_from_different_folders_are_two(tmp_path):
    """`video_001` of the train split is not that of the val split; of one folder it is."""
    datasets = []
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        path = write("davis", tmp_path / split)
        datasets.append(load_datasets(path, ("train",))["train"])
    both = merged(datasets, "both")
    assert [record.frame_of[0] for record in both.records] == ["pets", "pets", "pets (2)", "pets (2)"]
    path, _ = write_datasets({"train": both, "val": both}, "youtube-vis", tmp_path / "out")
    document = json.loads((path.parent / "train" / "annotations.json").read_text())
    assert [(one["name"], one["length"]) for one in document["videos"]] == [("pets", 2), ("pets (2)", 2)]
    assert len(document["annotations"]) == 4
    with pytest.raises(DataError, match="there are 1 that may be apart"):  # it may be one clip copied
        split_dataset(both, {"train": 0.5, "val": 0.5}, apart=False)
    same = merged([datasets[0], datasets[0]], "same")
    assert {record.frame_of[0] for record in same.records} == {"pets"}


@pytest.mark.parametrize("to", ["yolo", "labelme", "coco"])
def test_what_forms_without_clips_lose_is_said(to, tmp_path):
    _, lost = write_datasets(load_datasets(write("davis", tmp_path)), to, tmp_path / "out")
    told = [str(problem) for problem in lost if "which clip they are of" in str(problem)]
    assert len(told) == (0 if to == "coco" else 2) and all("2 frames" in one for one in told)


def test_masks_of_less_than_a_pixel_are_not_seen_in_a_track(tmp_path):
    square = np.array([[2, 2], [12, 2], [12, 12], [2, 12]], np.float32)
    speck = np.array([[2.1, 2.1], [2.2, 2.1], [2.2, 2.2]], np.float32)
    records = []
    for frame, shapes in enumerate([(square, speck), (speck, speck)]):
        annotations = tuple(Annotation(0, (s,), (2, 2, 3, 3), 1.0, track_id=n) for n, s in enumerate(shapes))
        records.append(Record(frame, lambda: picture(0), HEIGHT, WIDTH, annotations, frame_of=("c", frame)))
    write_youtube_vis(Dataset("made", ("a",), (1,), records), tmp_path / "out")
    (track,) = json.loads((tmp_path / "out" / "annotations.json").read_text())["annotations"]
    assert [one is not None for one in track["segmentations"]] == [True, False]
    assert track["bboxes"][1] is None and track["areas"][1] is None


def test_folders_that_cannot_be_made_anew(tmp_path, monkeypatch, capsys):
    path = write("coco", tmp_path)
    flags = ["data", "convert", "--data", str(path), "--to", "coco", "--out"]
    for name in ("here", "disk", "linked to"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main([*flags, "."]) == 2
    assert "name one inside it" in capsys.readouterr().err
    monkeypatch.setattr("os.path.ismount", lambda folder: folder.name == "disk")
    assert main([*flags, str(tmp_path / "disk")]) == 2
    assert "name one inside it" in capsys.readouterr().err
    (tmp_path / "link").symlink_to(tmp_path / "linked to")
    assert main([*flags, str(tmp_path / "link")]) == 0, capsys.readouterr().err
    assert (tmp_path / "linked to" / "data.yaml").exists() and (tmp_path / "link").is_symlink()
