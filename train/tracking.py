"""What the tracker's choices are worth, on the built-in clips with their true masks as detections, so that
only the tracker is judged.

    python train/tracking.py --clips 60 --frames 90

Identity is asked for at events. A crossing: the boxes of two objects meet, overlap for some frames in which
both are seen, and part; kept if both have the ids they had before. An occlusion: an object is not seen for 1
to 10 frames while its centre is in the picture; kept if its id is the same in the first frame after as in
the last frame before. Beside the tracker stands what users of SORT-like code have (IoU of boxes,
Hungarian, 0.3, lost at once or remembered 30 frames) and supervision's ByteTrack, which now is in the
package `trackers`.
What was measured is in train/tracking.md.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import supervision as sv
import tyro
from rich.console import Console
from rich.table import Table
from scipy.optimize import linear_sum_assignment

from yoloseg.data.shapes import load_shapes
from yoloseg.data.shapes_scene import OBJECTS_PER_CLIP, make_scene
from yoloseg.tracking import Tracker, TrackerConfig
from yoloseg.tracking.detections import Detections

LONGEST = 10  # frames for which an object is covered
REPORT = TrackerConfig.report()
BEST = TrackerConfig()
CONFIGS = {
    "the report's association": REPORT,
    "and the best left for the doubtful": replace(REPORT, doubtful="best"),
    "and 30 frames of memory": replace(REPORT, doubtful="best", memory=30),
    "and motion (default)": BEST,
    "default, gating 0.9": replace(BEST, gating=0.9),
    "default, gating 0.7": replace(BEST, gating=0.7),
    "default, margin 0.1": replace(BEST, margin=0.1),
    "default, margin 0": replace(BEST, margin=0.0),
    "default, doubtful open tracks": replace(BEST, doubtful="new"),
    "default, doubtful are dropped": replace(BEST, doubtful="drop"),
    "default, memory 10": replace(BEST, memory=10),
    "default, memory 90": replace(BEST, memory=90),
}


@dataclass
class Options:
    """Compare trackers on the clips of `shapes`."""

    clips: int = 60
    """How many."""
    frames: int = 90
    """Of each."""
    split: str = "test"
    """Of the shapes."""


class BoxIou:
    """SORT's association without its filter: IoU of boxes of one class, Hungarian, 0.3."""

    def __init__(self, memory: int):
        self.memory, self.frame, self.count = memory, 0, 0
        self.tracks: dict[int, tuple[np.ndarray, int, int]] = {}

    def update(self, detections: Detections) -> np.ndarray:
        self.frame += 1
        ids, numbers = np.zeros(len(detections), int), list(self.tracks)
        if numbers and len(detections):
            boxes = np.array([self.tracks[number][0] for number in numbers])
            classes = np.array([self.tracks[number][1] for number in numbers])
            iou = sv.box_iou_batch(detections.boxes, boxes)
            iou = np.where(detections.class_ids[:, None] == classes, iou, 0.0)
            for row, column in zip(*linear_sum_assignment(-iou), strict=True):
                if iou[row, column] >= 0.3:
                    ids[row] = numbers[column]
        for row in np.flatnonzero(ids == 0):
            self.count += 1
            ids[row] = self.count
        for row, number in enumerate(ids.tolist()):
            self.tracks[number] = (detections.boxes[row], int(detections.class_ids[row]), self.frame)
        self.tracks = {k: one for k, one in self.tracks.items() if self.frame - one[2] <= self.memory}
        return ids


class ByteTrack:
    """ByteTrack at its defaults, of the package to which supervision has moved its trackers (`pip install
    trackers`); it gives no id to what it has not confirmed."""

    def __init__(self):
        from trackers import ByteTrackTracker

        self.tracker = ByteTrackTracker()

    def update(self, detections: Detections) -> np.ndarray:
        found = sv.Detections(
            xyxy=np.asarray(detections.boxes, np.float32).reshape(-1, 4),
            confidence=np.asarray(detections.scores, np.float32),
            class_id=np.asarray(detections.class_ids, int),
            data={"row": np.arange(len(detections))},
        )
        ids = np.zeros(len(detections), int)
        tracked = self.tracker.update(found)
        if len(tracked):
            ids[tracked.data["row"].astype(int)] = tracked.tracker_id + 1
        return ids


