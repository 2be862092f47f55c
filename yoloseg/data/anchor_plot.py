"""A picture of anchors over the box sizes they were fitted to."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from yoloseg.data.anchor_fitting import Anchors, pairwise_iou
from yoloseg.files import atomic_write

MAX_POINTS = 20_000


def save_anchor_plot(anchors: Anchors, sizes: np.ndarray, path: str | Path) -> None:
    """Writes a PNG: box sizes in the colour of their best anchor's level, anchors as crosses, log axes.

    sizes: float [N, 2] (width, height) in pixels of the network input; of more than 20,000 every n-th.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = sizes[:: -(-len(sizes) // MAX_POINTS)]
    centres = np.array(anchors.flat)
    levels = pairwise_iou(shown, centres).argmax(1) // anchors.per_level
    figure = Figure(figsize=(7, 7), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for index in range(len(anchors.sizes)):
        own = centres[index * anchors.per_level : (index + 1) * anchors.per_level]
        axes.scatter(*shown[levels == index].T, s=4, alpha=0.35, color=f"C{index}", linewidths=0)
        axes.scatter(*own.T, s=60, marker="X", color=f"C{index}", edgecolors="black", label=f"P{index + 2}")
    drawn = np.concatenate([shown, centres])
    limits = drawn.min() / 1.2, drawn.max() * 1.2
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits, aspect="equal")
    axes.set(xlabel="width (pixels of the network input)", ylabel="height (pixels of the network input)")
    height, width = anchors.imgsz
    axes.set_title(
        f"{len(centres)} anchors for {anchors.boxes:,} boxes, input {height} x {width} (height x width)\n"
        f"mean best IoU {anchors.mean_best_iou:.3f}, "
        f"recall {anchors.recall50:.3f} at 0.5, {anchors.recall70:.3f} at 0.7"
    )
    axes.legend(title="level", loc="upper left")
    with atomic_write(path) as aside:
        figure.savefig(aside, format="png")
