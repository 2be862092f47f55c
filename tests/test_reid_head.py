"""The re-identification head: what it is fed with, its losses, its training, its file and its command."""

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from annotated import write
from hypothesis import given, settings
from hypothesis import strategies as st

import yoloseg
from yoloseg import train_reid
from yoloseg.data import shapes
from yoloseg.data.instance_views import groups_of, views_of
from yoloseg.data.records import Annotation, Dataset, Record
from yoloseg.errors import DataError, UsageError, WeightsError
from yoloseg.modeling.detector import Detector
from yoloseg.modeling.network import YoloSeg, save_model
from yoloseg.modeling.reid_head import COLOURS, build_reid_head, describe, pool
from yoloseg.modeling.sizes import SIZES
from yoloseg.train_reid import main
from yoloseg.training import reid_trainer
from yoloseg.training.reid_bank import Bank, DescribeStage, build_bank
from yoloseg.training.reid_loss import EMPTY, contrastive_loss, cosine_loss
from yoloseg.training.reid_trainer import batches, embedded, retrieval, rows_by_view, train_head, with_head
from yoloseg.training.transfer import transfer_weights

ANCHORS = [[(8, 8)], [(16, 16)], [(32, 32)], [(64, 64)]]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return YoloSeg("n", ("a", "b"), ANCHORS, (64, 96))


@pytest.fixture(scope="module")
def headed(model):
    return with_head(model, 16)


