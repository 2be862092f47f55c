"""The benchmark command on tiny sizes; times themselves are never asserted."""

import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest

from yoloseg import benchmark
from yoloseg.errors import UsageError
from yoloseg.inference import benchmark as prediction
from yoloseg.memory import peak_memory
from yoloseg.modeling.network import save_model
from yoloseg.training.benchmark import TrainingTimes

# The command in a process of its own, but for graphs, which take longer to make than to run once.
EAGERLY = """
import sys
from yoloseg import benchmark
before = benchmark.set_threads
def set_threads(threads):
    before(threads)
    import tensorflow as tf  # not earlier: it starts with these threads
    tf.config.run_functions_eagerly(True)
benchmark.set_threads = set_threads
sys.exit(benchmark.main(sys.argv[1:]))
"""


def run(*flags):
    command = [sys.executable, "-c", EAGERLY, *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_prediction_command_with_weights_and_picture(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (48, 80, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "p.png"), picture)
    save_model(prediction.untrained_network("n", (128, 128), picture), tmp_path / "w.keras")
    flags = ("--weights", tmp_path / "w.keras", "--source", tmp_path / "p.png", "--imgsz", 128, 160)
    done = run(*flags, "--masks", 3, "--repeats", 2)
    assert done.returncode == 0, done.stderr
    for word in ("letterbox", "dense network", "suppression", "mask subnet, 3", "3 masks pasted", "total"):
        assert word in done.stdout
    assert "80 x 48 picture, input 128 x 160" in done.stdout
    assert "1 threads" in done.stdout


def test_training_command():
    flags = ("--imgsz", 64, "--batch", 2, "--repeats", 1, "--threads", 1, "--precision", "mixed_bfloat16")
    done = run("--train", *flags)
    assert done.returncode == 0, done.stderr
    for word in ("an image", "waiting for data", "peak memory", "input 64 x 64, batch 2", "mixed_bfloat16"):
        assert word in done.stdout


@pytest.mark.parametrize(
    "flags",
    [
        ("--masks", "0"),
        ("--repeats", "0"),
        ("--threads", "0"),
        ("--precision", "mixed_bfloat16"),
    ],
)
def test_flags_that_cannot_work(flags, capsys):
    assert benchmark.main(flags) == 2
    assert flags[0] in capsys.readouterr().err


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "yoloseg.benchmark", "--repeats", "0"], capture_output=True)
    assert done.returncode == 2 and b"--repeats must be at least 1" in done.stderr


def test_threads_cannot_be_set_once_keras_runs():
    assert keras.__version__
    with pytest.raises(UsageError, match="fresh process"):
        benchmark.set_threads(1)


def test_untrained_scores_differ_at_every_level():
    """The forced masks are those of distinct detections, not of a thousand ties."""
    picture = prediction.rendered_picture()
    assert picture.shape == (480, 640, 3) and picture.dtype == np.uint8
    model = prediction.untrained_network("n", (96, 128), picture)
    times = prediction.time_prediction(model, picture, 20, 1)
    assert times.masks == 20 and times.picture == (480, 640)
    assert all(len(seconds) == 1 for seconds in times.parts.values())
    with pytest.raises(UsageError, match="--masks must be at most 100"):
        prediction.time_prediction(model, picture, 101, 1)


def test_arithmetic_of_training_times():
    times = TrainingTimes("t", 4, [0.1, 0.3], [0.9, 0.7], peak_memory())
    assert times.seconds_per_image == pytest.approx(0.25)
    assert times.share_waiting == pytest.approx(0.2)
    assert times.peak_memory is None or times.peak_memory > 50e6
