"""Metrics as tables for the terminal."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from yoloseg.evaluation.coco_metrics import METRIC_NAMES

_TITLES = {"bbox": "boxes", "segm": "masks"}


def print_metrics(metrics: dict, console: Console | None = None) -> None:
    """Prints the twelve numbers of boxes and masks, and some of every class, in 80 columns; '-' where -1."""
    console = console or Console()
    summary = Table(title="COCO metrics", box=SIMPLE)
    for title in ("", *_TITLES.values()):
        summary.add_column(title, justify="right" if title else "left")
    for name in METRIC_NAMES:
        summary.add_row(name, *(_shown(metrics[kind][name]) for kind in _TITLES))
    console.print(summary)

    names = ("AP", "AP50", "AR100")
    classes = Table(title="per class", box=SIMPLE)
    classes.add_column("class", overflow="fold")
    classes.add_column("objects", justify="right")
    for title in _TITLES.values():
        for name in names:
            classes.add_column(f"{title}\n{name}", justify="right", no_wrap=True)
    for label, boxes in metrics["bbox"]["per_class"].items():
        masks = metrics["segm"]["per_class"][label]
        numbers = [_shown(values[name]) for values in (boxes, masks) for name in names]
        classes.add_row(escape(label), str(boxes["instances"]), *numbers)
    console.print(classes)


def _shown(value: float) -> str:
    return "-" if value < 0 else f"{value:.3f}"
