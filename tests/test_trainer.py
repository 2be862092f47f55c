"""Training steps on tiny pictures: what must fall falls, what is empty does no harm, and JAX agrees with
TensorFlow. Random pictures, 64 x 64."""

import gc
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace

import keras
import numpy as np
import pytest
from annotated import WRITERS, write
from small import small

from yoloseg.data.datafile import load_datasets
from yoloseg.data.loader import Loader
from yoloseg.modeling.network import YoloSeg
from yoloseg.training.optimizers import compile_trainer
from yoloseg.training.recipes import DEFAULT, PAPER
from yoloseg.training.trainer import Trainer

ANCHORS = [[(6, 6), (10, 14)], [(16, 12), (20, 24)], [(32, 30), (24, 40)], [(50, 40), (60, 60)]]
CLASSES = ("bear", "otter", "tiger")
SIZE = 64


def make_batch(kind: str = "objects") -> dict[str, np.ndarray]:
    """Two pictures of four slots, with objects in three of them (the first crowd, or as `kind` says)."""
    rng = np.random.default_rng(1)
    boxes = np.zeros((2, 4, 4), np.float32)
    boxes[:, 0] = [[5, 6, 25, 40], [30, 30, 64, 64]]
    boxes[:, 1] = [[40, 8, 50, 20], [0, 0, 9, 9]]
    boxes[:, 2] = [[10, 34, 58, 62], [4, 40, 20, 60]]
    classes = np.int32([[0, 2, 1, -1], [1, 0, -2, -1]])
    if kind == "zero-size boxes":
        boxes[..., 2:] = boxes[..., :2]
    elif kind == "one pixel":
        boxes[..., 2:] = np.where(boxes[..., 2:] > 0, np.minimum(boxes[..., :2] + 1, SIZE), 0)
    elif kind == "empty pictures":
        boxes[:], classes[:] = 0, -1
    elif kind == "one empty picture":
        boxes[0], classes[0] = 0, -1
    elif kind == "all crowds":
        classes = np.where(classes == -1, -1, -2).astype(np.int32)
    return {
        "images": rng.integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8),
        "boxes": boxes,
        "classes": classes,
        "masks": (255 * (rng.uniform(size=(2, 4, 7, 7)) > 0.4)).astype(np.uint8).repeat(8, 2).repeat(8, 3),
    }


KINDS = ["objects", "zero-size boxes", "one pixel", "empty pictures", "one empty picture", "all crowds"]


def make_trainer(recipe, classes=CLASSES, steps: int = 1000) -> Trainer:
    keras.utils.set_random_seed(0)
    layout = recipe.classes_per_anchor
    model = YoloSeg("n", classes, ANCHORS, (SIZE, SIZE), classes_per_anchor=layout, nms_iou=recipe.nms_iou)
    trainer = Trainer(model, recipe)
    compile_trainer(trainer, recipe, steps)
    return trainer


class Setting:
    """A compiled trainer and the weights it started from, so that tests can share its one trace."""

    def __init__(self, recipe, classes=CLASSES):
        self.trainer = make_trainer(recipe, classes)
        self.start = self.state()

    def variables(self):
        return self.trainer.variables + self.trainer.optimizer.variables

    def state(self):
        return [np.array(keras.ops.convert_to_numpy(v)) for v in self.variables()]

    def step(self, batch) -> dict[str, float]:
        self.trainer.reset_metrics()
        logs = self.trainer.train_on_batch(batch, return_dict=True)
        return {name: float(v) for name, v in logs.items()}

    def restart(self):
        for variable, value in zip(self.variables(), self.start, strict=False):
            variable.assign(value)


