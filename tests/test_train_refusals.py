"""What the train command says before it trains: flags that cannot be, and how long it will take."""

import time
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from rich.console import Console
from tiny_training import FLAGS, refused, step_eagerly

from yoloseg.data.datafile import load_datasets
from yoloseg.errors import UsageError
from yoloseg.training import planning
from yoloseg.training import run as run_module
from yoloseg.training.config import TrainConfig
from yoloseg.training.recipes import DEFAULT
from yoloseg.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("shallow")


def test_the_speed_is_measured_and_nothing_is_changed_by_it(data, monkeypatch):
    """Eagerly, and few steps: what --minutes plans by."""
    monkeypatch.setattr(planning, "TIMED_STEPS", 1)
    step_eagerly(monkeypatch, planning)
    config = TrainConfig(data=str(data), imgsz=(64,), minutes=5, workers=0, max_detections=120)
    dataset = load_datasets(data, ("train",))["train"]
    model, *_ = run_module.build_model(config, DEFAULT, dataset, Console(quiet=True))
    loader = run_module.build_loader(config, DEFAULT, 2, dataset)
    assert model.max_detections == 120
    trainer = Trainer(model, DEFAULT)
    before = [keras.ops.convert_to_numpy(variable) for variable in trainer.variables]
    first, median, between = planning.speed(trainer, DEFAULT, loader)
    assert 0 < median < first * 5 and 0 < between < first * 5
    # a start and an end: of reading the weights, of each of six steps, of setting the weights, of a batch
    ticks = iter(np.cumsum([0, 1, 0, 9, 0, 1, 0, 1, 0, 2, 0, 2, 0, 8, 0, 3, 0, 7]))
    with monkeypatch.context() as patch:
        patch.setattr(planning, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
        patch.setattr(trainer, "train_on_batch", lambda _: None)
        assert planning.speed(trainer, DEFAULT, loader, accumulate=3) == (9.0, 4.0, 2 * (1 + 3) + 7)
    for variable, value in zip(trainer.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)
    with pytest.raises(UsageError, match="900: too many to be timed and trained in 0.001 minutes"):
        planning.speed(trainer, DEFAULT, loader, 900, 0.06)
    monkeypatch.setattr(planning, "speed", lambda *_: (60.0, 2.0, 0.0))
    now, quiet = time.monotonic(), Console(quiet=True)
    val = load_datasets(data, ("val",))["val"]
    epochs, steps = planning.duration(config, DEFAULT, trainer, loader, val, 0, now, quiet)
    assert steps == len(loader) == 8 and 8 <= epochs * steps <= 5 * 60 / 2
    monkeypatch.setattr(planning, "speed", lambda *_: (60.0, 2.0, 16.0))
    slower = planning.duration(config, DEFAULT, trainer, loader, val, 0, now, quiet)
    assert slower[0] < 0.8 * epochs, "what lies between two epochs, as long as eight steps, counts"
    monkeypatch.setattr(planning, "speed", lambda *_: (60.0, 2.0, 0.0))
    full = replace(val, records=[replace(val.records[0], annotations=val.records[0].annotations[:1] * 10**6)])
    planned = planning.duration(config, DEFAULT, trainer, loader, full, 0, now, quiet)
    assert planned[0] * planned[1] < epochs * steps / 2, "a million objects take COCO's matching minutes"


def test_flags_that_cannot_be(capsys, data, tmp_path):
    assert "--epochs or --minutes" in refused(capsys, "--epochs", "1", "--minutes", "2")
    assert "--epochs must be above 0" in refused(capsys, "--epochs", "0")
    assert "--minutes must be above 0" in refused(capsys, "--minutes", "-1")
    assert "multiples of 32" in refused(capsys, "--imgsz", "100")
    assert "--resume needs --out" in refused(capsys, "--resume")
    assert "--seed must be below" in refused(capsys, "--seed", "5000000000")
    said = refused(
        capsys,
        "--data",
        str(data),
        *FLAGS,
        "--epochs",
        "1",
        "--accumulate",
        "3",
        "--out",
        str(tmp_path / "a"),
    )
    assert "the whole training has only 2 batches" in said
    assert "no run to resume" in refused(capsys, "--resume", "--out", str(tmp_path / "nothing"))
    assert "missing.yaml" in refused(
        capsys, "--data", str(tmp_path / "missing.yaml"), "--out", str(tmp_path / "run")
    )
    (tmp_path / "no.keras").write_bytes(b"no weights")
    flags = ["--data", str(data), *FLAGS, "--weights", str(tmp_path / "no.keras")]
    assert "no.keras" in refused(capsys, *flags, "--out", str(tmp_path / "run"))


def test_a_state_file_that_is_none(capsys, tmp_path):
    for content in (b"{", b"[1]", b'{"epoch": 1}', b"\xff\xfe"):
        (tmp_path / "state.json").write_bytes(content)
        assert "is not the state of a training" in refused(capsys, "--resume", "--out", str(tmp_path))
