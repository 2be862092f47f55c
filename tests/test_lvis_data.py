"""LVIS sets: what is known of a picture reaches the records, the batches, the losses and the scores."""

import json

import numpy as np
import pytest
from annotated import write
from keras import ops

from yoloseg.data.augment import Affine
from yoloseg.data.classes import align_classes, choose_classes
from yoloseg.data.coco_writer import write_coco
from yoloseg.data.datafile import load_datasets
from yoloseg.data.loader import Loader
from yoloseg.data.records import Verified
from yoloseg.data.samples import read_sample
from yoloseg.errors import DataError
from yoloseg.evaluation.ground_truth import coco_ground_truth
from yoloseg.evaluation.lvis_metrics import LVIS_NAMES, lvis_metrics
from yoloseg.training.losses import class_loss, objectness_loss, unknown_share
from yoloseg.training.recipes import DEFAULT
from yoloseg.training.targets import Assignment


def load(path):
    return load_datasets(path, ("train",))["train"]


def changed(path, change):
    """The set of `write("lvis", ...)` with its JSON changed."""
    file = path.parent / "lvis_v1.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return load(path)


def test_what_is_known_of_pictures(tmp_path):
    dataset = load(write("lvis", tmp_path))
    assert dataset.classes == ("cat", "dog", "zebra") and dataset.frequencies == ("f", "c", "r")
    first, second = dataset.records
    assert first.verified == Verified(frozenset({2}), frozenset({0}))
    assert first.exhaustive == {1, 2}  # the dog is annotated, no zebra; of cats there may be more
    assert second.exhaustive == {0, 1}
    assert first.source.parts[-2:] == ("train2017", "000000000001.png")


def test_defects_are_told(tmp_path):
    path = write("lvis", tmp_path)

    def spoil(content):
        content["images"][0]["neg_category_ids"] = [9, 77, "x"]
        del content["images"][1]["not_exhaustive_category_ids"]

    dataset = changed(path, spoil)
    told = [str(problem) for problem in dataset.problems]
    assert len(told) == 2 and "lvis_v1.json: image 1: 2 of its `neg_category_ids` not used: 77" in told[0]
    assert "image 2: `not_exhaustive_category_ids` is no list" in told[1]
    assert dataset.records[0].verified.absent == {2}
    with pytest.raises(DataError, match="category 5: its `frequency` must be r, c or f, not 'often'"):
        changed(path, lambda content: content["categories"][1].update(frequency="often"))


def test_some_classes(tmp_path):
    path = write("lvis", tmp_path)
    path.write_text(path.read_text() + "classes: [zebra, cat]\n")
    dataset = load(path)
    assert dataset.classes == ("cat", "zebra") and dataset.category_ids == (2, 9)
    assert dataset.frequencies == ("f", "r")
    assert [[a.class_index for a in record.annotations] for record in dataset.records] == [[0], [0]]
    assert dataset.records[0].verified == Verified(frozenset({1}), frozenset({0}))
    assert "2 annotations of other classes left out" in str(dataset.problems[0])
    path.write_text(path.read_text().replace("[zebra, cat]", "[zebra]"))
    with pytest.raises(DataError, match="1 pictures but no instance"):  # of the other nothing is known
        load(path)
    path.write_text(path.read_text().replace("[zebra]", "[zebar]"))
    with pytest.raises(DataError, match="'zebar', which is no class of the set; did you mean 'zebra'"):
        load(path)
    path.write_text(path.read_text().replace("[zebar]", "zebra"))
    with pytest.raises(DataError, match="`classes` must be a list of class names, not 'zebra'"):
        load(path)


def test_classes_of_other_formats_can_be_chosen_too(tmp_path):
    path = write("yolo", tmp_path)
    path.write_text(path.read_text() + "\nclasses: [dog]\n")
    dataset = load(path)
    assert dataset.classes == ("dog",) and [len(r.annotations) for r in dataset.records] == [1, 1]
    assert not dataset.federated


def test_other_orders_of_classes(tmp_path):
    dataset = load(write("lvis", tmp_path))
    aligned = align_classes(dataset, ("zebra", "ant", "dog", "cat"))
    assert aligned.frequencies == ("r", "r", "c", "f")
    assert aligned.records[0].verified == Verified(frozenset({0}), frozenset({3}))
    assert aligned.records[0].exhaustive == {0, 2}


def test_a_class_that_only_one_split_knows(tmp_path):
    """It was looked for, and is of no use: what is known of it goes, whatever its place."""
    dataset = load(write("lvis", tmp_path))
    aligned = align_classes(dataset, ("cat", "dog"))
    assert [record.verified.absent for record in aligned.records] == [frozenset(), frozenset()]
    assert aligned.records[0].verified.partly == {0}
    coco_ground_truth(aligned)


def test_sets_of_both_kinds_are_not_mixed(tmp_path):
    from yoloseg.data.split import merged

    (tmp_path / "yolo").mkdir()
    lvis = choose_classes(load(write("lvis", tmp_path)), ["cat", "dog"], "set")
    plain = load(write("yolo", tmp_path / "yolo"))
    for pair in ((lvis, plain), (plain, lvis)):
        with pytest.raises(DataError, match="some splits say which classes"):
            merged(pair, "all")
    assert len(merged((lvis, lvis), "all")) == 4


def test_other_formats_say_what_they_lose(tmp_path):
    from yoloseg.data.convert import write_datasets

    dataset = load(write("lvis", tmp_path))
    _, lost = write_datasets({"train": dataset}, "yolo", tmp_path / "out")
    assert any("which classes were looked for" in problem.message for problem in lost)