@dataclass
class Clip:
    """frames: detections of each; truths: the true id of each of them; events: (kind, (object, frame before,
    frame after), ...)."""

    frames: list[Detections]
    truths: list[np.ndarray]
    events: list[tuple[str, list[tuple[int, int, int]]]]


def clips_of(options: Options) -> list[Clip]:
    """The clips and their events."""
    dataset = load_shapes(options.split, clips=options.clips, frames=options.frames)
    clips = []
    for start in range(0, len(dataset), options.frames):
        records = dataset.records[start : start + options.frames]
        frames = [
            Detections(
                boxes=np.array([one.box for one in record.annotations], float).reshape(-1, 4),
                scores=np.ones(len(record.annotations)),
                class_ids=np.array([one.class_index for one in record.annotations], int),
                masks=[one.segmentation for one in record.annotations],
            )
            for record in records
        ]
        truths = [np.array([one.track_id for one in record.annotations], int) for record in records]
        clips.append(Clip(frames, truths, events_of(frames, truths, start // options.frames, options)))
    return clips


def events_of(frames, truths, clip: int, options: Options) -> list:
    boxes = [
        dict(zip(ids.tolist(), found.boxes, strict=True)) for found, ids in zip(frames, truths, strict=True)
    ]
    height, width = frames[0].masks[0]["size"] if frames[0].masks else (240, 320)
    scene = make_scene(0, options.split, clip, height, width)
    events = []
    for number in sorted(set().union(*boxes)):
        seen = [frame for frame, found in enumerate(boxes) if number in found]
        body = scene.objects[number - clip * OBJECTS_PER_CLIP[1] - 1]
        for before, after in zip(seen, seen[1:], strict=False):
            centres = [body.pose(t, height, width)[:, 2] for t in range(before + 1, after)]
            inside = all(0 <= x < width and 0 <= y < height for x, y in centres)
            if 1 < after - before <= LONGEST + 1 and inside:
                events.append(("occlusion", [(number, before, after)]))
    for one, other in combinations(sorted(set().union(*boxes)), 2):
        apart = None
        for frame, found in enumerate(boxes):
            if one not in found or other not in found:
                apart = None
            elif overlap(found[one], found[other]):
                continue
            else:
                if apart is not None and frame - apart > 1:
                    events.append(("crossing", [(one, apart, frame), (other, apart, frame)]))
                apart = frame
    return events


def overlap(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((np.maximum(one[:2], other[:2]) < np.minimum(one[2:], other[2:])).all())


def kept(clips: list[Clip], make: Callable) -> tuple[dict[str, tuple[int, int]], float, int]:
    """{kind: (events kept, events)}, milliseconds a frame, and how many tracks there were."""
    counts = {"crossing": [0, 0], "occlusion": [0, 0]}
    seconds, tracks = 0.0, 0
    for clip in clips:
        tracker, ids = make(), []
        for detections, truth in zip(clip.frames, clip.truths, strict=True):
            started = time.perf_counter()
            found = tracker.update(detections)
            seconds += time.perf_counter() - started
            ids.append(dict(zip(truth.tolist(), found.tolist(), strict=True)))
        tracks += len(set().union(*(found.values() for found in ids)) - {0})
        for kind, parts in clip.events:
            counts[kind][1] += 1
            counts[kind][0] += all(
                ids[before][number] == ids[after][number] != 0 for number, before, after in parts
            )
    frames = sum(len(clip.frames) for clip in clips)
    return {kind: tuple(pair) for kind, pair in counts.items()}, 1000 * seconds / frames, tracks


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    clips = clips_of(options)
    objects = sum(len(set().union(*map(set, (ids.tolist() for ids in clip.truths)))) for clip in clips)
    arms = {
        "boxes by IoU, Hungarian": lambda: BoxIou(0),
        "the same, 30 frames of memory": lambda: BoxIou(30),
        "supervision's ByteTrack": ByteTrack,
    }
    arms |= {name: (lambda config=config: Tracker(config)) for name, config in CONFIGS.items()}
    table = Table(title=f"identity kept, {objects} objects")
    for name in ("tracker", "crossings", "occlusions", "tracks", "ms a frame"):
        table.add_column(name, justify="left" if name == "tracker" else "right")
    for name, make in arms.items():
        counts, each, tracks = kept(clips, make)
        shown = [f"{good / max(every, 1):.1%} of {every}" for good, every in counts.values()]
        table.add_row(name, *shown, str(tracks), f"{each:.2f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
