"""A picture of what a dataset holds: classes, sizes, places, objects a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from yoloseg.data.letterbox import letterbox_matrix
from yoloseg.data.lettering import plain_text
from yoloseg.data.records import Dataset
from yoloseg.data.summary import count_instances
from yoloseg.files import atomic_write

MAX_POINTS = 20_000
MAX_CLASSES = 40


def save_label_plot(
    dataset: Dataset, imgsz: tuple[int, int], path: str | Path, anchors: np.ndarray | None = None
) -> None:
    """Writes a PNG of four: instances a class (the 40 most frequent), box sides and centres in pixels of the
    network input imgsz (height, width), objects a picture. anchors: [N, 2] (width, height), drawn as crosses.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    boxes, per_picture = letterboxed_boxes(dataset, imgsz)
    counts, _ = count_instances(dataset)
    figure = Figure(figsize=(13, 9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    order = np.argsort(-counts, kind="stable")[:MAX_CLASSES]
    bars = axes[0, 0].bar(range(len(order)), counts[order], color="C0")
    if len(order) <= 20:
        axes[0, 0].bar_label(bars, fontsize=8)
    names = [plain_text(dataset.classes[k], f"class {k}") for k in order]
    axes[0, 0].set_xticks(range(len(order)), names, rotation=90, fontsize=8)
    title = f"{plain_text(dataset.name)}: {counts.sum():,} instances of {len(counts)} classes"
    axes[0, 0].set_title(title, fontsize=10)
    shown = boxes[:: max(1, -(-len(boxes) // MAX_POINTS))]
    sides = shown[:, 2:] - shown[:, :2]
    axes[0, 1].scatter(*sides.T, s=4, alpha=0.3, linewidths=0, label="boxes")
    if anchors is not None:
        axes[0, 1].scatter(*np.asarray(anchors).T, s=50, marker="X", edgecolors="black", label="anchors")
        axes[0, 1].legend(fontsize=8, loc="upper left")
    if len(shown) or anchors is not None:
        axes[0, 1].set(xscale="log", yscale="log")
    axes[0, 1].set(xlabel="width", ylabel="height")
    axes[0, 1].set_title(f"box sides in pixels at {imgsz[0]} x {imgsz[1]}", fontsize=10)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    limits = [[0, imgsz[1]], [0, imgsz[0]]]
    axes[1, 0].hist2d(*centres.T, bins=(32, 32), range=limits, cmap="viridis")
    axes[1, 0].set(xlim=limits[0], ylim=limits[1][::-1], aspect="equal")
    axes[1, 0].set_title("box centres", fontsize=10)
    most = max(int(per_picture.max(initial=0)), 1)
    step = -(-(most + 1) // 60)  # whole numbers in every bin, as many in each
    axes[1, 1].hist(per_picture, bins=np.arange(0, most + 1 + step, step) - 0.5, color="C2")
    axes[1, 1].set(xlabel="objects in a picture", ylabel="pictures")
    axes[1, 1].set_title(f"{len(dataset):,} pictures", fontsize=10)
    with atomic_write(path) as aside:
        figure.savefig(aside, dpi=80, format="png")


def letterboxed_boxes(dataset: Dataset, imgsz: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(boxes [N, 4] xyxy in pixels of the network input, objects a picture [P]); crowds are left out."""
    boxes, counts = [], []
    for record in dataset.records:
        own = [one.box for one in record.annotations if not one.crowd]
        counts.append(len(own))
        if own:
            matrix = letterbox_matrix(record.height, record.width, imgsz)
            scale, shift = matrix[[0, 1], [0, 1]], matrix[:, 2]
            boxes.append(np.array(own, np.float64) * np.tile(scale, 2) + np.tile(shift, 2))
    return np.concatenate([np.zeros((0, 4)), *boxes]), np.array(counts, np.int64)
