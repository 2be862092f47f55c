"""What a run folder holds when a training is started, resumed, or ended."""

import errno
import fcntl
import os
from dataclasses import asdict, replace

import keras
import numpy as np
import pytest
import yaml

from yoloseg import train as command
from yoloseg.data.records import Annotation, Dataset, Record, Verified
from yoloseg.data.shapes import load_shapes
from yoloseg.errors import UsageError
from yoloseg.files import write_json
from yoloseg.training import checkpoint
from yoloseg.training import run as run_module
from yoloseg.training.callbacks import Results
from yoloseg.training.checkpoint import Progress
from yoloseg.training.config import TrainConfig
from yoloseg.training.recipes import DEFAULT
from yoloseg.training.run import train
from yoloseg.training.run_config import check_same_data, digest, flags_of, plain, read_config
from yoloseg.training.run_folder import claimed


def claim(config):
    with claimed(config) as folder:
        assert folder == config.out
        assert (folder / ".lock").exists()


def test_two_trainings_do_not_write_into_one_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(out=tmp_path / "run")
    with claimed(config) as folder:
        for other in (config, replace(config, resume=True)):
            with pytest.raises(UsageError, match="another training writes there"), claimed(other):
                pass
        (folder / "config.yaml").write_text("")
        with claimed(TrainConfig()) as first, claimed(TrainConfig()) as second:
            assert [str(path) for path in (first, second)] == ["runs/train", "runs/train2"]
    assert [path.name for path in folder.iterdir()] == ["config.yaml"], "the lock goes"
    assert not any((tmp_path / "runs").iterdir()), "nothing was left in these"
    claim(config)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_and_trained_on(tmp_path, monkeypatch, code):
    def flock(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    config = TrainConfig(out=tmp_path / "run")
    with pytest.warns(UserWarning, match="cannot be locked"), claimed(config) as folder:
        assert folder.is_dir()


def test_a_start_that_fails_leaves_no_folder(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for flags in (["--data", "gone.yaml"], ["--data", "gone.yaml", "--out", "mine"]):
        assert "gone.yaml" in refused(capsys, *flags)
    assert "no run to resume" in refused(capsys, "--resume", "--out", "typo")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"] and not any((tmp_path / "runs").iterdir())


def test_a_run_stopped_in_its_first_epoch_can_be_started_again_or_resumed(tmp_path):
    (tmp_path / "config.yaml").write_text("flags: {}")
    config = TrainConfig(out=tmp_path)
    claim(config)
    (tmp_path / "last.keras").write_bytes(b"")
    with pytest.raises(UsageError, match="holds a run already"):
        claim(config)
    start = Progress(0, 3, 2, 0.0, -1.0)
    checkpoint.save_start(tmp_path, start)  # killed after last.keras, before its state
    (tmp_path / f".{os.getpid()}.state-00001.weights.h5").write_bytes(b"half")
    claim(config)
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml"}
    checkpoint.save_start(tmp_path, start)
    (tmp_path / "last.keras").write_bytes(b"")
    claim(replace(config, resume=True))
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "last.keras", "state.json"}
    assert checkpoint.read_progress(tmp_path) == replace(start, random=[])
    checkpoint.load_state(tmp_path, None, checkpoint.read_progress(tmp_path))  # nothing to restore
    write_json(tmp_path / "state.json", asdict(replace(start, epoch=1, weights="state-00001.weights.h5")))
    with pytest.raises(UsageError, match="holds a run already"):
        claim(config)


def refused(capsys, *flags: str) -> str:
    assert command.main(list(flags)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said
    return said


def test_a_finished_run_says_so(capsys, tmp_path):
    for name in ("best.keras", "report.html", "state-00009.weights.h5"):  # killed while it cleared up
        (tmp_path / name).write_text("")
    assert "finished run" in refused(capsys, "--resume", "--out", str(tmp_path))
    assert not list(tmp_path.glob("state*"))
    assert "holds a run already" in refused(capsys, "--out", str(tmp_path))


def test_a_run_that_patience_ended_does_not_go_on_when_resumed(tmp_path):
    """It was killed in its report: not a step is taken (there is no trainer), nor anything written."""
    progress = Progress(10, 100, 2, 9.0, 0.2, stale=3)
    run_module.fit(None, None, None, tmp_path, progress, [], None, patience=3)
    assert not list(tmp_path.iterdir())


def test_resumed_on_other_data_it_says_what_changed(tmp_path):
    dataset = load_shapes("train", clips=8, frames=2, height=64, width=64)
    val = load_shapes("val", clips=2, frames=2, height=64, width=64)
    both = {"train": dataset, "val": val}
    was = {"pictures": 16, "classes": list(dataset.classes)}
    was["outlines"] = {split: digest(one) for split, one in both.items()}
    check_same_data(was, both, tmp_path)
    with pytest.raises(UsageError, match=r"started on 17 pictures of .* now has 16 pictures"):
        check_same_data(was | {"pictures": 17}, both, tmp_path)
    with pytest.raises(UsageError, match="16 pictures of one, other, and"):
        check_same_data(was | {"classes": ["one", "other"]}, both, tmp_path)
    first, *rest = val.records
    one, *others = first.annotations
    moved = one.segmentation | {"counts": b"1" + one.segmentation["counts"]}
    for changed in (
        replace(first, annotations=(replace(one, class_index=one.class_index + 1), *others)),
        replace(first, annotations=(replace(one, box=(0.0, *one.box[1:])), *others)),
        replace(first, annotations=tuple(others)),
        replace(first, annotations=(replace(one, segmentation=moved), *others)),
        replace(first, verified=Verified(frozenset({1}))),
        replace(first, image_id=99, frame_of=None),
    ):
        with pytest.raises(UsageError, match="annotations of shapes-val are not what they were"):
            check_same_data(was, both | {"val": replace(val, records=[changed, *rest])}, tmp_path)


def test_a_config_that_is_none_or_of_another_version(tmp_path):
    config = TrainConfig(out=tmp_path, resume=True)
    old = {"flags": flags_of(config), "recipe": plain(DEFAULT), "versions": {"yoloseg": "0.0"}}
    texts = (
        ("{", "not the config"),
        ("[]", "not the config"),
        (yaml.safe_dump(old), "lacks pictures, classes"),
    )
    for text, told in texts:
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(UsageError, match=told):
            read_config(config, DEFAULT, tmp_path)


def test_rows_of_epochs_that_are_done_again_are_dropped(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("epoch,loss\n0,3.0\n2,1.0\n3,0.5\n")  # the row of epoch 1 was lost
    results = Results(path, done=3)
    results.on_epoch_end(3, {"loss": 0.25})
    assert path.read_text() == "epoch,loss\n0,3.0\n2,1.0\n3,0.25\n"


def test_the_report_is_of_float32_as_the_metrics_are(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(run_module, "_train", lambda *_: seen.append(keras.config.dtype_policy().name))
    monkeypatch.setattr(run_module, "finish", lambda *_: seen.append(keras.config.dtype_policy().name))
    train(TrainConfig(precision="mixed_bfloat16", out=tmp_path / "run"))
    assert seen == ["mixed_bfloat16", "float32"]


@pytest.mark.parametrize("fullest, kept", [(1, 100), (100, 100), (101, 200), (510, 600), (2000, 1000)])
def test_as_many_detections_are_kept_as_the_fullest_picture_has_objects(fullest, kept):
    square = np.array([[0, 0], [4, 0], [4, 4]], np.float32)
    one, crowd = (Annotation(0, (square,), (0, 0, 4, 4), 8.0, crowd=crowd) for crowd in (False, True))
    records = [
        Record(k, lambda: np.zeros((8, 8, 3), np.uint8), 8, 8, (one,) * count + (crowd,) * 700)
        for k, count in enumerate((0, fullest))
    ]
    assert run_module.room_for(Dataset("full", ("a",), (1,), records)) == kept
