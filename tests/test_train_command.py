"""The train command from flags to run folder, and its resuming, on sixteen tiny pictures; with the network as
it is in `test_the_graph_trains_until_patience_ends` and in processes of their own."""

import base64
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import keras
import numpy as np
import pytest
import yaml
from tiny_training import FLAGS, refused, step_eagerly

import yoloseg
from yoloseg import evaluate as evaluate_command
from yoloseg import train as command
from yoloseg.data.loader import Loader
from yoloseg.data.shapes import load_shapes
from yoloseg.modeling import architecture
from yoloseg.modeling.architecture import LEVELS
from yoloseg.modeling.network import YoloSeg
from yoloseg.training import checkpoint
from yoloseg.training import run as run_module
from yoloseg.training.config import TrainConfig
from yoloseg.training.losses import LOSSES
from yoloseg.training.recipes import DEFAULT, PAPER, RECIPES
from yoloseg.training.run import train
from yoloseg.training.stages import stages

pytestmark = pytest.mark.usefixtures("shallow")
EPOCHS = 3
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
WHOLE = dict(vars(architecture))  # before anything stands in for a part of it
EACH = [f"{loss}_{level}" for loss in LOSSES for level in LEVELS]


@pytest.fixture(scope="module")
def best(unbroken) -> YoloSeg:
    """Nobody changes it."""
    return yoloseg.load(unbroken / "best.keras")


def train_two_sizes(flags: list[str], **changes) -> int:
    """The command, by recipe `default` with its augmentation and a first epoch at half the sides, however
    short the training is."""
    recipe = replace(DEFAULT, stages=((0.34, 0.5), (1.0, 1.0)), short=0, **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "default", recipe)
        step_eagerly(patch, run_module)
        return command.main(flags)