WHOLE = "default in float16"  # of these the one whose network is not a shallow stand-in
SETTINGS = {  # (precision, what makes it); every trace of the whole network takes half a minute
    "default in float16": ("mixed_float16", lambda: Setting(replace(DEFAULT, warmup_steps=0))),
    "paper in bfloat16": ("mixed_bfloat16", lambda: Setting(PAPER)),
    "one class, learned balance, anchors by aspect": (
        "float32",
        lambda: Setting(
            replace(DEFAULT, warmup_steps=0, balance="each", assignment="shape"), classes=("bear",)
        ),
    ),
}


@pytest.fixture(scope="module", params=SETTINGS)
def setting(request):
    gc.collect()  # the trainer before this one
    before = keras.config.dtype_policy()
    precision, make = SETTINGS[request.param]
    keras.config.set_dtype_policy(precision)
    try:
        with nullcontext() if request.param == WHOLE else small():
            made = make()
    finally:
        keras.config.set_dtype_policy(before)
    yield made
    del made
    keras.backend.clear_session()


@pytest.mark.parametrize("kind", KINDS)
def test_steps_stay_finite(setting, kind):
    """Two steps: losses, weights and the memory of the optimiser are numbers."""
    setting.restart()
    batch = make_batch(kind)
    if len(setting.trainer.yoloseg.classes) == 1:
        batch["classes"] = np.minimum(batch["classes"], 0)
    scaled = getattr(setting.trainer.optimizer, "inner_optimizer", None)
    if scaled:  # float16 skips steps until the scale of its losses is as small as this
        setting.trainer.optimizer.dynamic_scale.assign(16.0)
    for _ in range(2):
        logs = setting.step(batch)
        assert np.isfinite(list(logs.values())).all(), logs
    for variable, value in zip(setting.variables(), setting.state(), strict=True):
        assert np.isfinite(value).all(), variable.path
    if scaled:
        assert int(scaled.iterations) == 2, "no step was skipped"
    names = [name for name in logs if name != "loss"]
    assert len(names) == (12 if len(setting.trainer.yoloseg.classes) == 1 else 16)
    balance = keras.ops.convert_to_numpy(setting.trainer.balance.w)
    if kind in ("empty pictures", "all crowds"):
        assert not balance[:, [0, 2, 3]].any(), "only objectness has targets without objects"
        assert balance[:, 1].all() == (setting.trainer.recipe.balance != "fixed")
        assert all(logs[name] == 0 for name in names if "objectness" not in name)
    if len(setting.trainer.yoloseg.classes) == 1:
        assert not balance[:, 2].any(), "one class is nothing to learn"


@pytest.mark.parametrize("setting", ["paper in bfloat16"], indirect=True)
def test_every_format_trains_two_steps(setting, tmp_path):
    """The tiny set of each format, through the loader, into the same traced step. Classes beyond the
    network's are taken for its last."""
    setting.restart()
    last = len(setting.trainer.yoloseg.classes) - 1
    for format in WRITERS:
        (tmp_path / format).mkdir()
        dataset = load_datasets(write(format, tmp_path / format), ("train",))["train"]
        dataset.frequencies = ()  # the traced step knows no federated sets: tests/test_lvis_data.py
        loader = Loader(dataset, (SIZE, SIZE), 2, shuffle=False, workers=0)
        batch = {name: value if name == "images" else value[:, :4] for name, value in loader[0].items()}
        assert (batch["classes"][:, :2] >= 0).all() and (batch["classes"][:, 2:] < 0).all()
        batch["classes"] = np.minimum(batch["classes"], last)
        for _ in range(2):
            logs = setting.step(batch)
            assert all(np.isfinite(value) for value in logs.values()), format
            for loss in ("box_", "mask_"):
                assert sum(value for name, value in logs.items() if name.startswith(loss)) > 0, format


def test_the_loss_of_one_batch_falls(setting):
    setting.restart()
    batch = make_batch()
    if len(setting.trainer.yoloseg.classes) == 1:
        batch["classes"] = np.minimum(batch["classes"], 0)
    history = [setting.step(batch)["loss"] for _ in range(60)]
    assert np.mean(history[-3:]) < 0.97 * np.mean(history[:3]), history


