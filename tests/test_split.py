"""Pictures that look alike, and a set divided: shares, clips and look-alikes."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from yoloseg.data.duplicates import alike, thumbnails
from yoloseg.data.records import Annotation, Dataset, Record
from yoloseg.data.split import split_dataset
from yoloseg.errors import DataError, UsageError


def test_alike_pictures_are_found_and_others_are_not(tmp_path):
    rng = np.random.default_rng(0)

    def scene(k):
        coarse = np.random.default_rng(k).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        return cv2.resize(coarse, (240, 200), interpolation=cv2.INTER_CUBIC)

    pictures = [scene(k) for k in range(30)]
    pictures.append(cv2.resize(scene(3), (120, 100), interpolation=cv2.INTER_AREA))
    noisy = scene(7).astype(int) + rng.integers(-4, 5, (200, 240, 3))
    pictures.append(np.clip(noisy, 0, 255).astype(np.uint8))
    pictures += [np.full((50, 50, 3), value, np.uint8) for value in (0, 100, 200)]  # plain, not alike
    records = []
    for k, pixels in enumerate(pictures):
        path = tmp_path / f"{k}.jpg"
        cv2.imwrite(str(path), pixels[..., ::-1])
        records.append(Record(k, path, *pixels.shape[:2]))
    records.append(Record(99, tmp_path / "none.jpg", 5, 5))
    assert list(alike(thumbnails([records[0]] * 500))) == [(0, k) for k in range(1, 500)]  # not all pairs
    assert sorted(alike(thumbnails(records))) == [(3, 30), (7, 31)]


def classified(kinds, clips=None):
    """A set of plain pictures, one annotation each: kinds[n] is its class, clips[n] its clip."""
    records = []
    square = (np.array([[1, 1], [9, 1], [9, 9]], np.float32),)
    for n, kind in enumerate(kinds):
        annotations = (Annotation(kind, square, (1.0, 1.0, 9.0, 9.0), 32.0),) if kind is not None else ()
        frame_of = None if clips is None else (clips[n], n)
        records.append(Record(n + 1, lambda: np.zeros((10, 10, 3), np.uint8), 10, 10, annotations, frame_of))
    return Dataset("set", ("a", "b", "c"), (1, 2, 3), records)


def test_splits_hold_their_share_of_every_class():
    rng = np.random.default_rng(0)
    kinds = [0] * 60 + [1] * 25 + [2] * 10 + [None] * 5
    rng.shuffle(kinds)
    splits = split_dataset(classified(kinds), {"train": 0.6, "val": 0.2, "test": 0.2}, apart=False)
    ids = [record.image_id for part in splits.values() for record in part.records]
    assert sorted(ids) == list(range(1, 101))
    for name, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        own = [r.annotations[0].class_index if r.annotations else None for r in splits[name].records]
        for kind, count in ((0, 60), (1, 25), (2, 10), (None, 5)):
            assert abs(own.count(kind) - share * count) <= 1
        assert [r.image_id for r in splits[name].records] == sorted(r.image_id for r in splits[name].records)
    again = split_dataset(classified(kinds), {"train": 0.6, "val": 0.2, "test": 0.2}, apart=False)
    other = split_dataset(classified(kinds), {"train": 0.6, "val": 0.2, "test": 0.2}, apart=False, seed=1)
    image_ids = [[record.image_id for record in one["val"].records] for one in (splits, again, other)]
    assert image_ids[0] == image_ids[1] != image_ids[2]


def test_no_clip_stands_on_both_sides():
    clips = [f"clip {n // 7}" for n in range(70)]
    splits = split_dataset(classified([0] * 70, clips), {"train": 0.7, "val": 0.3}, apart=False)
    sides = [{record.frame_of[0] for record in part.records} for part in splits.values()]
    assert not sides[0] & sides[1] and [len(side) for side in sides] == [7, 3]
    with pytest.raises(DataError, match="`train` would have no picture; there are 1"):
        split_dataset(classified([0] * 5, ["one"] * 5), {"train": 0.5, "val": 0.5}, apart=False)
    for shares in ({"train": 0.5, "val": 0.6}, {"train": float("nan"), "val": 0.5}):
        with pytest.raises(UsageError, match="1 in all"):
            split_dataset(classified([0]), shares)


def test_of_a_row_of_pictures_in_which_neighbours_are_alike_all_are_joined():
    """Each three grey levels brighter than the one before: the first and the third are not alike."""
    scene = cv2.resize(np.random.default_rng(0).integers(0, 200, (8, 9), np.uint8), (16, 16))
    thumbs = np.stack([scene, scene + 3, scene + 6, 255 - scene, scene + 9]).astype(np.uint8)
    assert list(alike(thumbs[[0, 2]])) == []
    pairs = list(alike(thumbs))
    assert len(pairs) == 3 and {number for pair in pairs for number in pair} == {0, 1, 2, 4}
    crossing = list(alike(thumbs[[0, 2, 1]]))  # what is alike to both joins what was apart
    assert len(crossing) == 2


def test_clips_with_numbers_in_brackets_are_clips():
    """As Windows names many files at once; only beside a clip of the plain name may they be one."""
    clips = [f"clip ({n // 5})" for n in range(50)]
    splits = split_dataset(classified([0] * 50, clips), {"train": 0.8, "val": 0.2}, apart=False)
    assert [len(part) for part in splits.values()] == [40, 10]
    two_of_one = ["clip"] * 5 + ["clip (2)"] * 5 + ["other"] * 5
    splits = split_dataset(classified([0] * 15, two_of_one), {"train": 0.6, "val": 0.4}, apart=False)
    assert sorted(len(part) for part in splits.values()) == [5, 10]


def test_classes_of_two_pictures_each_do_not_all_go_to_the_largest_part():
    records = [replace(one, image_id=k) for k, one in enumerate(classified([0] * 200).records)]
    names = tuple(f"class {k}" for k in range(100))
    for k, record in enumerate(records):
        annotation = replace(record.annotations[0], class_index=k // 2)
        records[k] = replace(record, annotations=(annotation,))
    dataset = Dataset("rare", names, tuple(range(100)), records)
    splits = split_dataset(dataset, {"train": 0.8, "val": 0.2}, apart=False)
    assert [len(part) for part in splits.values()] == [160, 40]


def test_rare_classes_leave_a_common_one_its_share():
    kinds = [k for k in range(100) for _ in range(3)] + [100] * 100
    records = classified([0] * 400).records
    for index, kind in enumerate(kinds):
        own = replace(records[index].annotations[0], class_index=kind)
        records[index] = replace(records[index], annotations=(own,))
    dataset = Dataset("common", tuple(map(str, range(101))), tuple(range(101)), records)
    splits = split_dataset(dataset, {"train": 0.75, "val": 0.25}, apart=False)
    common = [sum(r.annotations[0].class_index == 100 for r in part.records) for part in splits.values()]
    assert common == [75, 25]


def test_copies_of_a_clip_stay_together_however_often_they_were_renamed():
    clips = ["walk"] * 5 + ["walk (2)"] * 5 + ["walk (2) (2)"] * 5 + ["other"] * 5
    splits = split_dataset(classified([0] * 20, clips), {"train": 0.75, "val": 0.25}, apart=False)
    assert [{r.frame_of[0] for r in part.records} for part in splits.values()][1] == {"other"}


def test_pictures_of_a_camera_that_never_moves():
    dataset = classified([0] * 10)
    grey = np.full((10, 10, 3), 90, np.uint8)
    dataset.records[:] = [replace(record, source=lambda: grey) for record in dataset.records]
    with pytest.raises(DataError, match="there are 1 that may be apart; --no-alike-together parts"):
        split_dataset(dataset, {"train": 0.5, "val": 0.5})
    assert len(split_dataset(dataset, {"train": 0.5, "val": 0.5}, apart=False)["val"]) == 5
