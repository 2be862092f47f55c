"""Average precision of tracks, as YouTube-VIS defines it (Yang, Fan and Xu 2019, arXiv 1905.04804).

A clip takes the place of COCO's picture and a track that of its object; the IoU is that of the masks of all
frames together. Matching and averaging are COCO's, and done by the official code (pycocotools).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yoloseg.evaluation.best_f1 import Matches
from yoloseg.evaluation.category_tables import LIMITS, CategoryTable, ap_by_iou, joined, mean_of
from yoloseg.evaluation.coco_metrics import METRIC_NAMES
from yoloseg.evaluation.track_iou import Track, Tracks, read_tracks, track_iou
from yoloseg.evaluation.vis_files import check_vis_ground_truth, check_vis_results

OCCLUDED = {"APso": (0.0, 0.25), "APmo": (0.25, 0.5), "APho": (0.5, 0.75)}  # slightly, moderately, heavily
_BANDS = [[0, 1e5**2], [0, 128**2], [128**2, 256**2], [256**2, 1e5**2]]  # of a track's area, in pixels


def vis_metrics(
    ground_truth: dict,
    results: list[dict],
    source: str = "results",
    truth_source: str = "ground truth",
) -> dict[str, dict]:
    """{"segm": M}: the twelve numbers `METRIC_NAMES` as floats, -1 where nothing is to measure.

    M["per_class"] maps a category's name to the same twelve numbers of that category alone and "instances",
    the number of tracks to find (crowds not counted). Names that occur twice are told apart as "name (id)".
    M["AP_by_IoU"] maps "0.50" to "0.95" to the AP at that IoU, and so it does for each category. Of a ground
    truth with the occlusion of its objects (OVIS: Qi et al. 2022, arXiv 2102.01558, section 3) M also has the
    AP of those that are hidden slightly, moderately and heavily: "APso", "APmo", "APho"; limits belong to
    both neighbours, objects of other groups are ignored.

    `ground_truth`: YouTube-VIS dict, `results`: list of {video_id, category_id, score, segmentations};
    neither is changed. Small tracks are those of at most 128^2 pixels in the mean over the frames where they
    are seen, large those of at least 256^2. Crowds are ignored, and what matches them (by the ordinary IoU)
    is not counted. Of a clip's tracks of a category the best 1, 10 and 100 count. As in the official code an
    annotation with id 0 is never found. Raises DataError, naming the results by `source` and the ground truth
    by `truth_source`.
    """
    check_vis_ground_truth(ground_truth, truth_source)
    check_vis_results(results, ground_truth, source)
    return {"segm": vis_score(read_tracks(ground_truth, results))}


def vis_score(tracks: Tracks) -> dict:
    """The M of `vis_metrics`."""
    tables = [_category_table(tracks, category_id) for category_id in tracks.names]
    metrics = _summarise(tables)
    if any(track.occlusion is not None for own in tracks.truths.values() for track in own):
        for name, band in OCCLUDED.items():
            of_group = [_category_table(tracks, category_id, band) for category_id in tracks.names]
            precision = joined(of_group)["precision"][..., 0, -1] if of_group else np.zeros(0)
            metrics[name] = mean_of(precision)
    metrics["AP_by_IoU"] = ap_by_iou(tables)
    metrics["per_class"] = {
        name: _summarise([table])
        | {"instances": _instances(tracks, category_id), "AP_by_IoU": ap_by_iou([table])}
        for (category_id, name), table in zip(tracks.names.items(), tables, strict=True)
    }
    return metrics


class _TrackEvaluation(COCOeval):
    """The official matching of one category, with the IoU of tracks; entries hold theirs as "track".

    occluded: true tracks that are hidden more or less than this are ignored.
    """

    occluded: tuple[float, float] | None = None

    def _prepare(self) -> None:
        super()._prepare()
        if self.occluded is not None:
            low, high = self.occluded
            for entry in (entry for own in self._gts.values() for entry in own):
                hidden = entry["track"].occlusion
                entry["ignore"] = entry["ignore"] or hidden is None or not low <= hidden <= high

    def computeIoU(self, imgId: int, catId: int) -> np.ndarray:
        """float64 [detections, truths]; of the detections those that count, by falling score, which is the
        order that the official matching looks them up in."""
        found = [entry["track"] for entry in self._dts[imgId, catId]]
        order = np.argsort([-track.score for track in found], kind="stable")[: self.params.maxDets[-1]]
        return track_iou([found[i] for i in order], [entry["track"] for entry in self._gts[imgId, catId]])


def _category_table(
    tracks: Tracks, category_id: int, occluded: tuple[float, float] | None = None
) -> CategoryTable:
    clips = tracks.clips(category_id)
    if not clips:
        return CategoryTable.nothing(len(LIMITS))
    keys = [(clip, category_id) for clip in clips]
    with contextlib.redirect_stdout(io.StringIO()):  # the official code prints as it goes
        truths = _coco(clips, category_id, [tracks.truths.get(key, ()) for key in keys])
        found = _coco(clips, category_id, [tracks.found.get(key, ()) for key in keys])
        # "bbox" because the official code would convert masks, which are with the tracks here
        evaluation = _TrackEvaluation(truths, found, "bbox")
        evaluation.occluded = occluded
        evaluation.params.maxDets = list(LIMITS)
        evaluation.params.areaRng = _BANDS
        evaluation.evaluate()
        evaluation.accumulate()
    return CategoryTable(evaluation.eval["precision"], evaluation.eval["recall"], Matches.none())


def _coco(clips: Sequence[int], category_id: int, tracks: Sequence[Sequence[Track]]) -> COCO:
    """The tracks of each clip as COCO annotations of a picture."""
    coco = COCO()
    coco.dataset = {
        "images": [{"id": clip} for clip in clips],
        "categories": [{"id": category_id}],
        "annotations": [
            {
                "id": track.id,
                "image_id": clip,
                "category_id": category_id,
                "score": track.score,
                "area": track.area,
                "iscrowd": int(track.crowd),
                "track": track,
            }
            for clip, own in zip(clips, tracks, strict=True)
            for track in own
        ],
    }
    coco.createIndex()
    return coco


def _instances(tracks: Tracks, category_id: int) -> int:
    truths = (own for (_, category), own in tracks.truths.items() if category == category_id)
    return sum(not track.crowd for own in truths for track in own)


def _summarise(tables: list[CategoryTable]) -> dict[str, float]:
    """The twelve numbers over these categories."""
    if not tables:
        return dict.fromkeys(METRIC_NAMES, -1.0)
    both = joined(tables)
    precision, recall = both["precision"], both["recall"]  # [10, 101, K, 4, 3], [10, K, 4, 3]
    values = [precision[..., 0, -1], precision[0, ..., 0, -1], precision[5, ..., 0, -1]]
    values += [precision[..., band, -1] for band in (1, 2, 3)]
    values += [recall[..., 0, limit] for limit in range(len(LIMITS))]
    values += [recall[..., band, -1] for band in (1, 2, 3)]
    return dict(zip(METRIC_NAMES, map(mean_of, values), strict=True))
