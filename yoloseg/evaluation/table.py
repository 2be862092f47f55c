"""Metrics as tables for the terminal."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_TITLES = {"bbox": "boxes", "segm": "masks"}


def print_metrics(metrics: dict, console: Console | None = None) -> None:
    """Prints the official numbers of boxes and masks, AP at each IoU, and some numbers of every class, in 80
    columns; '-' where -1. Of tracks, which have no boxes, those of masks, and "identity" if it is there."""
    console = console or Console()
    recall = recall_name(metrics["segm"])
    titles = {kind: title for kind, title in _TITLES.items() if kind in metrics}
    definition = "YouTube-VIS" if "bbox" not in metrics else "LVIS" if "@" in recall else "COCO"
    summary = Table(title=f"{definition} metrics", box=SIMPLE)
    for title in ("", *titles.values()):
        summary.add_column(title, justify="right" if title else "left")
    for name, value in metrics["segm"].items():
        if isinstance(value, float):
            summary.add_row(name, *(number_text(metrics[kind][name]) for kind in titles))
    for threshold in metrics["segm"]["AP_by_IoU"]:
        values = (number_text(metrics[kind]["AP_by_IoU"][threshold]) for kind in titles)
        summary.add_row(f"AP at IoU {threshold}", *values)
    console.print(summary)

    names = ("AP", "AP50", recall)
    classes = Table(title="per class", box=SIMPLE)
    classes.add_column("class", overflow="fold")
    classes.add_column("objects", justify="right")
    for title in titles.values():
        for name in names:
            classes.add_column(f"{title}\n{name}", justify="right", no_wrap=True)
    if "bbox" in metrics:
        classes.add_column("mean\nmask\nIoU", justify="right", no_wrap=True)
    for label, masks in metrics["segm"]["per_class"].items():
        numbers = [number_text(metrics[kind]["per_class"][label][name]) for kind in titles for name in names]
        if "bbox" in metrics:
            numbers.append(number_text(masks["mean_iou"]))
        classes.add_row(escape(label), str(masks["instances"]), *numbers)
    console.print(classes)
    if "identity" in metrics:
        _print_identity(metrics["identity"], console)


def _print_identity(identity: dict, console: Console) -> None:
    table = Table(title=f"identity (tracks from score {identity['score_threshold']:g})", box=SIMPLE)
    table.add_column("class", overflow="fold")
    names = [name for name in identity if name not in ("per_class", "score_threshold")]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for label, numbers in [("all", identity), *identity["per_class"].items()]:
        values = [numbers[name] for name in names]
        texts = [number_text(value) for value in values]
        table.add_row(escape(label), *texts)
    console.print(table)


def recall_name(metrics: dict, band: str = "") -> str:
    """What these metrics of one IoU type call the recall of objects of a size band ("", "s", "m", "l")."""
    if f"AR{band}@300" in metrics:
        return f"AR{band}@300"
    if band:
        return f"AR{band}"
    limits = [int(name[2:]) for name in metrics if name.startswith("AR") and name[2:].isdigit()]
    return f"AR{max(limits)}"


def number_text(value: float) -> str:
    """A metric as tables show it: "-" where there is nothing to measure, counts whole."""
    return "-" if value < 0 else f"{value:.3f}" if isinstance(value, float) else str(value)
