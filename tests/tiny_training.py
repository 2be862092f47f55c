"""What tests of the train command share: a tiny set, flags for it, steps without tracing."""

from pathlib import Path

import pytest
import yaml

from yoloseg import train as command
from yoloseg.data.coco_writer import write_coco
from yoloseg.data.shapes import load_shapes

FLAGS = ["--size", "n", "--imgsz", "64", "--batch", "8", "--seed", "3", "--workers", "1"]


def tiny_data(folder: Path) -> Path:
    """A data file over sixteen pictures to train on and four to validate on."""
    content = {}
    for split, clips in (("train", 8), ("val", 2)):
        write_coco(load_shapes(split, clips=clips, frames=2, height=64, width=64), folder / split)
        content[split] = {"annotations": f"{split}/annotations.json", "images": f"{split}/images"}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def step_eagerly(patch: pytest.MonkeyPatch, module) -> None:
    """Trainings of `module` take their steps eagerly: a dozen of them take less time than tracing them."""
    made = module.compile_trainer

    def compile_eager(trainer, *args):
        made(trainer, *args)
        trainer.run_eagerly = True

    patch.setattr(module, "compile_trainer", compile_eager)


def refused(capsys, *flags: str) -> str:
    assert command.main(list(flags)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said
    return said
