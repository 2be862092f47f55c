"""Pictures of an evaluation: precision over recall, F1 over the score threshold, confusion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from yoloseg.data.lettering import plain_text
from yoloseg.evaluation.best_f1 import Matches
from yoloseg.evaluation.review import Review
from yoloseg.files import atomic_write

MOST_LINES = 20  # classes drawn one by one; of more only the mean
MOST_CLASSES = 60  # of a confusion matrix


def precision_recall(matches: Matches) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(scores falling, precision, recall), float64 [N] each, after each detection is kept."""
    order = np.argsort(-matches.scores, kind="stable")
    found = np.cumsum(matches.found[order])
    kept = np.arange(1, len(order) + 1)
    return matches.scores[order], found / kept, found / max(matches.truths, 1)


def save_pr_curve(per_class: dict[str, Matches], path: str | Path) -> None:
    """Precision over recall of masks at IoU 0.5, each class and their mean (PNG)."""
    grid = np.linspace(0, 1, 101)

    def curve(matches: Matches) -> np.ndarray:
        _, precision, recall = precision_recall(matches)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]  # as COCO: best precision at recall >= r
        at = np.searchsorted(recall, grid, side="left")
        return np.where(at < len(recall), np.append(envelope, 0.0)[np.minimum(at, len(recall))], 0.0)

    _save_lines(per_class, grid, curve, ("recall", "precision"), "masks at IoU 0.5", path)


def save_f1_curve(per_class: dict[str, Matches], path: str | Path) -> None:
    """F1 of masks at IoU 0.5 over the score threshold, each class and all pooled (PNG)."""
    grid = np.linspace(0, 1, 201)

    def curve(matches: Matches) -> np.ndarray:
        scores, precision, recall = precision_recall(matches)
        kept = np.searchsorted(-scores, -grid, side="right")  # detections with score >= threshold
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        return np.append(0.0, f1)[kept]

    _save_lines(per_class, grid, curve, ("score threshold", "F1"), "masks at IoU 0.5", path, pooled=True)


def line_style(number: int) -> dict:
    """Of line `number` of a plot: 20 colours, every second of them dashed, as those are pale."""
    number %= 20
    return {"color": colormaps["tab20"](number), "linestyle": "--" if number % 2 else "-"}


def _save_lines(
    per_class: dict[str, Matches],
    grid: np.ndarray,
    curve: Callable[[Matches], np.ndarray],
    labels: tuple[str, str],
    title: str,
    path: str | Path,
    pooled: bool = False,
) -> None:
    figure = Figure(figsize=(7, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shown = {name: matches for name, matches in per_class.items() if matches.truths}
    lines = {name: curve(matches) for name, matches in shown.items()}
    index = {name: k for k, name in enumerate(per_class)}
    if len(lines) <= MOST_LINES:
        for number, (name, values) in enumerate(lines.items()):
            label = f"{plain_text(name, f'class {index[name]}')} ({shown[name].truths})"
            axes.plot(grid, values, linewidth=1, label=label, **line_style(number))
    if lines:
        if pooled:
            whole, label = curve(Matches.join(list(per_class.values()))), "all classes together"
        else:
            whole, label = np.mean(list(lines.values()), axis=0), f"mean of {len(lines)} classes"
        axes.plot(grid, whole, color="black", linewidth=2.5, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=labels[0], ylabel=labels[1], title=title)
    axes.grid(alpha=0.3)
    if lines:
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    with atomic_write(path) as aside:
        figure.savefig(aside, dpi=100, format="png")


def save_confusion_matrix(found: Review, path: str | Path) -> None:
    """Objects by class (rows) and what they were taken for (columns), as shares of the row (PNG).

    The last column are missed objects, the last row false detections (shares of all false ones). Classes
    without an object or a detection are left out; of more than MOST_CLASSES those with the fewest errors are
    one row and one column, together, whose name says how many of these were taken for one another.
    """
    counts, names = _confused(found)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(4.5, 0.45 * len(counts) + 2)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    picture = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(counts)), [*names, "missed"], rotation=90, fontsize=8)
    axes.set_yticks(range(len(counts)), [*names, "no object"], fontsize=8)
    axes.set(xlabel="predicted", ylabel="ground truth")
    axes.set_title(f"masks at IoU 0.5, score >= {found.threshold:.3f}", fontsize=10)
    if len(counts) <= 30:
        for row, column in np.argwhere(counts > 0):
            ink = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", fontsize=7, color=ink)
    figure.colorbar(picture, ax=axes, shrink=0.7, label="share of the row")
    with atomic_write(path) as aside:
        figure.savefig(aside, dpi=100, format="png")


def _confused(found: Review) -> tuple[np.ndarray, list[str]]:
    """The confusion int [C + 1, C + 1] of the C classes, at most MOST_CLASSES + 1, that are drawn, and their
    names as matplotlib takes them."""
    objects, detections = found.confusion.sum(1)[:-1], found.confusion.sum(0)[:-1]
    used = np.flatnonzero(objects + detections)
    errors = (objects + detections - 2 * found.confusion.diagonal()[:-1])[used]
    kept = np.sort(used[np.argsort(-errors, kind="stable")[:MOST_CLASSES]])
    names = [plain_text(found.classes[k], f"class {k}") for k in kept]
    rest = len(used) - len(kept)
    if rest:
        names.append(f"{rest} other classes")
    among = np.setdiff1d(used, kept)
    mixed = int(found.confusion[np.ix_(among, among)].sum() - found.confusion[among, among].sum())
    if mixed:  # on the diagonal, too
        names[-1] += f" ({mixed} mixed up)"
    place = np.full(len(found.confusion), len(kept))  # of classes that are not drawn one by one
    place[kept], place[-1] = np.arange(len(kept)), len(names)
    counts = np.zeros((len(names) + 1, len(names) + 1), np.int64)
    np.add.at(counts, (place[:, None], place[None]), found.confusion)
    return counts, names
