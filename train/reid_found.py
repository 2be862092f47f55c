"""What `--reid` is worth with the network's own detections: HOTA, IDF1 and switches on the built-in clips as
they are, and cut as in train/reid.py.

    python train/reid_found.py --weights best-reid.keras

What was measured is in train/reid.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from reid import LATER, cut

import yoloseg
from yoloseg.data.records import Dataset
from yoloseg.data.shapes import load_shapes
from yoloseg.evaluation.vis_model import evaluate_tracks
from yoloseg.inference.finder import Found
from yoloseg.inference.keras_finder import KerasFinder
from yoloseg.modeling.network import YoloSeg
from yoloseg.tracking import TrackerConfig
from yoloseg.training.reid_trainer import with_head

KNOWN = replace(LATER, reid=True)


@dataclass
class Options:
    """Measure re-identification on what a network finds in the clips of `shapes`."""

    weights: Path
    """A .keras file with a re-identification head."""
    clips: int = 10
    """How many."""
    frames: int = 120
    """Of each."""
    split: str = "test"
    """Of the shapes."""


class Once(KerasFinder):
    """Looks at every picture once, however many trackers ask."""

    def __init__(self, model: YoloSeg):
        super().__init__(model, embeddings=True)
        self.known: dict[bytes, Found] = {}

    def find(
        self, pictures: Sequence[np.ndarray], score_threshold: float, max_detections: int
    ) -> list[Found]:
        for picture in pictures:
            if picture.tobytes() not in self.known:
                found = super().find([picture], score_threshold, max_detections)[0]
                self.known[picture.tobytes()] = found
        return [self.known[picture.tobytes()] for picture in pictures]


def with_cuts(dataset: Dataset, frames: int) -> Dataset:
    records = []
    for start in range(0, len(dataset), frames):
        records += cut(dataset.records[start : start + frames], np.random.default_rng(start))
    return replace(dataset, records=records)


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    whole = load_shapes(options.split, clips=options.clips, frames=options.frames)
    sets = {"as they are": whole, "cut": with_cuts(whole, options.frames)}
    model = yoloseg.load(options.weights)
    by_head, plain = Once(model), Once(with_head(model, 0))
    arms = {
        "default": (by_head, TrackerConfig()),
        "memory 90": (by_head, LATER),
        "reid, no head, memory 90": (plain, KNOWN),
        "reid, head, memory 90": (by_head, KNOWN),
    }
    for arm, (finder, config) in arms.items():
        for kind, dataset in sets.items():
            own = evaluate_tracks(finder, dataset, config, progress=False).metrics["identity"]
            shown = " ".join(f"{name} {own[name]:.3f}" for name in ("HOTA", "AssA", "IDF1"))
            print(f"{arm}, clips {kind}: {shown} switches {own['switches']}", flush=True)


if __name__ == "__main__":
    main()
