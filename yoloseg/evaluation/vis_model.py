"""A network and the tracker on a set of clips: the YouTube-VIS score, and how well identities are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track as progress_of

from yoloseg.data.records import Dataset
from yoloseg.data.youtube_vis_writer import vis_document
from yoloseg.errors import DataError, UsageError
from yoloseg.evaluation.identity import identity_score
from yoloseg.evaluation.track_iou import Tracks, read_tracks
from yoloseg.evaluation.vis_metrics import vis_score
from yoloseg.files import write_json
from yoloseg.inference.finder import Finder
from yoloseg.inference.predictor import Predictor
from yoloseg.inference.sources import Frame
from yoloseg.tracking.clip import Follower
from yoloseg.tracking.tracker import TrackerConfig
from yoloseg.tracking.vis_results import VisResults

if TYPE_CHECKING:
    from yoloseg.modeling.network import YoloSeg


@dataclass(frozen=True)
class VisEvaluation:
    """metrics: "segm" as `vis_metrics`, "identity" as `identity_metrics`, "clips", "frames": how many.
    ground_truth: YouTube-VIS dict, results: the challenge's list, of the same clips; tracks: of both."""

    metrics: dict
    ground_truth: dict
    results: list[dict]
    tracks: Tracks


def evaluate_tracks(
    model: YoloSeg | Finder,
    dataset: Dataset,
    config: TrackerConfig | None = None,
    *,
    score_threshold: float | None = None,
    max_detections: int | None = None,
    progress: bool = True,
    results_file: Path | None = None,
) -> VisEvaluation:
    """Tracks every clip of `dataset` and measures whole tracks.

    model, config, score_threshold, max_detections: as `yoloseg.tracking.track` has them. Tracks of classes
    that the dataset does not have are left out. results_file: where the tracks are written, in the
    challenge's form, before they are scored.
    Raises DataError for a set whose pictures are no frames of clips or whose objects have no track ids,
    UsageError where classes or numbers do not fit, and before the first frame where a clip is of a size that
    an exported file does not take.
    """
    config = config or TrackerConfig()
    predictor = Predictor(
        model, score_threshold=score_threshold, max_detections=max_detections, embeddings=config.reid
    )
    unknown = [name for name in dataset.classes if name not in predictor.classes]
    if unknown:
        raise UsageError(f"{dataset.name}: the weights do not know the class {unknown[0]!r}")
    if not len(dataset):
        raise DataError(f"{dataset.name}: no frames to evaluate on")
    ground_truth, clips = vis_document(dataset)
    for first, *_ in clips:  # the follower brings the others to its size
        predictor.check(first.height, first.width)
    known = dict(zip(dataset.classes, dataset.category_ids, strict=True))
    ids = [known.get(name) for name in predictor.classes]
    frames = [
        (video["id"], frame, record)
        for video, records in zip(ground_truth["videos"], clips, strict=True)
        for frame, record in enumerate(records)
    ]
    if progress:
        frames = progress_of(frames, f"tracking {dataset.name}", console=Console(stderr=True))
    with VisResults(ids) as collected:
        follower = Follower(predictor, config)
        for number, frame, record in frames:
            tracks = follower(Frame(f"clip {number}", record.read_image(), frame))
            collected.add(number, frame, tracks)
        results = [entry for entry in collected if entry["category_id"] is not None]
    if results_file is not None:
        write_json(results_file, results)
    tracks = read_tracks(ground_truth, results)
    metrics = {"segm": vis_score(tracks), "identity": identity_score(tracks)}
    metrics |= {"clips": len(clips), "frames": sum(map(len, clips))}
    return VisEvaluation(metrics, ground_truth, results, tracks)