def test_it_is_written_as_it_was_read(tmp_path):
    (tmp_path / "in").mkdir()
    dataset = load(write("lvis", tmp_path / "in"))
    write_coco(dataset, tmp_path / "out", suffix=None)
    (tmp_path / "again.yaml").write_text("train: {annotations: out/annotations.json, images: out/images}\n")
    again = load(tmp_path / "again.yaml")
    assert again.frequencies == dataset.frequencies
    assert [r.verified for r in again.records] == [r.verified for r in dataset.records]


def test_batches_and_mosaics(tmp_path):
    dataset = load(write("lvis", tmp_path))
    batch = Loader(dataset, (64, 96), 2, shuffle=False, workers=0)[0]
    np.testing.assert_array_equal(batch["exhaustive"], [[0, 1, 1], [1, 1, 0]])
    samples = [read_sample(record, (64, 96)) for record in dataset.records]
    mosaic = Affine(mosaic=1.0)(samples[0], np.random.default_rng(0), [samples[1]])
    assert mosaic.exhaustive == {1}
    single = choose_classes(dataset, ["cat"], "set")
    batch = Loader(single, (64, 96), 2, shuffle=False, workers=0)[0]
    np.testing.assert_array_equal(batch["exhaustive"], [[0], [1]])


def one_cell(logits, gradient_of):
    """Value and gradient by finite differences, float64 [K]."""
    step = 1e-2
    found = []
    for k in range(len(logits)):
        moved = [logits.copy(), logits.copy()]
        moved[0][k] += step
        moved[1][k] -= step
        up, down = (float(ops.convert_to_numpy(gradient_of(one))) for one in moved)
        found.append((up - down) / (2 * step))
    return np.array(found)


def assignment(positive):
    whole = np.array([[positive]], np.float32)
    return Assignment(None, np.zeros((1, 1), np.int32), whole, whole, np.zeros((1, 1), np.float32))


def test_unverified_classes_have_no_part_in_the_class_loss():
    """Softmax over what is known of the picture and the object's own class."""
    logits = np.array([0.3, -0.2, 0.9, 0.1], np.float32)
    classes = np.array([[1]], np.int32)

    def loss(values, exhaustive):
        return class_loss(
            values[None, None], 1, assignment(1.0), classes, exhaustive=np.array([exhaustive], np.float32)
        )[0]

    for exhaustive, left in (([1, 1, 0, 1], [0, 1, 3]), ([0, 0, 1, 0], [1, 2]), ([0, 0, 0, 0], [1])):
        own = logits[left] - logits[left].max()
        expected = np.log(np.exp(own).sum()) - own[left.index(1)]
        assert float(loss(logits, exhaustive)) == pytest.approx(expected, abs=1e-5)
        gradient = one_cell(logits, lambda values, known=exhaustive: loss(values, known))
        others = [k for k in range(4) if k not in left]
        assert np.abs(gradient[others]).max(initial=0) == 0
        if len(left) > 1:
            assert np.abs(gradient[left]).min() > 1e-2
    whole = class_loss(logits[None, None], 1, assignment(1.0), classes)[0]
    assert float(loss(logits, [1, 1, 1, 1])) == pytest.approx(float(whole), abs=1e-6)


def test_background_that_may_be_an_object_is_punished_less():
    class_logits = np.log(np.array([[[0.7, 0.2, 0.1]]], np.float32))
    share = unknown_share(class_logits, np.array([[0, 1, 1]], np.float32), 2)
    np.testing.assert_allclose(ops.convert_to_numpy(share), [[0.7, 0.7]], atol=1e-6)
    one_class = unknown_share(None, np.array([[0], [1]], np.float32), 3)
    np.testing.assert_array_equal(ops.convert_to_numpy(one_class), [[1] * 3, [0] * 3])

    recipe = DEFAULT

    def loss(logit, positive, unknown):
        logits, quality = np.array([[logit]], np.float32), np.ones((1, 1), np.float32)
        share = None if unknown is None else np.array([[unknown]], np.float32)
        return float(objectness_loss(logits, assignment(positive), quality, 1.0, recipe, share))

    for logit in (-4.0, 0.0, 3.0):
        chance = 1 / (1 + np.exp(-logit))
        ratio = loss(logit, 0.0, 0.7) / loss(logit, 0.0, None)
        assert ratio == pytest.approx(1 - 0.7 * chance, abs=1e-5)
        assert loss(logit, 1.0, 0.7) == pytest.approx(loss(logit, 1.0, None))  # objects count in full
        assert loss(logit, 0.0, 0.0) == pytest.approx(loss(logit, 0.0, None))


def test_ground_truth_is_lvis_and_perfect_detections_score_one(tmp_path):
    dataset = load(write("lvis", tmp_path))
    truth, _ = coco_ground_truth(dataset)
    found = [
        {key: one[key] for key in ("image_id", "category_id", "bbox", "segmentation")} | {"score": 0.9}
        for one in truth["annotations"]
    ]
    stray = {**found[0], "bbox": [0, 0, 5, 5], "segmentation": [[0, 0, 5, 0, 5, 5, 0, 5]], "score": 0.95}
    metrics = lvis_metrics(truth, [*found, {**stray, "category_id": 2}])  # of cats there may be more
    assert metrics["segm"]["AP"] == metrics["segm"]["APf"] == pytest.approx(1.0)
    assert metrics["segm"]["APr"] == -1 and set(LVIS_NAMES) < set(metrics["segm"])
    assert lvis_metrics(truth, [*found, {**stray, "category_id": 5}])["segm"]["APc"] < 1