@pytest.fixture(scope="module", autouse=True)
def eager():
    """A few pictures are seen sooner than a graph is made of the network."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def pictures(count=1):
    return np.random.default_rng(3).integers(0, 256, (count, 64, 96, 3), np.uint8)


# Losses


def looped(vectors, ids, temperature):
    """Both losses, pair by pair."""
    rows, squares = [], {True: [], False: []}
    for i, v in enumerate(vectors):
        others = [k for k in range(len(ids)) if k != i and ids[k] != EMPTY and ids[i] != EMPTY]
        same = [v @ vectors[k] for k in others if ids[k] == ids[i]]
        other = [v @ vectors[k] for k in others if ids[k] != ids[i]]
        if same and other:
            rows.append(np.log1p(sum(np.exp((b - a) / temperature) for a in same for b in other)))
        squares[True] += [(a - 1) ** 2 for a in same]
        squares[False] += [b**2 for b in other]
    mean = {kind: np.mean(values) if values else 0.0 for kind, values in squares.items()}
    return np.mean(rows) if rows else 0.0, mean[True] + mean[False]


@settings(max_examples=30)
@given(st.lists(st.integers(EMPTY, 3), min_size=1, max_size=9), st.integers(0, 99), st.floats(0.05, 1.0))
def test_losses_are_those_of_plain_loops(ids, seed, temperature):
    vectors = unit(np.random.default_rng(seed).normal(size=(len(ids), 4))).astype(np.float32)
    ids = np.array(ids, np.int32)
    expected = looped(vectors.astype(np.float64), ids.tolist(), temperature)
    found = [float(contrastive_loss(vectors, ids, temperature)), float(cosine_loss(vectors, ids))]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("ids", [[0, 0, 1, 1, EMPTY], [0, 1, 2, 3, 4], [0, 0, 0, 0, 0], [EMPTY] * 5])
def test_gradients_are_finite_and_none_for_rows_that_are_empty(ids):
    same = np.tile(unit(np.ones(4, np.float32)), (5, 1))
    for start in (same, unit(np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))):
        vectors = tf.Variable(start)
        with tf.GradientTape() as tape:
            loss = contrastive_loss(vectors, np.array(ids, np.int32), 0.05)
            loss = loss + cosine_loss(vectors, np.array(ids, np.int32))
        gradient = tape.gradient(loss, vectors).numpy()
        assert np.isfinite(gradient).all()
        assert (gradient[np.array(ids) == EMPTY] == 0).all()
    if ids[:3] == [0, 0, 1]:
        assert np.abs(gradient[:4]).min(axis=1).max() > 0


# What the head is fed with


def test_pooled_means_and_deviations():
    """A ROI of whole pixels: each of its 14 x 14 bins is the mean of four of them."""
    rng = np.random.default_rng(0)
    picture, mask = rng.random((2, 28, 40, 3)).astype(np.float32), rng.random((2, 1, 28, 28))
    rois = np.tile(np.array([4, 0, 32, 28], np.float32), (2, 1, 1))
    means, deviations = map(np.asarray, pool([picture], [1], rois, mask.astype(np.float32)))
    bins = picture[:, :, 4:32].reshape(2, 14, 2, 14, 2, 3).mean((2, 4)).reshape(2, -1, 3).astype(np.float64)
    weight = mask.reshape(2, 14, 2, 14, 2).mean((2, 4)).reshape(2, -1)
    for row in range(2):
        mean = np.average(bins[row], axis=0, weights=weight[row])
        np.testing.assert_allclose(means[row], mean, rtol=1e-4)
        variance = np.average((bins[row] - mean) ** 2, axis=0, weights=weight[row])
        np.testing.assert_allclose(deviations[row], np.sqrt(variance), rtol=1e-3)
    nothing = [np.asarray(part) for part in pool([picture], [1], rois, 0 * mask.astype(np.float32))]
    assert all((part == 0).all() for part in nothing)


def test_detections_do_not_change_and_embeddings_are_the_heads(model, headed):
    images = pictures(2)
    both = [Detector(one).detect(images, 0.0, 6, embeddings=True) for one in (model, headed)]
    plain, by_head = (one.pop("embeddings") for one in both)
    for name, values in both[0].items():
        for one, other in zip(values, both[1][name], strict=True):
            np.testing.assert_array_equal(one, other)
    for one, other in zip(model.weights, headed.weights[: len(model.weights)], strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other))
    outputs = model(images)
    maps = [outputs[level]["embedding"] for level in outputs]
    masks = np.stack(both[0]["masks"])
    expected = np.asarray(headed.reid_head(describe(maps, images, both[0]["boxes"], masks)))
    assert by_head[0].shape == (6, 16) and plain[0].shape == (6, 4 * 32)
    np.testing.assert_allclose(np.concatenate(by_head), expected, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(by_head[1], axis=1), 1, atol=1e-5)
    detector = Detector(headed)
    assert detector.embeddings(detector.propose(images, 6), 0, masks[0][:0]).shape == (0, 16)


# The file


def test_a_file_holds_the_head(headed, tmp_path):
    save_model(headed, tmp_path / "h.keras")
    loaded = yoloseg.load(tmp_path / "h.keras")
    assert loaded.reid_dim == 16 and loaded.get_config() == headed.get_config()
    x = np.random.default_rng(0).normal(size=(5, 8 * 32 + COLOURS)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(loaded.reid_head(x)), np.asarray(headed.reid_head(x)))
    rewrite(tmp_path / "h.keras", tmp_path / "other.keras", '"reid_dim": 16', '"reid_dim": 24')
    with pytest.raises(WeightsError, match=r"layer reid_out do not fit: the file holds \(128, 16\)"):
        yoloseg.load(tmp_path / "other.keras")
    rewrite(tmp_path / "h.keras", tmp_path / "wrong.keras", '"reid_dim": 16', '"reid_dim": -2')
    with pytest.raises(WeightsError, match="reid_dim must be a whole number"):
        yoloseg.load(tmp_path / "wrong.keras")


def rewrite(source, path, text, other):
    with zipfile.ZipFile(source) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = files["config.json"].decode()
    assert text in config
    files["config.json"] = config.replace(text, other).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def test_transfer_to_and_from_a_network_with_a_head(model, headed):
    assert transfer_weights(headed, model).left == ()
    target = with_head(model, 16)
    left = transfer_weights(model, target).left
    assert [name for name, _ in left] == ["reid_norm", "reid_hidden", "reid_out"]
    assert transfer_weights(headed, target).left == ()
    for one, other in zip(headed.get_weights(), target.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


# Views


def record(number, colours, frame=None, tracks=None):
    """Squares of these colours side by side on grey."""
    image = np.full((60, 90, 3), 128, np.uint8)
    found = []
    for place, colour in enumerate(colours):
        x = 6 + 28 * place
        image[20:40, x : x + 20] = colour
        outline = np.array([[x, 20], [x + 20, 20], [x + 20, 40], [x, 40]], np.float32)
        track = None if tracks is None else tracks[place]
        box = (x, 20, x + 20, 40)
        found.append(Annotation(0, (outline,), box, 400.0, annotation_id=place + 1, track_id=track))
    where = None if frame is None else ("clip", frame)
    return Record(number, lambda: image, 60, 90, tuple(found), where)


RED, GREEN, BLUE = (250, 0, 0), (0, 250, 0), (0, 0, 250)


def mean_colours(view):
    """Of each instance, by its identity: which channel is the brightest under its mask."""
    image = view.sample.image
    masks = {one.track_id: one.rasterise(*image.shape[:2]) for one in view.sample.instances}
    seen = {number: mask > 0 for number, mask in masks.items() if mask.sum() > 20}
    return {number: int(image[mask].mean(0).argmax()) for number, mask in seen.items()}


def test_pictures_are_drawn_anew_with_their_instances():
    dataset = Dataset("pair", ("a",), (1,), [record(1, (RED, GREEN)), record(2, (BLUE, RED)), record(3, ())])
    groups = groups_of(dataset)
    assert [len(group) for group in groups] == [1, 1]  # nothing is seen in the third
    views = list(views_of(groups, 5, (64, 96), seed=1))
    assert [(view.group, view.number) for view in views] == [(g, n) for g in range(2) for n in range(5)]
    for view in views:
        expected = {0: {0: 0, 1: 1}, 1: {0: 2, 1: 0}}[view.group]
        found = mean_colours(view)
        assert found and found.items() <= expected.items()
    assert len({view.sample.image.tobytes() for view in views}) == 10
    again = views_of(groups, 5, (64, 96), seed=1)
    assert all(np.array_equal(a.sample.image, b.sample.image) for a, b in zip(views, again, strict=True))


def test_frames_of_a_clip_are_matched_by_track():
    frames = [record(1, (RED, GREEN), 8, (7, 9)), record(2, (GREEN, RED), 4, (9, 7))]
    frames.append(record(3, (RED,), 6, (7,)))
    dataset = Dataset("clip", ("a",), (1,), frames)
    groups = groups_of(dataset)
    assert [one.image_id for one in groups[0]] == [2, 3, 1] and len(groups) == 1
    two = list(views_of(groups, 2, (64, 96), seed=0))
    assert [mean_colours(view) for view in two] == [{9: 1, 7: 0}, {7: 0, 9: 1}]  # its first and its last
    for view in views_of(groups, 7, (64, 96), seed=0):
        assert mean_colours(view).items() <= {7: 0, 9: 1}.items()
    crowd = replace(frames[0].annotations[1], crowd=True)
    frames[0] = replace(frames[0], annotations=(frames[0].annotations[0], crowd))
    first = list(views_of(groups_of(replace(dataset, records=frames)), 3, (64, 96), seed=0))[2]
    assert [one.track_id for one in first.sample.instances] == [7]
    frames[1] = record(2, (GREEN, RED), 4, (None, 7))  # not all are tracked: pictures
    assert len(groups_of(replace(dataset, records=frames))) == 3


def test_bank_of_a_set(model):
    dataset = Dataset("pair", ("a",), (1,), [record(1, (RED, GREEN)), record(2, (BLUE, RED))])
    bank = build_bank(DescribeStage(model), dataset, views=3, limit=100, seed=0)
    assert bank.vectors.shape == (len(bank.ids), 8 * 32 + COLOURS) and len(set(bank.ids.tolist())) == 4
    plain = bank.views == 0
    colours = bank.vectors[plain, -COLOURS:-3] * 255
    np.testing.assert_allclose(colours, [RED, GREEN, BLUE, RED], atol=12)  # their rims are mixed with grey
    assert set(bank.groups.tolist()) == {0, 1} and set(bank.views.tolist()) == {0, 1, 2}
    assert set(build_bank(DescribeStage(model), dataset, views=3, limit=3, seed=0).groups.tolist()) == {0}
    frames = [record(number, (RED, GREEN), number, (2**70, 5)) for number in (0, 1)]
    clip = build_bank(DescribeStage(model), Dataset("clip", ("a",), (1,), frames), views=2, limit=100, seed=0)
    assert len(set(clip.ids.tolist())) == 2, "ids of tracks may be hashes"


# Training


def toy_bank(groups=40, seed=0):
    """Three instances a group in four views: who each is shows in the colours, all else is noise."""
    rng = np.random.default_rng(seed)
    rows = [(g, v, 3 * g + k) for g in range(groups) for v in range(4) for k in range(3)]
    keys = np.array(rows)
    looks = rng.normal(size=(3 * groups, COLOURS))
    vectors = rng.normal(size=(len(rows), 8 * 32 + COLOURS))
    vectors[:, -COLOURS:] = looks[keys[:, 2]] + 0.05 * vectors[:, -COLOURS:]
    return Bank(vectors.astype(np.float32), keys[:, 2], keys[:, 0], keys[:, 1])


def test_a_few_steps_of_training_find_instances_again():
    keras.utils.set_random_seed(0)
    bank, unseen, head, losses = toy_bank(), toy_bank(seed=1), build_reid_head(SIZES["n"], 16), []
    before = retrieval(embedded(unseen.vectors, None), unseen)
    assert before[0] < 0.6 and before[1] == 40 * 4 * 3 * 3
    train_head(head, bank, 12, 10, 0, lambda epoch, loss: losses.append((epoch, loss)))
    mean, variance = head.get_layer("reid_norm").get_weights()  # as `standardise` set them
    np.testing.assert_allclose(mean, bank.vectors.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(variance[-COLOURS:], bank.vectors.var(axis=0)[-COLOURS:], rtol=1e-4)
    assert retrieval(embedded(unseen.vectors, head), unseen)[0] > 0.8
    assert [epoch for epoch, _ in losses] == list(range(1, 13)) and losses[-1][1] < 0.5 * losses[0][1]
    bank = replace(bank, vectors=np.full_like(bank.vectors, np.inf))
    with pytest.raises(UsageError, match="the loss is nan in epoch 1"):
        train_head(head, bank, 1, 6, 0, lambda *_: None)


def test_batches_have_every_group_once_by_two_views():
    bank = toy_bank(groups=5)
    seen = []
    for inputs in batches(bank, rows_by_view(bank), 2, np.random.default_rng(0)):
        assert inputs["vectors"].shape == (2 * 2 * 3, bank.vectors.shape[1]) and inputs["ids"].shape == (12,)
        ids = inputs["ids"][inputs["ids"] != EMPTY]
        numbers, counts = np.unique(ids, return_counts=True)
        assert (counts == 2).all()
        seen += numbers.tolist()
        for vector, number in zip(inputs["vectors"], ids, strict=False):
            assert any((bank.vectors[bank.ids == number] == vector).all(axis=1))
    assert sorted(seen) == list(range(15))


def test_retrieval_counts_nearest_vectors():
    x, y = np.eye(2)
    vectors = np.array([x, y, x, y, y, x, x])
    ids = np.array([0, 1, 0, 1, 0, 1, 5])
    bank = Bank(vectors, ids, np.array([0, 0, 0, 0, 0, 0, 1]), np.array([0, 0, 1, 1, 2, 2, 0]))
    assert retrieval(vectors, bank) == (4 / 12, 12)  # the third view has them exchanged
    alone = Bank(vectors[:2], np.array([0, 0]), np.zeros(2, int), np.arange(2))
    assert np.isnan(retrieval(vectors[:2], alone)[0])


# The command


def test_command(tmp_path, monkeypatch, capsys):
    """From a file without a head, which is as such files were before there were any."""
    for counts, number in ((shapes.CLIPS, 3), (shapes.FRAMES, 2)):
        for split in ("train", "val"):
            monkeypatch.setitem(counts, split, number)
    before = YoloSeg("n", ("thing",), ANCHORS, (64, 64))
    assert "reid_dim" not in before.get_config()
    save_model(before, tmp_path / "w.keras")
    flags = ["--weights", str(tmp_path / "w.keras"), "--out", str(tmp_path / "out" / "h.keras")]
    assert main([*flags, "--epochs", "2", "--batch", "2", "--views", "2", "--dim", "8"]) == 0
    told = capsys.readouterr().out
    assert "shapes-train: 6 of 6 views" in told and told.count("top-1") == 3 and "epoch 2/2  loss" in told
    after = yoloseg.load(tmp_path / "out" / "h.keras")
    assert after.reid_dim == 8 and after.classes == ("thing",)
    for one, other in zip(before.weights, after.weights[: len(before.weights)], strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["h.keras"]


def test_a_validation_split_that_tells_nothing_apart_is_left_out(model, tmp_path, monkeypatch, capsys):
    banks = []

    def bank_of(options, stage, dataset):
        if dataset.name == "shapes-val":
            raise DataError("shapes-val: it needs two instances")
        banks.append(dataset.name)
        return dataset.name

    monkeypatch.setattr(train_reid, "bank_of", bank_of)
    monkeypatch.setattr(train_reid, "top1", lambda bank, *_: f"top-1 of {bank}")
    monkeypatch.setattr(reid_trainer, "train_head", lambda *_: None)
    save_model(model, tmp_path / "w.keras")
    assert main(["--weights", str(tmp_path / "w.keras"), "--out", str(tmp_path / "h.keras")]) == 0
    told = capsys.readouterr()
    assert "top-1 of shapes-train (train)" in told.out and banks == ["shapes-train"]
    assert "note: shapes-val: it needs two instances; measured on the training" in told.err


def test_what_the_command_refuses(model, tmp_path, capsys):
    weights, out = tmp_path / "w.keras", tmp_path / "h.keras"
    save_model(model, weights)
    (tmp_path / "w.tflite").write_bytes(b"x")
    (tmp_path / "f.keras").mkdir()
    data = write("coco", tmp_path)
    path = tmp_path / "train" / "_annotations.coco.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"annotations": content["annotations"][:1]}))
    for flags, words in (
        (["--weights", weights, "--out", tmp_path / "h.h5"], "name a .keras file"),
        (["--weights", weights, "--out", tmp_path / "f.keras"], "is a folder; name a file"),
        (["--weights", tmp_path / "w.tflite", "--out", out], "is an exported file"),
        (["--weights", tmp_path / "none.keras", "--out", out], "no such weights file"),
        (["--weights", weights, "--out", out, "--views", "1"], "--views must be at least 2"),
        (["--weights", weights, "--out", out, "--seed", 2**32], "--seed must be below 2 ** 32"),
        (["--weights", weights, "--out", out, "--data", data], "two instances that are seen twice"),
    ):
        assert main(list(map(str, flags))) == 2
        assert words in capsys.readouterr().err
    assert not out.exists()


JAX = """
import sys
import keras, numpy as np
from yoloseg.modeling.reid_head import build_reid_head
from yoloseg.modeling.sizes import SIZES
from yoloseg.training.reid_bank import Bank
from yoloseg.training.reid_trainer import train_head
assert keras.backend.backend() == "jax"
given = dict(np.load(sys.argv[1]))
head = build_reid_head(SIZES["n"], 16)
head.set_weights([given[f"weight{i}"] for i in range(len(head.weights))])
told = []
train_head(head, Bank(*(given[name] for name in ("vectors", "ids", "groups", "views"))), 3, 2, 0,
           lambda epoch, loss: told.append(loss))
np.savez(sys.argv[1], told=told)
"""


def test_the_same_training_on_jax(tmp_path):
    bank, head, told = toy_bank(groups=4), build_reid_head(SIZES["n"], 16), []
    start = {f"weight{i}": value for i, value in enumerate(head.get_weights())}
    np.savez(tmp_path / "bank.npz", **start, **vars(bank))
    train_head(head, bank, 3, 2, 0, lambda epoch, loss: told.append(loss))
    environment = dict(os.environ, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
    command = [sys.executable, "-c", JAX, str(tmp_path / "bank.npz")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert told[2] < told[0]
    np.testing.assert_allclose(np.load(tmp_path / "bank.npz")["told"], told, rtol=1e-3)
