"""The tracker's choices on the clips of a data set, with a trained network.

    python train/tracking_real.py --weights best.keras --data clips.yaml

Prints the YouTube-VIS AP, HOTA, IDF1, switches and fragmentations. What was measured is in train/tracking.md.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import tyro

import yoloseg
from yoloseg.data.datafile import load_datasets
from yoloseg.evaluation.vis_model import evaluate_tracks
from yoloseg.tracking import TrackerConfig

BEST = TrackerConfig()
CONFIGS = {
    "report": TrackerConfig.report(),
    "default": BEST,
    "across_classes": replace(BEST, across_classes=True),
    "reid": replace(BEST, reid=True),
    "new_score .4": replace(BEST, new_score=0.4),
}


@dataclass
class Options:
    """Compare configurations of the tracker on a set of clips."""

    weights: Path
    """A .keras file."""
    data: str
    """A data file whose split has clips."""
    split: str = "val"
    """Which."""
    conf: tuple[float, ...] = (0.2,)
    """Score thresholds, beside the stored one."""


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    model = yoloseg.load(options.weights)
    dataset = load_datasets(options.data, splits=(options.split,))[options.split]
    for name, config in CONFIGS.items():
        for conf in (None, *options.conf):
            metrics = evaluate_tracks(model, dataset, config, score_threshold=conf, progress=False).metrics
            tracks, own = metrics["segm"], metrics["identity"]
            shown = f"AP {tracks['AP']:.3f} AP50 {tracks['AP50']:.3f} HOTA {own['HOTA']:.3f}"
            counts = f"switches {own['switches']} fragmentations {own['fragmentations']}"
            label = f"{name}, threshold {conf or 'stored'}"
            print(f"{label}: {shown} IDF1 {own['IDF1']:.3f} {counts}", flush=True)


if __name__ == "__main__":
    main()