@pytest.fixture(scope="module")
def unbroken(data, tmp_path_factory) -> Path:
    """The folder of a run of three epochs."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    flags = ["--data", str(data), "--epochs", str(EPOCHS), "--out", str(folder), *FLAGS]
    assert train_two_sizes(flags) == 0
    return folder


def table(folder: Path) -> list[dict[str, float]]:
    with open(folder / "results.csv", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_the_run_folder(unbroken, best, data):
    names = {path.name for path in unbroken.iterdir()}
    pictures = {
        "curves.png",
        "labels.png",
        "train_batch.jpg",
        "val_labels.jpg",
        "val_predictions.jpg",
        "pr_curve.png",
        "f1_curve.png",
        "confusion_matrix.png",
        "worst_pictures.jpg",
    }
    assert names == pictures | {
        "report.html",
        "best.keras",
        "last.keras",
        "config.yaml",
        "results.csv",
        "metrics.json",
        "tensorboard",
    }
    assert list(unbroken.glob("tensorboard/**/events.out.tfevents.*"))
    page = (unbroken / "report.html").read_text()
    for name in pictures:
        picture = cv2.imread(str(unbroken / name))
        least = 100 if name.endswith(".png") else 60  # photographs of this data are 64 pixels high
        assert picture.shape[0] > least and picture.std() > 5
        assert base64.b64encode((unbroken / name).read_bytes()).decode() in page, "not in the report"
    settings = yaml.safe_load((unbroken / "config.yaml").read_text())
    assert settings["flags"]["data"] == str(data) and settings["flags"]["imgsz"] == [64, 64]
    assert (settings["epochs"], settings["steps_per_epoch"], settings["batch"]) == (EPOCHS, 2, 8)
    first, second = settings["stages"]
    own = {"backbone frozen": False}
    assert first == own | {"epochs": [0, 1], "imgsz": [32, 32]}
    assert second == own | {"epochs": [1, 3], "imgsz": [64, 64]}
    assert [text.split("(")[0] for text in settings["augmented by"]] == ["Affine", "Flip", "Colour"]
    assert settings["recipe"]["name"] == "default" and settings["versions"]["keras"] == keras.__version__
    assert (settings["pictures"], settings["loaded layers"]) == (16, [])
    assert settings["classes"] == list(best.classes)
    assert settings["anchors"] == json.loads(json.dumps(best.anchors))


def test_results_hold_every_loss_and_every_balancing_weight(unbroken):
    rows = table(unbroken)
    scores = {"box_AP", "box_AP50", "mask_AP", "mask_AP50"}
    weights = {f"w_{name}" for name in EACH}
    assert set(rows[0]) == {"epoch", "loss", "learning_rate", "seconds", *scores, *EACH, *weights}
    assert [row["epoch"] for row in rows] == list(range(EPOCHS))
    for row in rows:
        assert np.isfinite([row[name] for name in ["loss", "seconds", "learning_rate", *EACH]]).all()
        weights = np.array([row[f"w_{name}"] for name in EACH])
        assert np.isfinite(weights).all() and not weights.any(), "recipe default learns none of them"
    evaluated = [row for row in rows if not np.isnan(row["mask_AP"])]
    assert [row["epoch"] for row in evaluated] == [1, 2], "every second epoch of so few, and the last"
    for row in evaluated:
        assert 0 <= row["mask_AP"] <= 1 and 0 <= row["box_AP50"] <= 1


def test_the_weights_and_metrics(unbroken, best, data):
    classes = load_shapes("train", clips=1, frames=1, height=64, width=64).classes
    for model in (best, yoloseg.load(unbroken / "last.keras")):
        assert (model.size, model.imgsz, model.classes) == ("n", (64, 64), classes)
        assert all(np.isfinite(w).all() for w in model.get_weights())
    metrics = json.loads((unbroken / "metrics.json").read_text())
    assert set(metrics["bbox"]) >= {"AP", "AP50", "AR100", "per_class"}
    highest = np.nanmax([row["mask_AP"] for row in table(unbroken)])
    assert metrics["segm"]["AP"] == pytest.approx(highest, abs=1e-9)


def test_the_evaluate_command_finds_the_same_metrics(unbroken, data, tmp_path):
    flags = ["--weights", str(unbroken / "best.keras"), "--data", str(data)]
    assert evaluate_command.main([*flags, "--out", str(tmp_path), "--save-json"]) == 0
    here, there = (json.loads((folder / "metrics.json").read_text()) for folder in (tmp_path, unbroken))
    for kind in ("bbox", "segm"):
        assert here[kind]["AP"] == pytest.approx(there[kind]["AP"], abs=1e-6)
        assert here[kind]["AR100"] == pytest.approx(there[kind]["AR100"], abs=1e-6)
    assert len(json.loads((tmp_path / "predictions.json").read_text())) == here["detections"] > 0
    assert (tmp_path / "report.html").stat().st_size > 10_000


def stop_at_epoch(monkeypatch, epoch: int) -> list[str]:
    """Ends a run as Ctrl-C would, when `epoch` (from 0) begins. Returns what is told of its progress bar."""
    told = []

    class Stop(run_module.ShowProgress):
        def __init__(self, *args):
            super().__init__(*args)
            self.bar.stop = lambda: told.append("stopped")

        def on_epoch_begin(self, number, logs=None):
            if number == epoch:
                raise KeyboardInterrupt
            super().on_epoch_begin(number, logs)

    monkeypatch.setattr(run_module, "ShowProgress", Stop)
    return told


@pytest.fixture(scope="module")
def broken(data, tmp_path_factory) -> Path:
    """The folder of the same run as `unbroken`, stopped before its first step and after its first epoch and
    stage."""
    folder = tmp_path_factory.mktemp("runs") / "broken"
    flags = ["--data", str(data), "--epochs", str(EPOCHS), "--out", str(folder), *FLAGS]
    with pytest.MonkeyPatch.context() as patch:
        told = stop_at_epoch(patch, 0)
        assert train_two_sizes(flags) == 130
    assert told == ["stopped"], "the terminal is given back"
    assert not (folder / "results.csv").exists() and checkpoint.only_started(folder)
    with pytest.MonkeyPatch.context() as patch:
        stop_at_epoch(patch, 1)
        assert train_two_sizes([*flags, "--resume"]) == 130
    assert (folder / "state.json").exists() and len(table(folder)) == 1
    return folder


def test_resume_gives_what_the_unbroken_run_gave(unbroken, broken, data, capsys):
    again = ["--data", str(data), "--epochs", str(EPOCHS), "--out", str(broken), "--resume", *FLAGS]
    # First, what must be refused or reported, and leave the state as it is.
    assert command.main([*again, "--seed", "4"]) == 2
    assert "was started with --seed 3" in capsys.readouterr().err
    assert command.main([*again, "--epochs", "5"]) == 2
    assert "was started with --epochs 3" in capsys.readouterr().err
    assert command.main([flag for flag in again if flag != "--resume"]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert train_two_sizes(again, mixing=0.5, rois=5) == 2
    assert "had another rois, mixing" in capsys.readouterr().err
    started = (broken / "config.yaml").read_text()
    (broken / "config.yaml").write_text(started.replace("anchors_per_object: 4", "each_object: true"))
    assert train_two_sizes(again) == 2
    assert "recipes had other fields (anchors_per_object, each_object)" in capsys.readouterr().err
    (broken / "config.yaml").write_text(started)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.backend, "backend", lambda: "other")
        assert train_two_sizes(again) == 2
    assert "was started on tensorflow, this is other" in capsys.readouterr().err
    state = next(broken.glob("state-*.weights.h5"))
    whole = state.read_bytes()
    state.write_bytes(whole[: len(whole) // 2])
    assert train_two_sizes(again) == 2
    said = capsys.readouterr().err
    assert state.name in said and "cannot resume" in said
    state.write_bytes(whole)
    # Then the resumed run itself.
    assert train_two_sizes(again) == 0
    ours, theirs = table(broken), table(unbroken)
    assert [row["epoch"] for row in ours] == list(range(EPOCHS))
    for row, expected in zip(ours, theirs, strict=True):
        for name in expected.keys() - {"seconds"}:
            assert row[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-5, nan_ok=True), name
    for name in ("last.keras", "best.keras"):
        found, expected = weights_in(broken / name), weights_in(unbroken / name)
        assert found.keys() == expected.keys() and len(found) > 100
        assert max(np.abs(found[path] - expected[path]).mean() for path in found) < 1e-4
    assert not list(broken.glob("state*")), "a finished run has nothing to resume"


def weights_in(path: Path) -> dict[str, np.ndarray]:
    """Every array of a .keras file by its place in it, without building the network."""
    found = {}
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if hasattr(item, "shape") else {}))
    return found


def backbone_of(model) -> list[list[np.ndarray]]:
    """Weights and moving statistics, layer by layer."""
    layers = [layer for layer in model.network.layers if layer.name.startswith(("stem", "csp"))]
    return [layer.get_weights() for layer in layers]


def same(first, second) -> list[bool]:
    pairs = [pair for one, other in zip(first, second, strict=True) for pair in zip(one, other, strict=True)]
    return [np.array_equal(a, b) for a, b in pairs]


@pytest.mark.parametrize(
    "flags, frozen",
    [
        (["--freeze", "backbone", "--freeze-epochs", "1"], [True, False]),
        (["--freeze", "backbone"], [True, True]),
    ],
)
def test_frozen_from_weights(flags, frozen, unbroken, best, data, tmp_path, monkeypatch):
    """The whole command, but for tracing: two epochs of a step each, taken eagerly. While the
    backbone is frozen its weights and moving statistics do not change by a bit; then they do."""
    before, made = [], run_module.compile_trainer

    def eager(trainer, *args):
        made(trainer, *args)
        trainer.run_eagerly = True
        assert set(trainer.rate_factors.values()) == {0.5}
        assert any("csp" in path for path in trainer.rate_factors), "what is frozen first is slow later"

    class Epochs(run_module.Epochs):
        def on_epoch_begin(self, epoch, logs=None):
            super().on_epoch_begin(epoch, logs)
            before.append(backbone_of(self.model.yoloseg))

        def on_train_end(self, logs=None):
            before.append(backbone_of(self.model.yoloseg))

    monkeypatch.setattr(run_module, "compile_trainer", eager)
    monkeypatch.setattr(run_module, "Epochs", Epochs)
    monkeypatch.setattr(run_module, "finish", lambda *_: None)
    metrics = json.loads((unbroken / "metrics.json").read_text())
    monkeypatch.setattr(run_module, "evaluate", lambda *_, **__: dict(metrics))
    monkeypatch.setattr(run_module, "duration", lambda *_: (2, 1))
    out, start = tmp_path / "run", str(unbroken / "best.keras")
    flags = [*flags, "--weights", start, "--loaded-rate", "0.5", "--data", str(data), *FLAGS]
    assert command.main([*flags, "--out", str(out)]) == 0
    assert all(same(backbone_of(best), before[0]))
    epochs = [(before[0], before[1]), (before[-2], before[-1])]
    for still, (first, second) in zip(frozen, epochs, strict=True):
        equal = same(first, second)
        assert all(equal) if still else sum(equal) < 0.1 * len(equal)
    settings = yaml.safe_load((out / "config.yaml").read_text())
    assert settings["anchors"] == json.loads(json.dumps(best.anchors))
    assert "stem_conv" in settings["loaded layers"]
    assert [stage["backbone frozen"] for stage in settings["stages"]] == sorted(set(frozen), reverse=True)


def test_a_picture_that_breaks_in_the_middle_of_an_epoch_is_named(data, tmp_path):
    """In a process of its own, to see all that it prints: one line, no traceback."""
    shutil.copytree(data.parent, tmp_path / "data")
    picture = sorted((tmp_path / "data" / "train" / "images").rglob("*.png"))[7]
    whole = picture.read_bytes()
    middle = len(whole) // 2  # header and end mark, all that is looked at before the first step, stay
    picture.write_bytes(whole[:middle] + bytes(200) + whole[middle + 200 :])
    flags = [
        "--data",
        str(tmp_path / "data" / data.name),
        "--epochs",
        "1",
        "--out",
        str(tmp_path / "run"),
        *FLAGS,
    ]
    done = subprocess.run(
        [sys.executable, "-m", "yoloseg.train", *flags],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 2, done.stderr
    assert picture.name in done.stderr.splitlines()[-1] and done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr


def test_epochs_of_other_sizes(unbroken, data, tmp_path, monkeypatch):
    """Four epochs on whole or half sides, as planned, a step each, taken eagerly; a size that comes again has
    the function it had before."""
    sizes, functions, made = [], {}, Loader.__getitem__

    def spy(loader, index):
        batch = made(loader, index)
        sizes.append((loader.epoch, batch["images"].shape[1:3]))
        return batch

    class Epochs(run_module.Epochs):
        def on_epoch_end(self, epoch, logs=None):
            size = self.loader.output_size
            assert functions.setdefault(size, self.model.train_function) is self.model.train_function

    monkeypatch.setattr(Loader, "__getitem__", spy)
    monkeypatch.setattr(run_module, "Epochs", Epochs)
    monkeypatch.setattr(run_module, "finish", lambda *_: None)
    metrics = json.loads((unbroken / "metrics.json").read_text())
    monkeypatch.setattr(run_module, "evaluate", lambda *_, **__: dict(metrics))
    step_eagerly(monkeypatch, run_module)
    config = TrainConfig(data=str(data), imgsz=(64,), batch=16, epochs=4, workers=1, out=tmp_path / "run")
    recipe = replace(PAPER, multi_scale=(0.5, 1.0), short=0)
    planned = [part.imgsz for part in stages(recipe, 4, (64, 64)) for _ in range(part.first, part.last)]
    assert planned == [(32, 32), (64, 64)] * 2, "away from a size, and back to it"
    train(config, recipe)
    assert set(sizes) == set(enumerate(planned)) and len(functions) == 2


def test_a_backbone_frozen_or_thawed_for_less_than_a_step_is_refused(unbroken, data, tmp_path, capsys):
    flags = ["--weights", str(unbroken / "best.keras"), "--freeze", "backbone", "--freeze-epochs", "1"]
    flags += ["--data", str(data), "--epochs", "3", "--accumulate", "3", "--out", str(tmp_path / "a"), *FLAGS]
    assert "frozen for the first 2 batches" in refused(capsys, *flags)
    flags[flags.index("--freeze-epochs") + 1] = "2"
    assert "no longer frozen only 2 batches are left" in refused(capsys, *flags)


def test_the_graph_trains_until_patience_ends(data, tmp_path, monkeypatch):
    """The whole `n` by recipe `paper` (its graph is made faster): the second evaluation, after ten epochs, is
    no better than the first (mask AP 0) and ends it."""
    for name in ("csp_stage", "spatial_pyramid_pooling", "mixed"):
        monkeypatch.setattr(architecture, name, WHOLE[name])
    config = TrainConfig(
        data=str(data), imgsz=(64,), batch=16, epochs=20, patience=1, workers=1, out=tmp_path / "run"
    )
    train(config, PAPER)
    rows = table(tmp_path / "run")
    assert [row["epoch"] for row in rows] == list(range(10)), "evaluated after five and ten epochs"
    assert [row["epoch"] for row in rows if not np.isnan(row["mask_AP"])] == [4, 9]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert all(rows[-1][f"w_{name}"] != 0 for name in EACH if name.startswith("objectness"))
    made = yoloseg.load(tmp_path / "run" / "best.keras")
    assert made.imgsz == (64, 64)
    assert "csp3_res0_a_conv" in {layer.name for layer in made.network.layers}
    assert (tmp_path / "run" / "report.html").exists()
