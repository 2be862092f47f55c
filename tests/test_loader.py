import threading
import time
from dataclasses import replace

import keras
import numpy as np
import pytest

from yoloseg.data.augment import Affine, Augmentation, Colour
from yoloseg.data.copy_paste import CopyPaste
from yoloseg.data.loader import CROWD, EMPTY, Loader, Neighbours
from yoloseg.data.records import Annotation, Dataset, Record
from yoloseg.data.sample_cache import SampleCache
from yoloseg.data.samples import Flip
from yoloseg.errors import DataError, UsageError
from yoloseg.training.config import TrainConfig
from yoloseg.training.recipes import DEFAULT
from yoloseg.training.run import build_loader, set_augmentation

SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)


def make_dataset(pictures=10, instances=3, size=(24, 40)):
    """Picture k is grey level k; its instances are squares, the last one a crowd in picture 0."""

    def record(k):
        annotations = [
            Annotation(i % 2, (SQUARE * (4 + i) + [3 * i + k % 5, 2 * i],), (0, 0, 1, 1), 1.0)
            for i in range(instances)
        ]
        if k == 0:
            annotations.append(Annotation(0, (SQUARE * 5,), (0, 0, 5, 5), 25.0, crowd=True))
        return Record(100 + k, lambda: np.full((*size, 3), k, np.uint8), *size, tuple(annotations))

    return Dataset("made", ("a", "b"), (1, 2), [record(k) for k in range(pictures)])


def same(a, b):
    return all(np.array_equal(a[key], b[key]) for key in a)


def pictures_in(loader):
    return [int(image[16, 16, 0]) for i in range(len(loader)) for image in loader[i]["images"]]


def test_batch_values():
    loader = Loader(make_dataset(4), (32, 64), 2, shuffle=False, mask_size=28, workers=0)
    assert len(loader) == 2 and loader.max_instances == 8
    batch = loader[0]
    assert {key: (value.shape, value.dtype.name) for key, value in batch.items()} == {
        "images": ((2, 32, 64, 3), "uint8"),
        "boxes": ((2, 8, 4), "float32"),
        "classes": ((2, 8), "int32"),
        "masks": ((2, 8, 28, 28), "uint8"),
    }
    assert batch["classes"][0].tolist() == [0, 1, 0, CROWD] + [EMPTY] * 4
    assert batch["classes"][1].tolist() == [0, 1, 0] + [EMPTY] * 5
    # 24 x 40 in 32 x 64: scale 4/3, 5 columns of grey at the left
    left = (64 - round(40 * 4 / 3)) // 2
    scale = 4 / 3
    expected = [
        [left + scale, 0, left + 5 * scale, 4 * scale],
        [left + 4 * scale, 2 * scale, left + 9 * scale, 7 * scale],
    ]
    assert np.allclose(batch["boxes"][1, :2], expected, atol=1e-4)
    assert (batch["boxes"][1, 3:] == 0).all() and (batch["masks"][1, 3:] == 0).all()
    assert (batch["masks"][1, :3, 1:-1, 1:-1] == 255).all()
    assert (batch["images"][1, :, left + 1 : 58] == 1).all()


def test_every_picture_once_an_epoch_in_new_order():
    loader = Loader(make_dataset(12), (32, 32), 4, seed=3)
    first = pictures_in(loader)
    assert sorted(first) == list(range(12)) and first != list(range(12))
    loader.on_epoch_end()
    second = pictures_in(loader)
    assert sorted(second) == list(range(12)) and second != first
    other = Loader(make_dataset(12), (32, 32), 4, seed=4)
    assert pictures_in(other) != first


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_depend_on_seed_epoch_and_index_alone(workers):
    def loader(**more):
        return Loader(make_dataset(16), (32, 64), 4, augment=[Flip()], seed=7, **more)

    reference = loader(workers=0, cache_bytes=0)
    reference.epoch = 5
    batches = [reference[i] for i in range(4)]
    again = loader(workers=workers)
    for _ in range(2):  # not yet cached, cached
        again.epoch = 5
        assert all(same(again[i], batches[i]) for i in (0, 1, 2, 3))
        assert all(same(again[i], batches[i]) for i in (2, 0, 3, 3, 1))
        again.epoch = 6
        assert not same(again[0], batches[0])
    assert not same(Loader(make_dataset(16), (32, 64), 4, augment=[Flip()], seed=8)[0], batches[0])


@pytest.mark.parametrize("workers", [0, 3])
def test_what_is_mixed_in_depends_on_seed_epoch_and_index_alone(workers):
    def loader(**more):
        augment = [CopyPaste(0.8), Affine(mosaic=0.5)]
        return Loader(make_dataset(16, size=(8, 16)), (64, 128), 4, augment=augment, seed=7, **more)

    reference = loader(workers=0, cache_bytes=0)
    batches = [reference[i] for i in range(4)]
    assert max((batch["classes"] >= 0).sum(1).max() for batch in batches) > 3
    again = loader(workers=workers)
    for order in ((0, 1, 2, 3), (2, 0, 3, 3, 1)):
        assert all(same(again[i], batches[i]) for i in order)


