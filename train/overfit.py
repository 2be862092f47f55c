"""Does the network learn at all? Trains on the first pictures of a COCO file and scores itself on the same.

    python train/overfit.py --annotations instances.json --images FOLDER --pictures 16

On the first 16 pictures of a COCO sample (194 objects), 240 epochs, 15 minutes on two cores: box AP50 .977,
mask AP50 .947 (AP .771).
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
import yaml

from yoloseg.data.augment import Augmentation
from yoloseg.files import write_json, write_text
from yoloseg.training.config import TrainConfig
from yoloseg.training.recipes import DEFAULT
from yoloseg.training.run import train

# The very pictures that are scored, at their full size from the first step.
RECIPE = replace(DEFAULT, name="overfit", augmentation=Augmentation(flip=0.0), stages=((1.0, 1.0),))


@dataclass
class Options:
    """Overfit the first pictures of a COCO file."""

    annotations: Path
    """COCO JSON."""
    images: Path
    """Folder its file names are relative to."""
    pictures: int = 16
    """How many pictures, in the file's order."""
    epochs: int = 240
    """How often each picture is seen."""
    batch: int = 16
    """Pictures a step."""
    out: Path = Path("runs/overfit")
    """Run folder."""


def write_subset(options: Options) -> Path:
    """Writes the annotations of the first pictures and a data file whose train and val they both are."""
    document = json.loads(options.annotations.read_text(encoding="utf-8"))
    images = document["images"][: options.pictures]
    ids = {image["id"] for image in images}
    annotations = [entry for entry in document["annotations"] if entry["image_id"] in ids]
    write_json(options.out / "subset.json", document | {"images": images, "annotations": annotations})
    split = {"annotations": "subset.json", "images": str(options.images.resolve())}
    write_text(options.out / "subset.yaml", yaml.safe_dump({"train": split, "val": split}))
    return options.out / "subset.yaml"


if __name__ == "__main__":
    options = tyro.cli(Options)
    data = write_subset(options)
    train(TrainConfig(data=str(data), epochs=options.epochs, batch=options.batch, out=options.out), RECIPE)
