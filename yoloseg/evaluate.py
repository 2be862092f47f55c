"""`python -m yoloseg.evaluate`: box and mask AP of a network, or of a results file, by COCO, LVIS or
YouTube-VIS."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import tyro

from yoloseg.cli import run_command


@dataclass
class Options:
    """Measure a network (--weights, --data), or score a results file (--results, --annotations)."""

    weights: Path | None = None
    """A .keras file written by training, an exported file, or Darknet's .weights with the .cfg beside it."""
    data: str | None = None
    """A data file (YAML), a folder that an annotation tool exported, or "shapes"."""
    split: str = "val"
    """Which split of the data."""
    out: Path | None = None
    """Where the metrics are written: a file when it ends in .json, else a folder: metrics.json and, of a
    network, report.html with its pictures."""
    task: Literal["coco", "lvis", "vis"] | None = None
    """Whose definition of AP: LVIS' is for sets that say, of each picture, which classes were looked for,
    vis (YouTube-VIS) for tracks in clips, with HOTA and IDF1.
    Default: of a network what its data is, of a results file coco."""
    results: Path | None = None
    """A COCO or YouTube-VIS results file to score without a network."""
    annotations: Path | None = None
    """The COCO, LVIS or YouTube-VIS annotation file the results belong to, taken as it is."""
    conf: float | None = None
    """Detections below this score are left out: by default 0.001, and for tracks the threshold stored in the
    weights. Of a results file AP takes all tracks, HOTA and IDF1 those of at least this score."""
    max_detections: int | None = None
    """Most detections kept in a picture; default 100, or as many as the weights say where that is more (LVIS
    data: 300; tracks: what the weights say). COCO's own definition counts 100 of a class, and more where more
    are kept, as of a results file with this flag; LVIS' counts 300."""
    batch: int = 8
    """Pictures the network is given at a time."""
    save_json: bool = False
    """Also write the detections as a results file beside the metrics (predictions.json)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 after an error of the user's, printed to stderr."""
    options = tyro.cli(Options, args=argv, prog="yoloseg evaluate")
    return run_command(lambda: run(options))


def run(options: Options) -> None:
    """Runs the command. Raises YolosegError where flags, files or data cannot be used."""
    from yoloseg.errors import UsageError
    from yoloseg.evaluation.table import print_metrics
    from yoloseg.files import check_writable, write_json

    of_network = options.weights is not None and options.data is not None
    of_results = options.results is not None and options.annotations is not None
    given = (options.weights, options.data, options.results, options.annotations)
    if of_network == of_results or sum(value is not None for value in given) != 2:
        raise UsageError("give either --weights and --data, or --results and --annotations")
    if options.save_json and (of_results or options.out is None):
        raise UsageError("--save-json needs --weights, --data and --out: it writes beside the metrics")

    if of_results and options.conf is not None and options.task != "vis":
        raise UsageError("--conf is for --weights, and for --task vis: other results files count whole")
    if of_results and options.max_detections is not None:
        if options.task in ("lvis", "vis") or options.max_detections <= 100:
            raise UsageError("--max-detections is for --weights, and above 100 for COCO results files")
    if options.out is not None:
        check_writable(_metrics_file(options.out))
        metrics = _metrics_file(options.out)
        if metrics.name == "metrics.json" and (metrics.parent / "state.json").exists():
            raise UsageError(f"--out {options.out} holds a training that is not finished; name another")
        for other in (options.results, options.annotations, _predictions_file(options)):
            if other is not None and _metrics_file(options.out).resolve() == other.resolve():
                raise UsageError(f"--out {options.out} would be written over {other}; name another file")
    write: Callable[[], None] | None = None
    if of_results:
        metrics = _score_tracks(options) if options.task == "vis" else _score_results(options)
    elif options.task == "vis":
        metrics, write = _evaluate_tracks(options)
    else:
        metrics, write = _evaluate_network(options)
    print_metrics(metrics)
    if "best_f1_threshold" in metrics:
        best = metrics["best_f1"]
        print(metrics["areas"])
        print(
            f"best mask F1 {best['f1']:.3f} at score {metrics['best_f1_threshold']:.3f} "
            f"(precision {best['precision']:.3f}, recall {best['recall']:.3f})"
            if best["f1"] >= 0
            else "no mask found an object"
        )
    if options.out is not None:
        write_json(_metrics_file(options.out), metrics)
        print(f"written: {_metrics_file(options.out)}")
        if write is not None:
            write()