def test_every_variable_is_moved_by_its_gradient(setting):
    """After one step no weight is where it started (bar biases whose gradient is 0 and weights of levels
    without targets), and momentum shows that each had a gradient."""
    setting.restart()
    trainer, batch = setting.trainer, make_batch()
    if len(trainer.yoloseg.classes) == 1:
        batch["classes"] = np.minimum(batch["classes"], 0)
    scaled = hasattr(trainer.optimizer, "inner_optimizer")
    for _ in range(14 if scaled else 2):  # float16 skips steps until its loss scale is small enough
        setting.step(batch)
    optimizer = trainer.optimizer.inner_optimizer if scaled else trainer.optimizer
    momenta = [v for v in optimizer.variables if v.path.endswith("momentum")]
    assert len(momenta) == len(trainer.trainable_variables)
    still = []
    for variable, momentum in zip(trainer.trainable_variables, momenta, strict=True):
        value = keras.ops.convert_to_numpy(momentum)
        assert np.isfinite(value).all(), variable.path
        if not value.any():
            still.append(variable.path)
    assert not still


JAX_LOSSES = """
import json, sys
import jax, keras, numpy as np
assert keras.backend.backend() == "jax"
from yoloseg.modeling.network import load_model
from yoloseg.training.recipes import RECIPES
from yoloseg.training.trainer import Trainer
folder = sys.argv[1]
batch = {name: value for name, value in np.load(folder + "/batch.npz").items()}
result = {}
for name in ("default", "paper"):
    model = load_model(folder + "/" + name + ".keras")
    trainer = Trainer(model, RECIPES[name])
    y = dict(np.load(folder + "/" + name + ".npz").items())

    @jax.jit
    def losses(batch, y):
        outputs = model(batch["images"], training=False)
        logits = model.mask_logits([outputs[level]["embedding"] for level in outputs], y["rois"])
        y_pred = {"outputs": outputs, "mask_logits": logits, **y}
        with keras.StatelessScope():  # the total is also put into metrics
            total = trainer.compute_loss(batch, None, y_pred)
        return trainer.losses_of(batch, y_pred), total

    values, total = losses(batch, y)
    result[name] = {key: [float(v), float(had)] for key, (v, had) in values.items()}
    result[name]["total"] = float(total)
print("RESULT" + json.dumps(result))
"""


def test_jax_gives_the_same_losses(tmp_path):
    """From the same weights, batch and ROIs (their choice is random), every loss of both recipes agrees. That
    it trains there: tests/test_devices.py."""
    batch = make_batch()
    np.savez(tmp_path / "batch.npz", **batch)
    expected = {}
    for recipe in (DEFAULT, PAPER):
        trainer = make_trainer(recipe)
        trainer.yoloseg.save(tmp_path / f"{recipe.name}.keras")
        y_pred = trainer(batch, training=False)
        chosen = {
            name: keras.ops.convert_to_numpy(y_pred[name]) for name in ("rois", "matched", "levels", "valid")
        }
        np.savez(tmp_path / f"{recipe.name}.npz", **chosen)
        values = trainer.losses_of(batch, y_pred)
        expected[recipe.name] = {key: [float(v), float(had)] for key, (v, had) in values.items()}
        expected[recipe.name]["total"] = float(trainer.compute_loss(batch, None, y_pred))
    quick = "--xla_backend_optimization_level=0"  # it compiles for longer than it computes
    environment = dict(os.environ, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu", XLA_FLAGS=quick)
    done = subprocess.run(
        [sys.executable, "-c", JAX_LOSSES, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.split("RESULT")[1])
    for name, losses in expected.items():
        assert set(found[name]) == set(losses)
        for key, value in losses.items():
            np.testing.assert_allclose(found[name][key], value, rtol=2e-4, atol=2e-5, err_msg=f"{name} {key}")
