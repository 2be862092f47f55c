"""Objects that no anchor fits where anchors are assigned by IoU alone (`anchors_per_object` 0).

    python train/without_anchor.py --data animals.yaml

Anchors are fitted to the training pictures as a training does, and looked at in the sizes of its stages. An
object is counted where none of the anchors at the nearest centre of any level reaches its foreground IoU.
What was counted is in train/ablations.md.
"""

from dataclasses import dataclass

import numpy as np
import tyro
from rich.console import Console

from yoloseg.data.datafile import load_datasets
from yoloseg.data.letterbox import letterbox_matrix
from yoloseg.modeling.architecture import STRIDES
from yoloseg.training.config import TrainConfig
from yoloseg.training.recipes import DEFAULT
from yoloseg.training.run import build_model
from yoloseg.training.stages import stages


@dataclass
class Options:
    """Count the objects of a training set that no anchor fits."""

    data: str
    """A data file, or shapes."""
    pictures: int = 400
    """The first of them."""


def largest_excess(box: np.ndarray, anchors) -> float:
    """Of xyxy pixels: the largest IoU of an anchor less the foreground IoU of its level."""
    centre, sides = (box[:2] + box[2:]) / 2, np.maximum(box[2:] - box[:2], 1.0)
    found = []
    for stride, scale, level in zip(STRIDES, DEFAULT.level_scale, anchors, strict=True):
        nearest, level = (np.floor(centre / stride) + 0.5) * stride, np.array(level)
        high = np.minimum(centre + sides / 2, nearest + level / 2)
        low = np.maximum(centre - sides / 2, nearest - level / 2)
        common = np.maximum(high - low, 0).prod(1)
        iou = common / (sides.prod() + level.prod(1) - common)
        found.append(iou.max() - DEFAULT.foreground * scale)
    return max(found)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    dataset = load_datasets(options.data, ("train",))["train"]
    config = TrainConfig(data=options.data)
    model, *_ = build_model(config, DEFAULT, dataset, Console(quiet=True))
    for imgsz in sorted({stage.imgsz for stage in stages(DEFAULT, 100, config.input_size)}):
        missed = []
        for record in dataset.records[: options.pictures]:
            matrix = letterbox_matrix(record.height, record.width, imgsz)
            scale, shift = matrix[[0, 1], [0, 1]], matrix[:, 2]
            for one in record.annotations:
                if not one.crowd:
                    box = np.array(one.box) * np.tile(scale, 2) + np.tile(shift, 2)
                    missed.append(largest_excess(box, model.anchors) < 0)
        size = " x ".join(map(str, imgsz))
        print(f"{dataset.name} at {size}: {sum(missed)} of {len(missed)} objects have no anchor")


if __name__ == "__main__":
    main()
