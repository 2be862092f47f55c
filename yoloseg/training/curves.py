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
    """Draws every loss, AP and the learning rate of a results.csv over epochs (PNG), and the balancing
    weights where they were learned."""
    table = np.genfromtxt(results, delimiter=",", names=True, dtype=float)
    table = np.atleast_1d(table)
    names = table.dtype.names
    epochs = table["epoch"] + 1
    losses = [loss for loss in LOSSES if f"{loss}_{LEVELS[0]}" in names]
    of_losses = [(f"{loss} loss", {level: table[f"{loss}_{level}"] for level in LEVELS}) for loss in losses]
    of_weights = [
        (f"balancing weight w of {loss}", {level: table[f"w_{loss}_{level}"] for level in LEVELS})
        for loss in losses
    ]
    if not any(values.any() for _, lines in of_weights for values in lines.values()):
        of_weights = []
    scores = {key.replace("_", " "): table[key] for key in ("box_AP", "box_AP50", "mask_AP", "mask_AP50")}
    rate = {"learning rate": table["learning_rate"]}
    panels = [*of_losses, ("validation", scores), *of_weights, ("learning rate", rate)]
    columns = -(-len(panels) // 2)
    figure = Figure(figsize=(4 * columns, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(2, columns).flat)
    for axis, (title, lines) in zip(axes, panels, strict=False):
        for label, values in lines.items():
            known = ~np.isnan(values)
            marker = "o" if lines is scores or known.sum() == 1 else ""  # a line needs two points
            axis.plot(epochs[known], values[known], label=label, marker=marker, markersize=3)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("epoch", fontsize=9)
        axis.grid(alpha=0.3)
        if title in (of_losses[0][0], "validation"):
            axis.legend(fontsize=8)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    with atomic_write(path) as aside:
        figure.savefig(aside, dpi=90)
