"""How many epochs fill the minutes."""

from types import SimpleNamespace

import pytest

from yoloseg.training import planning

PLANS = [(48, 43, 14), (10, 43, 300), (3, 1, 0), (1, 90, 1), (1, 110, 10), (1, 100, 80)]


@pytest.mark.parametrize("minutes, steps_per_epoch, val_steps", PLANS)
def test_minutes_are_filled_with_epochs_and_their_evaluations(minutes, steps_per_epoch, val_steps):
    """At half a second a step: the plan fits, and one more epoch would not."""

    def steps(epochs: int) -> int:
        every = planning.evaluated_every(epochs)
        evaluated = sum(epoch % every == 0 or epoch == epochs for epoch in range(1, epochs + 1))
        return epochs * steps_per_epoch + (evaluated + 1) * val_steps  # and once for the report

    epochs, planned = planning.plan(minutes, 0.5, steps_per_epoch, val_steps)
    if planned == steps_per_epoch:
        assert steps(epochs) <= 120 * minutes
    else:
        assert epochs == 1 and (planned + 2 * val_steps == 120 * minutes or planned == 1)
    assert steps(epochs + 1) > 120 * minutes


def test_pairs_that_the_official_matching_looks_at():
    """Ten detections each: of one class with four objects, and shared by three classes as the objects are."""

    def record(*classes):
        return SimpleNamespace(annotations=[SimpleNamespace(class_index=index) for index in classes])

    dataset = SimpleNamespace(records=[record(1, 1, 1, 1), record(0, 0, 2, 5), record()])
    assert planning.pairs(dataset, 10) == 10 * 4 + (5 * 2 + 2.5 + 2.5)


def test_less_time_than_an_epoch_is_one_shorter_epoch():
    assert planning.plan(1, 0.5, 200, 10) == (1, 100), "twice ten for the evaluation and the report"
    assert planning.plan(1, 0.5, 110, 10) == (1, 100)
    assert planning.plan(1, 0.5, 100, 10) == (1, 100)
    assert planning.plan(1, 0.5, 100, 80) == (1, 1)
    assert planning.plan(0.001, 0.5, 200, 10) == planning.plan(-1, 0.5, 200, 10) == (1, 1)
