"""One page about tracks: scores, AP a class as bars, confusion, and when each track was seen."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from yoloseg.data.lettering import plain_text
from yoloseg.evaluation.figures import MOST_CLASSES, line_style, save_confusion_matrix
from yoloseg.evaluation.html import figure, table, write_page
from yoloseg.evaluation.review import MATCH_IOU, Review
from yoloseg.evaluation.table import number_text
from yoloseg.evaluation.track_iou import Track, Tracks, track_iou
from yoloseg.evaluation.vis_model import VisEvaluation
from yoloseg.files import atomic_write

BARS = {".50": "0.50", ".75": "0.75", ".80": "0.80"}  # of the report's Figure 3, beside .50:.95
MOST_TRACKS = 60  # drawn of a clip, the longest


def write_vis_report(folder: Path, evaluation: VisEvaluation, title: str) -> Path:
    """Writes ap_by_class.png, confusion_matrix.png, a plot of the tracks of each of the first clips, and
    report.html, which holds them. Returns its path."""
    metrics = evaluation.metrics
    save_ap_bars(metrics["segm"], folder / "ap_by_class.png")
    save_confusion_matrix(track_review(evaluation.tracks), folder / "confusion_matrix.png")
    shown = [name for name, value in metrics["segm"].items() if isinstance(value, float)]
    identity = [name for name in metrics["identity"] if name not in ("per_class", "score_threshold")]
    scores = [number_text(metrics["segm"][name]) for name in shown]
    identities = [number_text(metrics["identity"][name]) for name in identity]
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{metrics['clips']} clips, {metrics['frames']} frames, {len(evaluation.results)} tracks.</p>",
        table(("YouTube-VIS", *shown), [("masks", *scores)]),
        table(("", *identity), [("identity", *identities)]),
        figure(folder / "ap_by_class.png", "AP of each class at IoU .50, .75, .80 and their mean .50:.95."),
        figure(folder / "confusion_matrix.png", "What tracks were taken for, at IoU 0.5 of whole tracks."),
    ]
    used = {one["category_id"] for one in (*evaluation.ground_truth["annotations"], *evaluation.results)}
    categories = [one for one in evaluation.ground_truth["categories"] if one["id"] in used]
    number = {category: k for k, category in enumerate(evaluation.tracks.names)}
    names = {one["id"]: plain_text(one["name"], f"class {number[one['id']]}") for one in categories}
    for video in evaluation.ground_truth["videos"][:6]:
        own = [
            [one for one in part if one["video_id"] == video["id"]]
            for part in (evaluation.ground_truth["annotations"], evaluation.results)
        ]
        path = folder / f"tracks_{video['id']}.png"
        save_track_plot({"ground truth": own[0], "found": own[1]}, names, path)
        body.append(figure(path, f"Clip {video['name']}: the frames in which each track is seen."))
    write_page(folder / "report.html", title, body)
    return folder / "report.html"


def save_ap_bars(metrics: dict, path: str | Path) -> None:
    """AP at IoU .50, .75, .80 and .50:.95 of each class as bars (the report's Figure 3; PNG), of more than
    MOST_CLASSES those with the most tracks. metrics: the "segm" of `vis_metrics`."""
    known = metrics["per_class"]
    most = set(sorted(known, key=lambda name: -known[name]["instances"])[:MOST_CLASSES])
    classes = {name: one for name, one in known.items() if one["instances"] and name in most}
    canvas = Figure(figsize=(max(5.0, 0.9 * len(classes) + 2), 4), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.add_subplot()
    places = np.arange(len(classes))
    for number, (label, key) in enumerate([*BARS.items(), (".50:.95", None)]):
        heights = [max(one["AP_by_IoU"][key] if key else one["AP"], 0) for one in classes.values()]
        axes.bar(places + 0.2 * (number - 1.5), heights, 0.2, label=f"AP {label}")
    names = [plain_text(name, f"class {k}") for k, name in enumerate(known) if name in classes]
    axes.set_xticks(places, names, rotation=30 if len(classes) > 6 else 0)
    axes.set(ylim=(0, 1.02), ylabel="AP of tracks")
    axes.grid(alpha=0.3, axis="y")
    axes.legend(fontsize=8)
    with atomic_write(path) as aside:
        canvas.savefig(aside, dpi=100, format="png")


def track_review(tracks: Tracks) -> Review:
    """The confusion over classes of whole tracks (the report's Figure 4): the best-scored take first the true
    track of their class with the largest IoU, then those of other classes, at IoU 0.5. Crowds are left out.
    """
    order = list(tracks.names)
    confusion = np.zeros((len(order) + 1, len(order) + 1), np.int64)
    for clip in sorted({clip for clip, _ in (*tracks.truths, *tracks.found)}):
        truths = _of_clip(tracks.truths, clip, order)
        found = sorted(_of_clip(tracks.found, clip, order), key=lambda pair: -pair[1].score)
        overlap = track_iou([one for _, one in found], [one for _, one in truths])
        missed, false = dict(enumerate(truths)), dict(enumerate(found))
        for own in (True, False):
            for row, (kind, _) in list(false.items()):
                fits = {j: overlap[row, j] for j, (other, _) in missed.items() if (other == kind) == own}
                best = max(fits, key=fits.__getitem__, default=None)
                if best is not None and fits[best] >= MATCH_IOU:
                    confusion[truths[best][0], kind] += 1
                    del missed[best], false[row]
        for kind, _ in missed.values():
            confusion[kind, -1] += 1
        for kind, _ in false.values():
            confusion[-1, kind] += 1
    return Review((), confusion, tuple(tracks.names.values()), 0.0)


def save_track_plot(parts: dict[str, Sequence[dict]], names: dict[int, str], path: str | Path) -> None:
    """When each track of one clip is seen (PNG). parts: title -> entries with `category_id` and
    `segmentations`; names: of the categories by id, as matplotlib writes them, each of a colour of its own.
    The MOST_TRACKS that are seen longest are drawn."""
    canvas = Figure(figsize=(8, 1.2), layout="constrained")
    axes = canvas.subplots(1, len(parts), squeeze=False, sharex=True)[0]
    rows, used = 1, sorted({entry["category_id"] for entries in parts.values() for entry in entries})
    kinds = {category: line_style(number)["color"] for number, category in enumerate(names)}
    for (title, entries), axis in zip(parts.items(), axes, strict=True):
        seen = [np.array([one is not None for one in entry["segmentations"]]) for entry in entries]
        longest = sorted(range(len(entries)), key=lambda k: -seen[k].sum())[:MOST_TRACKS]
        for row, k in enumerate(sorted(longest)):
            edges = np.flatnonzero(np.diff(seen[k].astype(int), prepend=0, append=0))
            spans = [(start, stop - start) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
            axis.broken_barh(spans, (row + 0.1, 0.8), color=kinds[entries[k]["category_id"]])
        rows = max(rows, len(longest))
        axis.set(title=title, xlabel="frame", yticks=[])
    for axis in axes:
        axis.set_ylim(rows, 0)
    for category in used:
        axes[-1].barh(0, 0, color=kinds[category], label=names[category])
    if used:
        axes[-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    canvas.set_size_inches(8, min(1.2 + 0.16 * rows, 12))
    FigureCanvasAgg(canvas)
    with atomic_write(path) as aside:
        canvas.savefig(aside, dpi=100, format="png")


def _of_clip(tracks: dict, clip: int, order: list[int]) -> list[tuple[int, Track]]:
    """(class index, track), crowds left out."""
    return [
        (number, track)
        for number, category_id in enumerate(order)
        for track in tracks.get((clip, category_id), ())
        if not track.crowd
    ]
