"""Metrics as tables for the terminal."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_TITLES = {"bbox": "boxes", "segm": "masks"}


def print_metrics(metrics: dict, console: Console | None = None) -> None:
    """Prints the official numbers of boxes and masks, AP at each IoU, and some numbers of every class, in 80
    columns; '-' where -1."""
    console = console or Console()
    recall = recall_name(metrics["segm"])
    summary = Table(title=f"{'LVIS' if '@' in recall else 'COCO'} metrics", box=SIMPLE)
    for title in ("", *_TITLES.values()):
        summary.add_column(title, justify="right" if title else "left")
    for name, value in metrics["bbox"].items():
        if isinstance(value, float):
            summary.add_row(name, *(_shown(metrics[kind][name]) for kind in _TITLES))
    for threshold in metrics["bbox"]["AP_by_IoU"]:
        values = (_shown(metrics[kind]["AP_by_IoU"][threshold]) for kind in _TITLES)
        summary.add_row(f"AP at IoU {threshold}", *values)
    console.print(summary)

    names = ("AP", "AP50", recall)
    classes = Table(title="per class", box=SIMPLE)
    classes.add_column("class", overflow="fold")
    classes.add_column("objects", justify="right")
    for title in _TITLES.values():
        for name in names:
            classes.add_column(f"{title}\n{name}", justify="right", no_wrap=True)
    classes.add_column("mean\nmask\nIoU", justify="right", no_wrap=True)
    for label, boxes in metrics["bbox"]["per_class"].items():
        masks = metrics["segm"]["per_class"][label]
        numbers = [_shown(values[name]) for values in (boxes, masks) for name in names]
        numbers.append(_shown(masks["mean_iou"]))
        classes.add_row(escape(label), str(boxes["instances"]), *numbers)
    console.print(classes)


def recall_name(metrics: dict, band: str = "") -> str:
    """What these metrics of one IoU type call the recall of objects of a size band ("", "s", "m", "l")."""
    names = (f"AR{band}@300", f"AR{band}" if band else "AR100")
    return next(name for name in names if name in metrics)


def _shown(value: float) -> str:
    return "-" if value < 0 else f"{value:.3f}"
