"""data.html: what a data set holds, split by split, in plots, tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import zip_longest
from pathlib import Path

import numpy as np

from yoloseg.data.anchor_fitting import fit_any_anchors, letterboxed_sizes
from yoloseg.data.anchor_plot import save_anchor_plot
from yoloseg.data.check import Findings
from yoloseg.data.coco_masks import area_of
from yoloseg.data.label_plot import save_label_plot
from yoloseg.data.records import Dataset, Problem, Record
from yoloseg.data.summary import count_instances
from yoloseg.errors import DataError
from yoloseg.evaluation.html import figure, table, write_page
from yoloseg.evaluation.report import draw_ground_truth
from yoloseg.files import atomic_write
from yoloseg.inference.drawing import grid, shrunk
from yoloseg.inference.results import save_picture

BANDS = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, np.inf)}  # COCO's, square pixels
GALLERY = 16  # pictures of each split
PROBLEMS = 200  # that are listed


def write_data_report(
    folder: Path, found: Findings, title: str, imgsz: tuple[int, int], per_level: int = 3
) -> Path:
    """Writes data.html and its pictures; returns the path of data.html.

    found: of `check_data`. imgsz: (height, width) of the network input that sizes are told for. per_level:
    anchors that are fitted to each split. Raises UsageError for a folder that cannot be written.
    """
    body = [f"<h1>{escape(title)}</h1>"]
    for heading, texts in (
        ("Training would refuse it", found.refusals),
        ("The test split cannot be used as it is", found.unusable),
    ):
        body += [f"<h2>{heading}</h2>", *(f"<p>{escape(text)}</p>" for text in texts)] if texts else []
    body += ["<h2>Splits</h2>", _splits_table(found.datasets)]
    body += ["<h2>Instances of each class</h2>", _class_table(found.datasets)]
    for split, dataset in found.datasets.items():
        body += [f"<h2>{escape(split)}</h2>", *_split(folder, split, dataset, imgsz, per_level)]
    body.append(f"<h2>{len(found.problems)} problems</h2>")
    listed = found.problems if len(found.problems) <= PROBLEMS else _each_file_in_turn(found.problems)
    rows = [(problem.file, problem.record, problem.message) for problem in listed[:PROBLEMS]]
    body.append(table(("file", "record", "problem"), rows))
    if len(found.problems) > PROBLEMS:
        body.append(f"<p>and {len(found.problems) - PROBLEMS} more: `yoloseg data check`</p>")
    write_page(folder / "data.html", title, body)
    return folder / "data.html"


def _each_file_in_turn(problems: Sequence[Problem]) -> list[Problem]:
    """The last of all first, which compare splits; then one of each file, the next of each, and so on."""
    by_file: dict[str, list[Problem]] = {}
    for problem in reversed(problems):
        by_file.setdefault(problem.file, []).append(problem)
    return [one for turn in zip_longest(*by_file.values()) for one in turn if one is not None]


def _splits_table(datasets: dict[str, Dataset]) -> str:
    rows = []
    for split, dataset in datasets.items():
        counts, crowds = count_instances(dataset)
        background = sum(not record.annotations for record in dataset.records)
        clips = len({record.frame_of[0] for record in dataset.records if record.frame_of})
        numbers = (len(dataset), background, int(counts.sum()), crowds, clips)
        rows.append((split, *(f"{number:,}" for number in numbers)))
    return table(("split", "pictures", "without annotations", "instances", "crowds", "clips"), rows)


def _class_table(datasets: dict[str, Dataset]) -> str:
    """All classes, the most frequent of the first split first."""
    counts = {
        split: dict(zip(dataset.classes, count_instances(dataset)[0].tolist(), strict=True))
        for split, dataset in datasets.items()
    }
    names = list(dict.fromkeys(name for own in counts.values() for name in own))
    names.sort(key=lambda name: [-own.get(name, 0) for own in counts.values()])
    rows = [(name, *(f"{own[name]:,}" if name in own else "-" for own in counts.values())) for name in names]
    return table(("class", *counts), rows)


def _split(folder: Path, split: str, dataset: Dataset, imgsz: tuple[int, int], per_level: int) -> list[str]:
    pieces = []
    sizes, note = letterboxed_sizes(dataset, imgsz), ""
    anchors = None
    try:
        anchors, _ = fit_any_anchors(sizes, per_level, imgsz=imgsz, source=dataset.name)
    except DataError as error:
        note = f"No anchors: {error}"
    places = None if anchors is None else np.array(anchors.flat)
    save_label_plot(dataset, imgsz, folder / f"{split}_labels.png", places)
    pieces.append(figure(folder / f"{split}_labels.png", "Classes, box sides, box centres, crowding."))
    save_shape_plot(dataset, folder / f"{split}_shapes.png")
    caption = "Sizes by COCO's area bands, width over height of boxes, how much of its box an object fills."
    pieces.append(figure(folder / f"{split}_shapes.png", caption))
    if anchors is not None:
        save_anchor_plot(anchors, sizes, folder / f"{split}_anchors.png")
        pieces.append(figure(folder / f"{split}_anchors.png", f"{per_level} anchors a level, and the boxes."))
    elif note:
        pieces.append(f"<p>{escape(note)}</p>")
    tiles, captions = [], []
    for index in _chosen(dataset.records):
        try:
            image = dataset.read_image(index)
        except DataError as error:
            pieces.append(f"<p>{escape(str(error))}</p>")
            continue
        tiles.append(shrunk(draw_ground_truth(image, dataset, index), 400))
        captions.append(dataset.records[index].short_name)
    if tiles:
        save_picture(folder / f"{split}_gallery.jpg", grid(tiles, 4, captions, longest_side=400))
        pieces.append(figure(folder / f"{split}_gallery.jpg", "The most crowded picture, then some of all."))
    return pieces


def _chosen(records: Sequence[Record]) -> list[int]:
    """Indices: the picture with the most annotations first, then others at equal distances."""
    if not records:
        return []
    most = max(range(len(records)), key=lambda index: len(records[index].annotations))
    others = np.linspace(0, len(records) - 1, min(GALLERY, len(records))).round().astype(int).tolist()
    return list(dict.fromkeys([most, *others]))[:GALLERY]


def save_shape_plot(dataset: Dataset, path: Path) -> None:
    """Writes a PNG of three: instances in each of COCO's area bands, aspect ratios, fill of the box; crowds
    left out. Areas are those of the masks, in pixels of the pictures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = [a for record in dataset.records for a in record.annotations if not a.crowd]
    areas = np.array([area_of(a.segmentation) for a in found])
    sides = np.array([(a.box[2] - a.box[0], a.box[3] - a.box[1]) for a in found]).reshape(-1, 2)
    sides = np.maximum(sides, 1e-6)
    figure = Figure(figsize=(13, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    counts = [int(((areas >= low) & (areas < high)).sum()) for low, high in BANDS.values()]
    bars = axes[0].bar(list(BANDS), counts, color="C0")
    axes[0].bar_label(bars, fontsize=8)
    axes[0].set_title("small < 32 x 32 <= medium < 96 x 96 <= large", fontsize=10)
    ratios = np.log2(np.clip(sides[:, 0] / sides[:, 1], 1 / 16, 16))
    axes[1].hist(ratios, bins=np.linspace(-4, 4, 49), color="C1")
    axes[1].set_xticks(range(-4, 5), ["1:16", "1:8", "1:4", "1:2", "1:1", "2:1", "4:1", "8:1", "16:1"])
    axes[1].set_title("width : height of boxes", fontsize=10)
    axes[2].hist(np.clip(areas / sides.prod(1), 0, 1), bins=50, range=(0, 1), color="C2")
    axes[2].set_title("share of its box that an object covers", fontsize=10)
    with atomic_write(path) as aside:
        figure.savefig(aside, dpi=80, format="png")
