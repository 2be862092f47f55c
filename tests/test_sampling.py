"""How often pictures of rare classes come."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoloseg.data.loader import Loader
from yoloseg.data.records import Annotation, Dataset, Record
from yoloseg.data.sampling import counts_shown, drawn, picture_weights

SQUARE = (np.array([[1, 1], [20, 1], [20, 20]], np.float32),)


def dataset(classes_of, classes=3):
    """A set of grey pictures; classes_of[n]: the classes of its annotations, a negative one is a crowd."""
    records = []
    for n, kinds in enumerate(classes_of):
        annotations = [
            Annotation(max(k, 0), SQUARE, (1.0, 1.0, 20.0, 20.0), 180.0, crowd=k < 0) for k in kinds
        ]
        source = lambda n=n: np.full((32, 32, 3), n, np.uint8)  # noqa: E731
        records.append(Record(n, source, 32, 32, tuple(annotations)))
    return Dataset("set", tuple("abc"[:classes]), tuple(range(classes)), records)


def test_repeat_factors_by_hand():
    """a in 6 of 8 pictures, b in 2, c in 1; threshold 0.5."""
    data = dataset([[0], [0], [0], [0, 0], [0, 1], [0, 2, 1], [], [-1]])
    found = picture_weights(data, "repeat-factor", 0.5)
    b, c = np.sqrt(0.5 / 0.25), np.sqrt(0.5 / 0.125)
    np.testing.assert_allclose(found, [1, 1, 1, 1, b, c, 1, 1])
    assert picture_weights(dataset([[0]]), "uniform") is None


def test_class_aware_weights_show_every_class_alike():
    data = dataset([[0]] * 6 + [[1]] * 3 + [[2]] + [[]] * 2)
    found = picture_weights(data, "class-aware")
    np.testing.assert_allclose([found[:6].sum(), found[6:9].sum(), found[9]], [10 / 3] * 3)
    np.testing.assert_allclose(found[10:], 1)  # background keeps its share
    np.testing.assert_allclose(counts_shown(data, found), [10 / 3] * 3)
    np.testing.assert_array_equal(counts_shown(data, None), [6, 3, 1])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.01, 20), min_size=1, max_size=40), st.integers(0, 1000))
def test_draws_are_as_many_as_their_share(weights, seed):
    weights = np.array(weights)
    order = drawn(weights, np.random.default_rng(seed))
    assert len(order) == len(weights)
    counts = np.bincount(order, minlength=len(weights))
    assert (np.abs(counts - len(weights) * weights / weights.sum()) < 1 + 1e-9).all()


def test_the_mean_of_many_draws_is_the_share():
    weights = np.array([1.0, 2.0, 0.3, 5.0])
    rng = np.random.default_rng(0)
    counts = sum(np.bincount(drawn(weights, rng), minlength=4) for _ in range(4000))
    np.testing.assert_allclose(counts / 4000, 4 * weights / weights.sum(), atol=0.02)


@pytest.mark.parametrize("weights", [None, np.array([1.0, 1, 1, 1, 1, 1, 1, 9])])
def test_a_loader_shows_what_its_weights_say(weights):
    loader = Loader(dataset([[0]] * 8), (32, 32), 2, weights=weights, workers=0)
    assert len(loader) == 4
    epochs = []
    for epoch in range(3):
        loader.epoch = epoch
        epochs.append([int(image[0, 0, 0]) for k in range(4) for image in loader[k]["images"]])
    assert epochs[0] != epochs[1]
    for seen in epochs:
        assert sorted(seen) == list(range(8)) if weights is None else 4 <= seen.count(7) <= 5