@pytest.mark.parametrize("pictures, weights", [(1, None), (5, None), (100, None), (100, True)])
def test_what_is_mixed_in_comes_from_just_before(pictures, weights):
    """With `weights` from pictures that come as often as these say: here half of them never."""
    if weights:
        weights = np.tile([0.0, 2.0], pictures // 2)
    shown = []

    def note(sample, rng, samples):
        shown.append([int(one.image[16, 16, 0]) for one in samples])
        return sample

    loader = Loader(make_dataset(pictures), (32, 32), 5, augment=[note], weights=weights, workers=0, seed=2)
    order = pictures_in(loader)
    assert len(shown) == max(pictures, 5)
    for index, others in enumerate(shown):
        assert others == [order[index - 1 - back] for back in range(min(64, max(pictures - 1, 1)))]
    if weights is not None:
        assert all(number % 2 for others in shown for number in others)
    samples = Neighbours(loader.samples, np.arange(pictures), 0)
    with pytest.raises(IndexError, match="neighbour"):
        samples[len(samples)]


def test_flips_are_drawn_for_each_picture():
    loader = Loader(make_dataset(64, instances=1), (32, 64), 64, augment=[Flip()], shuffle=False)
    flipped = loader[0]["boxes"][:, 0, 0] > 32
    assert 15 < flipped.sum() < 49
    loader.epoch = 1
    assert not np.array_equal(flipped, loader[0]["boxes"][:, 0, 0] > 32)


def test_augmentation_that_changes_and_closes():
    def shown(loader, epoch):
        loader.epoch = epoch
        return loader[0]["boxes"][:, 0, 0]

    loader = Loader(make_dataset(16, instances=1), (32, 64), 4, shuffle=False, workers=2)
    plain = shown(loader, 0)
    assert (plain < 32).all()
    loader.augment_by([Flip(1.0)], [], closing_epoch=3)
    assert (loader[1]["boxes"][:, 0, 0] >= 32).all(), "made ahead before the change"
    assert (shown(loader, 2) >= 32).all()
    assert np.array_equal(shown(loader, 3), plain) and np.array_equal(shown(loader, 4), plain)


def test_short_trainings_see_flips_alone():
    recipe = replace(DEFAULT, augmentation=Augmentation(flip=0.4, hue=0.1, mosaic=1.0), mixing=0.7, short=10)
    loader = Loader(make_dataset(4), (32, 64), 4)
    set_augmentation(loader, recipe, 9)
    assert loader.augment == loader.closing == (Flip(0.4),)
    set_augmentation(loader, recipe, 10)
    assert [type(transform) for transform in loader.augment] == [Affine, Flip, Colour]
    assert [type(transform) for transform in loader.closing] == [Flip, Colour] and loader.closing_epoch == 7


def test_last_batch_is_dropped_or_filled():
    dropped = Loader(make_dataset(10), (32, 32), 4, shuffle=False)
    assert len(dropped) == 2 and pictures_in(dropped) == list(range(8))
    filled = Loader(make_dataset(10), (32, 32), 4, shuffle=False, drop_last=False)
    assert len(filled) == 3 and pictures_in(filled) == [*range(10), 0, 1]
    with pytest.raises(IndexError):
        filled[3]


def test_small_set_wraps_round():
    loader = Loader(make_dataset(3), (32, 32), 8, augment=[Flip()], shuffle=False)
    assert len(loader) == 1 and pictures_in(loader) == [0, 1, 2, 0, 1, 2, 0, 1]


def test_sample_is_what_the_batch_holds():
    loader = Loader(make_dataset(8), (32, 64), 4, augment=[Flip()], seed=1)
    batch, sample = loader[1], loader.sample(6)
    assert np.array_equal(batch["images"][2], sample.image)
    boxes = np.stack([box for _, box in sample.visible()])
    assert np.array_equal(batch["boxes"][2, : len(boxes)], boxes)


def test_too_many_instances_keep_the_largest_that_are_no_crowds():
    loader = Loader(make_dataset(1, instances=12), (32, 64), 1, max_instances=8)
    batch = loader[0]
    assert batch["boxes"].shape[1] == 8 and CROWD not in batch["classes"]
    areas = (batch["boxes"][0, :, 2:] - batch["boxes"][0, :, :2]).prod(1)
    every = Loader(make_dataset(1, instances=12), (32, 64), 1)[0]
    kept = (every["boxes"][0, :, 2:] - every["boxes"][0, :, :2]).prod(1)[every["classes"][0] >= 0]
    assert np.allclose(areas, np.sort(kept)[::-1][:8])
    assert Loader(make_dataset(1, instances=12), (32, 64), 1).max_instances == 16


@pytest.mark.parametrize("mixed, slots", [({}, 24), ({"mosaic": 0.5}, 40), ({"copy_paste": 0.5}, 32)])
def test_training_has_room_for_what_is_mixed_in(mixed, slots):
    """22 in the fullest picture, three times six in its neighbours (nine tenths have fewer), three pasted."""
    recipe = replace(DEFAULT, augmentation=Augmentation(**mixed))
    dataset = make_dataset(9, instances=4)
    dataset.records.extend(make_dataset(1, instances=21).records)
    loader = build_loader(TrainConfig(), recipe, 2, dataset)
    assert loader.max_instances == slots


def test_cache_is_bounded_and_spares_decoding():
    reads = []
    dataset = make_dataset(6, size=(32, 32))
    for k, record in enumerate(dataset.records):
        source = record.source
        object.__setattr__(record, "source", lambda k=k, source=source: (reads.append(k), source())[1])
    picture = 32 * 32 * 3
    cache = SampleCache(dataset, (32, 32), 3 * picture)
    for k in (0, 1, 2, 0, 1, 2):
        cache[k]
    assert reads == [0, 1, 2] and cache.bytes_held == 3 * picture
    cache[0], cache[3], cache[0], cache[1]  # 1, then 2 was used longest ago
    assert reads == [0, 1, 2, 3, 1] and cache.bytes_held == 3 * picture
    with pytest.raises(ValueError):
        cache[0].image[0] = 1
    nothing = SampleCache(dataset, (32, 32), 0)
    nothing[0], nothing[0]
    assert reads[5:] == [0, 0] and nothing.bytes_held == 0


def test_threads_work_ahead():
    seen = []
    dataset = make_dataset(8)
    for k, record in enumerate(dataset.records):
        source = record.source

        def read(k=k, source=source):
            seen.append((k, threading.current_thread() is threading.main_thread()))
            return source()

        object.__setattr__(record, "source", read)
    loader = Loader(dataset, (32, 32), 1, shuffle=False, workers=2)
    loader[0]
    deadline = time.monotonic() + 10
    while len(seen) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(seen) == [(0, True), (1, False), (2, False), (3, False), (4, False)]
    for i in range(1, 8):
        loader[i]
    assert not any(main for k, main in seen if k) and sorted(k for k, _ in seen) == list(range(8))


def test_broken_picture_is_named(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG no more")
    dataset = make_dataset(8)
    dataset.records[5] = Record(5, broken, 24, 40)
    loader = Loader(dataset, (32, 32), 2, shuffle=False)
    assert same(loader[0], loader[0])
    loader[1]
    with pytest.raises(DataError, match="broken.png"):
        loader[2]
    assert loader[3]["images"][1, 16, 16, 0] == 7


def test_refusals():
    with pytest.raises(DataError, match="nothing here: there is no picture"):
        Loader(Dataset("nothing here", ("a",), (1,), []), (32, 32), 2)
    with pytest.raises(UsageError, match="batch size 0"):
        Loader(make_dataset(2), (32, 32), 0)


class Recorder(keras.Model):
    """Sums what it sees; stands in for a network whose inputs are the loader's batch."""

    def __init__(self):
        super().__init__()
        self.weight = self.add_weight(shape=(), name="weight")

    def call(self, inputs):
        return self.weight * keras.ops.mean(keras.ops.cast(inputs["images"], "float32"), (1, 2, 3))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean(y_pred)


def fit(loader, epochs=2, **more):
    model = Recorder()
    model.compile("sgd")
    set_epoch = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: setattr(loader, "epoch", epoch)
    )
    model.fit(loader, epochs=epochs, **more, shuffle=False, verbose=0, callbacks=[set_epoch])


@pytest.mark.parametrize("steps", [None, 3])
def test_fit_and_a_resumed_fit_see_the_same_batches(monkeypatch, steps):
    asked = []
    original = Loader.__getitem__

    def spy(self, index):
        batch = original(self, index)
        asked.append((self.epoch, index, batch["images"][:, 16, 16, 0].tolist()))
        return batch

    monkeypatch.setattr(Loader, "__getitem__", spy)

    def run(**more):
        asked.clear()
        fit(Loader(make_dataset(12), (32, 32), 4, seed=2), **more)
        return [one for one in asked]

    def trained(batches, epoch):
        """The last three asked for in an epoch: Keras looks at some more before the first step."""
        return [batch for batch in batches if batch[0] == epoch][-3:]

    whole, resumed = (
        run(epochs=3, steps_per_epoch=steps),
        run(epochs=3, steps_per_epoch=steps, initial_epoch=2),
    )
    assert [[index for _, index, _ in trained(whole, epoch)] for epoch in range(3)] == [[0, 1, 2]] * 3
    assert trained(whole, 2) == trained(resumed, 2)
    assert trained(whole, 0) != trained(whole, 1)


def test_broken_picture_in_fit_is_a_data_error(tmp_path):
    dataset = make_dataset(12)
    dataset.records[10] = Record(5, tmp_path / "gone.png", 24, 40)
    loader = Loader(dataset, (32, 32), 2, shuffle=False)
    with pytest.raises(DataError, match="gone.png"), loader.data_errors():
        fit(loader)


def test_other_errors_pass_through():
    loader = Loader(make_dataset(2), (32, 32), 2)
    with pytest.raises(ZeroDivisionError), loader.data_errors():
        raise ZeroDivisionError
