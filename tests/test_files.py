"""Files that cannot be written: a clear message, and what was there before is still there."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from yoloseg.errors import UsageError
from yoloseg.files import atomic_folder, write_json, write_text
from yoloseg.training.checkpoint import Progress, read_progress, save_state
from yoloseg.training.config import TrainConfig
from yoloseg.training.run import train

# A limit on the size of a file stands for a full disk: writing fails half-way, in the system's call.
FULL_DISK = """
import resource, sys, tempfile
from pathlib import Path
import keras, numpy as np
from yoloseg.errors import UsageError
from yoloseg.modeling.network import YoloSeg, save_model
from yoloseg.training.checkpoint import Progress, load_state, read_progress, save_state

folder = Path(sys.argv[1])
trainer = keras.Sequential([keras.Input((400,)), keras.layers.Dense(700)])
trainer.seed = keras.random.SeedGenerator(0)
trainer.compile("sgd", "mse")
trainer.fit(np.zeros((1, 400)), np.zeros((1, 700)), verbose=0)
save_state(folder, trainer, Progress(1, 5, 1, 0.0, -1.0))
model = YoloSeg("n", ["a"], [[(9.0, 9.0)]] * 4)
save_model(model, folder / "best.keras")
before = {path.name: path.read_bytes() for path in folder.iterdir()}

resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
for write in (
    lambda: save_state(folder, trainer, Progress(2, 5, 1, 0.0, -1.0)),
    lambda: save_model(model, folder / "best.keras"),
):
    try:
        write()
    except UsageError as error:
        print(error)
small = keras.Sequential([keras.Input((2,))] + [keras.layers.Dense(2) for _ in range(40)])
small.seed = trainer.seed
with tempfile.TemporaryDirectory() as whole:
    save_state(Path(whole), small, Progress(2, 5, 1, 0.0, -1.0))
    size = (Path(whole) / "state-00002.weights.h5").stat().st_size
for share in (0.2, 0.5, 0.8, 0.95, 0.999):  # what is written when the file is closed has other errors
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * size), 500_000))
    try:
        save_state(folder, small, Progress(2, 5, 1, 0.0, -1.0))
    except UsageError as error:
        assert "file too large" in str(error).lower(), error
    else:
        raise AssertionError(share)
assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
assert read_progress(folder).epoch == 1
load_state(folder, trainer, read_progress(folder))
print("all there")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_a_full_disk_loses_nothing(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(lines) == 3 and lines[2] == "all there", done.stdout
    for line, name in zip(lines, ("state-00002.weights.h5", "best.keras"), strict=False):
        assert line == f"cannot write {tmp_path / name}: File too large"


def test_what_h5py_says_when_the_disk_is_full_as_a_file_is_closed(tmp_path):
    """The text of its issue 1120: no OSError."""
    text = "Can't decrement id ref count (errno = 28, error message = 'No space left on device')"

    def save_weights(path):
        raise RuntimeError(text)

    trainer = SimpleNamespace(save_weights=save_weights)
    with pytest.raises(UsageError, match="cannot write .*state-00001.weights.h5: No space left on device"):
        save_state(tmp_path, trainer, Progress(1, 5, 1, 0.0, -1.0))
    text = "something else"
    with pytest.raises(RuntimeError, match="something else"):
        save_state(tmp_path, trainer, Progress(1, 5, 1, 0.0, -1.0))


def test_a_state_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "state.json").write_text("{}")

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(UsageError, match="state.json: cannot be read: Permission denied"):
        read_progress(tmp_path)


def test_a_folder_that_cannot_be_written_is_named_before_anything_else(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match=r"cannot write .*file.run"):
        train(TrainConfig(data="no such file", out=tmp_path / "file" / "run"))
    with pytest.raises(UsageError, match="cannot write .*file.metrics.json"):
        write_json(tmp_path / "file" / "metrics.json", {})


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that is read-only for everybody")
def test_a_read_only_folder():
    with pytest.raises(UsageError, match="cannot write /proc/"):
        write_text("/proc/yoloseg/metrics.json", "{}")


def test_a_folder_beside_what_a_killed_process_left(tmp_path):
    """In a container every process may have the same number."""
    left = tmp_path / f".{os.getpid()}.model"
    left.mkdir()
    (left / "half").write_text("")
    with pytest.raises(UsageError, match="cannot write"), atomic_folder(tmp_path / "model") as first:
        (first / "file").write_text("first")
        with atomic_folder(tmp_path / "model") as second:  # as by another thread, done before
            (second / "file").write_text("second")
    assert (tmp_path / "model" / "file").read_text() == "second" and (left / "half").exists()
    assert len(list(tmp_path.iterdir())) == 2


def test_the_longest_names_can_be_written(tmp_path):
    """What is written aside has a longer name."""
    for letter in ("x", "\N{CJK UNIFIED IDEOGRAPH-732B}"):
        size = 255 - len(".json")
        path = tmp_path / (letter * (size // len(letter.encode())) + ".json")
        write_json(path, [letter])
        assert [other.name for other in tmp_path.iterdir()] == [path.name]
        path.unlink()


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": 1\n}\n'
    assert len(list(tmp_path.iterdir())) == 1
