"""Suppression per level and then across levels, as the report has it, against across levels alone.

    python train/suppression.py --weights runs/animals/best.keras --data animals.yaml

The same weights, evaluated both ways.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from yoloseg.data.datafile import load_datasets
from yoloseg.evaluation.evaluate_model import evaluate
from yoloseg.modeling.network import load_model


@dataclass
class Options:
    """Compare suppression in two stages with one."""

    weights: Path
    """What training wrote."""
    data: str
    """A data file, or `shapes`."""
    split: str = "val"
    """What is evaluated."""


def main(options: Options) -> None:
    """Prints box and mask AP of both."""
    dataset = load_datasets(options.data, (options.split,))[options.split]
    table = Table("suppression", "box AP", "box AP50", "mask AP", "mask AP50")
    for name, two_stages in (("per level, then across", True), ("across levels", False)):
        model = load_model(options.weights)
        model.two_stage_nms = two_stages
        metrics = evaluate(model, dataset, progress=False)
        scores = [metrics[kind][key] for kind in ("bbox", "segm") for key in ("AP", "AP50")]
        table.add_row(name, *(f"{score:.4f}" for score in scores))
    Console().print(table)


if __name__ == "__main__":
    main(tyro.cli(Options))
