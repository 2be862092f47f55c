"""How many foreground anchors objects have, by each assignment.

    python train/foreground_anchors.py --data animals.yaml

Anchors are fitted to the training pictures as a training does, and assigned in the sizes of its stages (or in
--imgsz alone), pictures as they are. What was counted is in train/ablations.md.
"""

from dataclasses import dataclass, replace

import numpy as np
import tyro
from keras import ops
from rich.console import Console
from rich.table import Table

from yoloseg.data.datafile import load_datasets
from yoloseg.data.letterbox import letterbox_matrix
from yoloseg.data.records import Record
from yoloseg.modeling.architecture import STRIDES
from yoloseg.modeling.boxes import anchor_boxes
from yoloseg.training.config import TrainConfig
from yoloseg.training.recipes import DEFAULT, Recipe
from yoloseg.training.run import build_model
from yoloseg.training.stages import stages
from yoloseg.training.targets import assign_by_iou, assign_by_shape, best_anchor, own_anchors

RECIPES = {
    "by IoU alone": replace(DEFAULT, assignment="iou", anchors_per_object=0),
    f"by IoU, {DEFAULT.anchors_per_object} of its own for each object": DEFAULT,
    "several by aspect": replace(DEFAULT, assignment="shape"),
}


@dataclass
class Options:
    """Count the foreground anchors of the objects of a training set."""

    data: str
    """A data file, or shapes."""
    pictures: int = 400
    """The first of them."""
    imgsz: tuple[int, ...] | None = None
    """One or two sides, of the network input; the sizes of a training if not given."""


def boxes_in(record: Record, imgsz: tuple[int, int]) -> np.ndarray:
    """float32 [1, G, 4] xyxy in pixels of the letterboxed picture: all but crowd regions."""
    matrix = letterbox_matrix(record.height, record.width, imgsz)
    scale, shift = np.tile(matrix[[0, 1], [0, 1]], 2), np.tile(matrix[:, 2], 2)
    boxes = [np.array(one.box) * scale + shift for one in record.annotations if not one.crowd]
    return np.array(boxes, np.float32).reshape(1, -1, 4)


def foreground(boxes: np.ndarray, sides: list, imgsz: tuple[int, int], recipe: Recipe) -> np.ndarray:
    """int [G]: foreground anchors of each object, over all levels. sides: [A, 2] of each level."""
    grids = [(imgsz[0] // stride, imgsz[1] // stride) for stride in STRIDES]
    anchors = [anchor_boxes(*each, *grid) for *each, grid in zip(sides, STRIDES, grids, strict=True)]
    classes, total = np.zeros(boxes.shape[:2], np.int32), np.zeros(boxes.shape[1], int)
    best, own = best_anchor(sides, boxes), [None] * len(STRIDES)
    if recipe.anchors_per_object:
        own = own_anchors(anchors, grids, boxes, classes, recipe.anchors_per_object)
    for i, (level, grid) in enumerate(zip(anchors, grids, strict=True)):
        if recipe.assignment == "shape":
            found = assign_by_shape(level, grid, boxes, classes, best[i], recipe)
        else:
            found = assign_by_iou(level, grid, boxes, classes, i, recipe, own[i])
        matched = ops.convert_to_numpy(found.matched)[0][ops.convert_to_numpy(found.positive)[0] > 0]
        total += np.bincount(matched, minlength=len(total))
    return total


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    dataset = load_datasets(options.data, ("train",))["train"]
    config = TrainConfig(data=options.data, **({"imgsz": options.imgsz} if options.imgsz else {}))
    model, *_ = build_model(config, DEFAULT, dataset, Console(quiet=True))
    sides = [np.array(level, np.float32) for level in model.anchors]
    sizes = {stage.imgsz for stage in stages(DEFAULT, 100, config.input_size)}
    table = Table("assignment", "at", "objects", "without any", "with fewer than four", "median")
    for imgsz in [config.input_size] if options.imgsz else sorted(sizes):
        pictures = [boxes_in(record, imgsz) for record in dataset.records[: options.pictures]]
        for name, recipe in RECIPES.items():
            counts = [foreground(boxes, sides, imgsz, recipe) for boxes in pictures if boxes.shape[1]]
            counts = np.concatenate(counts)
            few = (f"{(counts < least).sum()}" for least in (1, 4))
            at = " x ".join(map(str, imgsz))
            table.add_row(name, at, f"{len(counts)}", *few, f"{np.median(counts):.0f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
