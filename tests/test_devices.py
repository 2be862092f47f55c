"""JAX trains, and two virtual devices as one does, at the same batch (in a process of its own)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_trainer import make_batch

from yoloseg.errors import UsageError
from yoloseg.training.config import TrainConfig
from yoloseg.training.devices import shared_by

JAX_FIT = """
import json, sys
from dataclasses import replace
from unittest.mock import patch
import keras, numpy as np
from small import small
from yoloseg.errors import UsageError
from yoloseg.modeling.network import YoloSeg
from yoloseg.training.callbacks import average_weights
from yoloseg.training.devices import alone, shared_by
from yoloseg.training.optimizers import build_optimizer
from yoloseg.training.recipes import DEFAULT
from yoloseg.training.run import precision
from yoloseg.training.trainer import Trainer
small().start()  # XLA compiles the whole `n` for a minute and more
batch = {name: value for name, value in np.load(sys.argv[1] + "/batch.npz").items()}
anchors = [[(6, 6), (10, 14)], [(16, 12), (20, 24)], [(32, 30), (24, 40)], [(50, 40), (60, 60)]]

class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 1
    def __getitem__(self, index):
        return batch

SLOW = replace(DEFAULT, learning_rate=DEFAULT.learning_rate / 10)
result = {}
for devices in (1, 2):
    with shared_by(devices, 2):
        keras.utils.set_random_seed(0)
        model = YoloSeg("n", ("bear", "otter", "tiger"), anchors, (64, 64))
        trainer = Trainer(model, SLOW)
        trainer.compile(build_optimizer(SLOW, trainer, 10), jit_compile=True)
        before = [np.array(v) for v in trainer.trainable_variables]
        history = trainer.fit(Batches(workers=1), epochs=3, shuffle=False, verbose=0).history
        with alone(), precision("float32"):
            averaged = YoloSeg.from_config(model.get_config())
            average_weights(trainer, averaged)
            seen = averaged(batch["images"], training=False)["P5"]["objectness"]
            after = [np.array(v) for v in trainer.trainable_variables]
        moved = [float(np.abs(a - b).max()) for a, b in zip(after, before)]
        used = len(model.trainable_variables[0].value.sharding.device_set)
    seen = np.asarray(seen).tolist()
    result[devices] = {"history": history, "devices": used, "seen": seen, "moved": moved}
    if devices == 1:
        later = trainer.fit(Batches(workers=1), epochs=8, initial_epoch=3, shuffle=False, verbose=0)
        result["later"] = later.history["loss"]
try:
    with shared_by(3, 3):
        pass
except UsageError as error:
    result["three"] = str(error)
try:
    with shared_by(2, 3):
        pass
except UsageError as error:
    result["odd"] = str(error)
trainer.train_function = None
with patch.object(Trainer, "compute_loss", side_effect=MemoryError("the device is full")):
    try:
        trainer.fit(Batches(workers=1), epochs=1, verbose=0)
    except Exception as error:
        result["failed"] = repr(error)
print("RESULT" + json.dumps(result))
"""


def test_jax_trains_and_two_devices_give_the_losses_of_one(tmp_path):
    """Eight steps by recipe `default` move every weight and bring the loss down.

    At a tenth of its rate: the P5 map of these pictures has eight places for batch normalisation, where
    rounding grows (at the full rate to 0.7 % in the third step).
    """
    np.savez(tmp_path / "batch.npz", **make_batch())
    flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
    environment = dict(os.environ, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu", XLA_FLAGS=flags)
    known = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(known)
    command = [sys.executable, "-c", JAX_FIT, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.split("RESULT")[1])
    one, two = found["1"], found["2"]
    assert (one["devices"], two["devices"]) == (1, 2)
    losses = one["history"]["loss"]
    assert found["later"][-1] < losses[0] and np.isfinite(one["moved"]).all() and min(one["moved"]) > 0
    assert set(one["history"]) == set(two["history"]) and len(losses) == 3
    for name, values in one["history"].items():
        np.testing.assert_allclose(two["history"][name][0], values[0], rtol=1e-4, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(two["history"][name], values, rtol=1e-3, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(two["seen"], one["seen"], rtol=1e-3, atol=1e-3)
    assert found["failed"] == "MemoryError('the device is full')", "a step's own error is raised"
    assert "JAX sees 2" in found["three"] and "cannot be shared by 2" in found["odd"]


def test_several_devices_need_jax():
    with pytest.raises(UsageError, match="KERAS_BACKEND=jax"), shared_by(2, 4):
        pass
    with shared_by(1, 3):
        pass
    with pytest.raises(UsageError, match="--devices must be above 0"):
        TrainConfig(devices=0)