def _score_results(options: Options) -> dict:
    from yoloseg.evaluation.coco_files import (
        ground_truth_notes,
        read_ground_truth,
        read_results,
        results_notes,
    )
    from yoloseg.evaluation.coco_metrics import coco_metrics
    from yoloseg.evaluation.lvis_metrics import lvis_metrics

    ground_truth = read_ground_truth(options.annotations)
    results = read_results(options.results)
    measure, most = lvis_metrics if options.task == "lvis" else coco_metrics, options.max_detections
    if most is not None:
        measure = partial(coco_metrics, most=most)
        print(f"note: {_counted(most)}", file=sys.stderr)
    metrics = measure(ground_truth, results, str(options.results), str(options.annotations))
    for note in ground_truth_notes(ground_truth) + results_notes(results, ground_truth):
        print(f"note: {note}", file=sys.stderr)
    return metrics


def _score_tracks(options: Options) -> dict:
    from yoloseg.evaluation.coco_files import ground_truth_notes
    from yoloseg.evaluation.identity import identity_score
    from yoloseg.evaluation.track_iou import read_tracks
    from yoloseg.evaluation.vis_files import read_vis_ground_truth, read_vis_results
    from yoloseg.evaluation.vis_metrics import vis_score

    ground_truth = read_vis_ground_truth(options.annotations)
    results = read_vis_results(options.results, ground_truth)
    tracks = read_tracks(ground_truth, results)
    for note in ground_truth_notes(ground_truth):
        print(f"note: {note}", file=sys.stderr)
    lowest = min([0.0, *(entry["score"] for entry in results)])  # logarithms are below 0
    threshold = lowest if options.conf is None else options.conf
    return {"segm": vis_score(tracks), "identity": identity_score(tracks, threshold)}


def _evaluate_tracks(options: Options) -> tuple[dict, Callable[[], None]]:
    """The metrics, and what writes everything else into --out."""
    from yoloseg import load
    from yoloseg.data.datafile import load_datasets
    from yoloseg.evaluation.vis_model import evaluate_tracks
    from yoloseg.evaluation.vis_report import write_vis_report

    model = load(options.weights)
    dataset = load_datasets(options.data, (options.split,), model.classes)[options.split]
    _note_limits(model, options.conf, options.max_detections)
    evaluation = evaluate_tracks(
        model,
        dataset,
        score_threshold=options.conf,
        max_detections=options.max_detections,
        results_file=_predictions_file(options),
    )

    def write() -> None:
        if options.out.suffix != ".json":
            write_vis_report(options.out, evaluation, f"{options.weights} on {dataset.name}")

    return evaluation.metrics, write


def _evaluate_network(options: Options) -> tuple[dict, Callable[[], None]]:
    """As `_evaluate_tracks`."""
    from dataclasses import replace

    from yoloseg import load
    from yoloseg.data.datafile import load_datasets
    from yoloseg.data.summary import crowded
    from yoloseg.errors import UsageError
    from yoloseg.evaluation.category_tables import LIMITS
    from yoloseg.evaluation.evaluate_model import default_limit, evaluate_in_detail
    from yoloseg.evaluation.report import write_report

    model = load(options.weights)
    dataset = load_datasets(options.data, (options.split,), model.classes)[options.split]
    if options.task == "lvis" and not dataset.federated:
        raise UsageError(f"--task lvis: {dataset.name} does not say which classes its pictures do not show")
    if options.task == "coco":
        dataset = replace(dataset, frequencies=())
    most = default_limit(dataset, model) if options.max_detections is None else options.max_detections
    if not dataset.federated:
        if most > LIMITS[-1]:
            print(f"note: {_counted(most)}", file=sys.stderr)
        if note := crowded(dataset, most):
            print(f"note: {note}", file=sys.stderr)
    conf = 0.001 if options.conf is None else options.conf
    _note_limits(model, conf, most)
    evaluation = evaluate_in_detail(
        model,
        dataset,
        score_threshold=conf,
        max_detections=most,
        batch_size=options.batch,
        results_file=_predictions_file(options),
    )

    def write() -> None:
        if options.out.suffix != ".json":
            write_report(options.out, evaluation, dataset, f"{options.weights} on {dataset.name}")

    return evaluation.metrics, write


def _note_limits(model, conf: float | None, most: int | None) -> None:
    """Says so where an exported file keeps less than is asked for; None asks for what it keeps."""
    from yoloseg.inference.exported import ExportedFile

    if not isinstance(model, ExportedFile):
        return
    conf, most = model.score_threshold if conf is None else conf, most or model.max_detections
    if note := model.limits(conf, most):
        print(f"note: {note}", file=sys.stderr)


def _counted(most: int) -> str:
    return f"{most} detections of a class in a picture count; by the official definition 100"


def _predictions_file(options: Options) -> Path | None:
    return _metrics_file(options.out).with_name("predictions.json") if options.save_json else None


def _metrics_file(out: Path) -> Path:
    return out if out.suffix == ".json" else out / "metrics.json"


if __name__ == "__main__":
    raise SystemExit(main())
