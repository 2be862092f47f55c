"""At an epoch's end: weights that are no numbers, averages that are none, and the threshold."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from yoloseg.errors import UsageError
from yoloseg.files import write_json
from yoloseg.modeling.architecture import LEVELS
from yoloseg.modeling.network import YoloSeg
from yoloseg.training import callbacks
from yoloseg.training import run as run_module
from yoloseg.training.callbacks import Curves, Results, SaveState, Watch, average_weights
from yoloseg.training.checkpoint import Progress, read_progress
from yoloseg.training.losses import LOSSES
from yoloseg.training.stages import Stage

ANCHORS = [[(6, 6), (10, 14)], [(16, 12), (20, 24)], [(32, 30), (24, 40)], [(50, 40), (60, 60)]]


def one_weight(optimizer=None) -> SimpleNamespace:
    """What the callbacks see of a trainer, with two numbers to train."""
    weight = keras.Variable(np.ones(2, np.float32))
    optimizer = optimizer or keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9)
    optimizer.build([weight])
    return SimpleNamespace(
        trainable_variables=[weight],
        optimizer=optimizer,
        yoloseg=SimpleNamespace(weights=[weight]),
        balance=SimpleNamespace(values=lambda: np.zeros((4, 4))),
        stop_training=False,
    )


def copy_of(trainer) -> SimpleNamespace:
    weights = [keras.Variable(np.zeros(2, np.float32))]
    return SimpleNamespace(weights=weights, score_threshold=0.25, save=Path.touch)


def test_weights_that_are_no_numbers_end_the_run_before_anything_is_written(tmp_path):
    trainer = one_weight()
    trainer.optimizer.apply([keras.ops.ones(2)])
    watch = Watch(
        copy_of(trainer), lambda model: pytest.fail("evaluated"), tmp_path, Progress(0, 5, 1, 0, -1), 5
    )
    watch.set_model(trainer)
    watch.on_epoch_end(0, {})
    assert np.allclose(watch.averaged.weights[0], 0.5)
    trainer.trainable_variables[0].assign([1.0, np.nan])
    with pytest.raises(UsageError, match="a weight is no number .* the state that was saved last is kept"):
        watch.on_epoch_end(1, {})
    assert not list(tmp_path.iterdir())


def test_where_float16_has_skipped_every_step_the_average_is_the_weights_themselves():
    inner = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9)
    trainer = one_weight(keras.optimizers.LossScaleOptimizer(inner, initial_scale=4.0))
    averaged = copy_of(trainer)
    for gradient, expected in ((np.inf, [1, 1]), (4.0, [0.5, 0.5]), (4.0, [0.45, 0.45])):
        trainer.optimizer.apply([keras.ops.full((2,), gradient * int(trainer.optimizer.dynamic_scale) / 4)])
        before = np.array(trainer.trainable_variables[0])
        raw = average_weights(trainer, averaged)
        assert np.allclose(averaged.weights[0], expected)
        assert np.array_equal(raw[0], before) and np.array_equal(trainer.trainable_variables[0], before)


def run_of(tmp_path, monkeypatch, progress, scores):
    """The epochs, from progress.epoch on, in which best.keras was written; after each an evaluation."""
    written, trainer = [], one_weight()
    trainer.optimizer.apply([keras.ops.ones(2)])
    trainer.optimizer.learning_rate = 0.1

    def write(path, value, **how):
        assert path.with_name("best.keras").exists(), path
        assert not path.exists(), "killed before, best.keras and these would be of two epochs"
        written.append(value["epoch"])
        write_json(path, value, **how)

    monkeypatch.setattr(callbacks, "write_json", write)
    kinds = {"AP": 0.0, "AP50": 0.0}
    found = iter(scores)

    def measure(_):
        return {"bbox": kinds, "segm": kinds | {"AP": next(found)}, "best_f1_threshold": 0.5}

    watch = Watch(copy_of(trainer), measure, tmp_path, progress, 1)
    watch.set_model(trainer)
    for epoch in range(progress.epoch, progress.epoch + len(scores)):
        watch.on_epoch_end(epoch, {})
    return written, watch


def test_a_resumed_run_that_comes_out_worse_keeps_the_better_file(tmp_path, monkeypatch):
    """Killed after best.keras of epoch 2, before its state: on hardware that does not repeat itself epoch 2
    now is worse. Patience goes by what the resumed run itself has found."""
    assert run_of(tmp_path, monkeypatch, Progress(0, 9, 1, 0.0, -1.0), [0.2, 0.4])[0] == [1, 2]
    resumed = Progress(1, 9, 1, 0.0, 0.2)
    written, watch = run_of(tmp_path, monkeypatch, resumed, [0.3, 0.25, 0.35])
    assert written == [] and json.loads((tmp_path / "metrics.json").read_text())["epoch"] == 2
    assert (watch.best_ap, watch.stale) == (0.35, 0)
    assert run_of(tmp_path, monkeypatch, resumed, [0.3, 0.4, 0.1, 0.5])[0] == [3, 5]
    (tmp_path / "metrics.json").write_text('{"segm": {"AP": 0.9}}')  # of an evaluation of other data
    assert run_of(tmp_path, monkeypatch, resumed, [0.3])[0] == [2]
    for name in ("best.keras", "metrics.json"):
        (tmp_path / name).unlink()
        assert run_of(tmp_path, monkeypatch, resumed, [0.1, 0.05, 0.15])[0] == [2, 4], name


def test_curves_are_drawn_after_every_evaluation(tmp_path):
    results, curves = Results(tmp_path / "results.csv"), Curves(tmp_path)
    logs = {f"{loss}_{level}": 1.0 for loss in LOSSES for level in LEVELS}
    logs |= {f"w_{name}": 0.0 for name in logs} | {"learning_rate": 0.1}
    for epoch, score in enumerate((math.nan, 0.5, math.nan, 0.6)):
        row = logs | dict.fromkeys(("box_AP", "box_AP50", "mask_AP", "mask_AP50"), score)
        for callback in (results, curves):
            callback.on_epoch_end(epoch, row)
        assert (tmp_path / "curves.png").exists() == (not math.isnan(score))
        (tmp_path / "curves.png").unlink(missing_ok=True)


def test_the_state_is_saved_sooner_after_a_new_best(tmp_path, monkeypatch):
    monkeypatch.setattr(callbacks, "save_model", lambda *_: (tmp_path / "best.keras").touch())
    monkeypatch.setattr(callbacks.checkpoint, "save_state", lambda _, trainer, state: saved.append(state))
    saved, trainer, start = [], one_weight(), Progress(0, 9, 1, 0.0, -1.0)
    trainer.optimizer.apply([keras.ops.ones(2)])
    found = iter([0.1, 0.3, 0.2, 0.4])
    kinds = {"AP": 0.0, "AP50": 0.0}

    def measure(_):
        return {"bbox": kinds, "segm": kinds | {"AP": next(found)}, "best_f1_threshold": 0.5}

    watch, save = Watch(copy_of(trainer), measure, tmp_path, start, 2), None
    save = SaveState(watch, tmp_path, start)
    for callback in (watch, save):
        callback.set_model(trainer)
    save.next_save = np.inf
    trainer.optimizer.learning_rate = 0.1
    for epoch in range(8):  # evaluated after every second
        logs = {}
        watch.on_epoch_end(epoch, logs)
        save.on_epoch_end(epoch, logs)
        save.next_save = np.inf
    assert [(state.epoch, state.best_ap) for state in saved] == [(2, 0.1), (4, 0.3), (8, 0.4)]


def test_the_threshold_of_the_last_evaluation_outlives_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(callbacks, "save_model", lambda *_: None)
    monkeypatch.setattr(
        callbacks.checkpoint, "save_state", lambda folder, trainer, state: states.append(state)
    )
    states, trainer, start = [], one_weight(), Progress(0, 5, 1, 0.0, -1.0)
    watch = Watch(copy_of(trainer), None, tmp_path, start, 5)
    watch.averaged.score_threshold = 0.375
    save = SaveState(watch, tmp_path, start)
    save.set_model(trainer)
    save.on_epoch_end(1, {"seconds": 1.0})
    assert (states[0].epoch, states[0].score_threshold) == (2, 0.375)

    seen = []
    monkeypatch.setattr(run_module, "Detector", seen.append)
    model = YoloSeg("n", ("a",), ANCHORS, (64, 64))
    done = [Stage(0, 2, (64, 64))]
    run_module.fit(SimpleNamespace(yoloseg=model), None, None, tmp_path, states[0], done, None)
    assert seen[0].score_threshold == 0.375 and model.score_threshold == 0.25
    run_module.fit(SimpleNamespace(yoloseg=model), None, None, tmp_path, start, [Stage(0, 0, (64, 64))], None)
    assert seen[1].score_threshold == 0.25
    (tmp_path / "state.json").write_text(
        '{"epoch": 0, "epochs": 5, "steps_per_epoch": 1, "seconds": 0.0, "best_ap": -1.0}'
    )
    assert read_progress(tmp_path) == start, "of a version that had no threshold there"
