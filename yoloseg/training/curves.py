"""results.csv as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from yoloseg.files import atomic_write
from yoloseg.modeling.architecture import LEVELS
from yoloseg.training.losses import LOSSES


def save_curves(results: str | Path, path: str | Path) -> None:
    """Draws every loss and balancing weight, the learning rate and AP of a results.csv over epochs (PNG)."""
    table = np.genfromtxt(results, delimiter=",", names=True, dtype=float)
    table = np.atleast_1d(table)
    names = table.dtype.names
    epochs = table["epoch"] + 1
    losses = [loss for loss in LOSSES if f"{loss}_{LEVELS[0]}" in names]
    figure = Figure(figsize=(4 * (len(losses) + 1), 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(losses) + 1)
    for column, loss in enumerate(losses):
        for row, prefix in enumerate(("", "w_")):
            for level in LEVELS:
                axes[row, column].plot(epochs, table[f"{prefix}{loss}_{level}"], label=level)
            title = f"balancing weight w of {loss}" if prefix else f"{loss} loss"
            axes[row, column].set_title(title, fontsize=10)
            axes[row, column].grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    for key in ("box_AP", "box_AP50", "mask_AP", "mask_AP50"):
        known = ~np.isnan(table[key])
        label = key.replace("_", " ")
        axes[0, -1].plot(epochs[known], table[key][known], marker="o", markersize=3, label=label)
    axes[0, -1].set_title("validation", fontsize=10)
    axes[0, -1].legend(fontsize=8)
    axes[1, -1].plot(epochs, table["learning_rate"])
    axes[1, -1].set_title("learning rate", fontsize=10)
    for axis in axes[1]:
        axis.set_xlabel("epoch", fontsize=9)
    for axis in axes[:, -1]:
        axis.grid(alpha=0.3)
    with atomic_write(path) as aside:
        figure.savefig(aside, dpi=90)
