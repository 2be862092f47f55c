"""What `--reid` is worth, on the built-in clips with their true boxes and masks as detections, so that only
the tracker and the embeddings are judged.

    python -m yoloseg.train_reid --weights best.keras --out best-reid.keras
    python train/reid.py --weights best-reid.keras

An event is an object that is not seen for more than 10 frames and comes back; it is kept if in one of the
first 3 frames after, it has the id that it had last. Three kinds: as the clips are (covered, or out of the
picture); hidden, half of the objects of each clip being left out of the detections for 15 to 60 frames; and
cuts, two stretches of 15 to 60 frames being left out of each clip without the tracker knowing, so that every
object jumps. A wrong join is a track that goes from one object to another. IDF1 needs no matching here: of
the best one-to-one pairing of objects and tracks, the share of detections that agree.
What was measured is in train/reid.md.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from scipy.optimize import linear_sum_assignment

import yoloseg
from yoloseg.data.instance_views import View
from yoloseg.data.records import Record
from yoloseg.data.samples import read_sample
from yoloseg.data.shapes import load_shapes
from yoloseg.modeling.network import YoloSeg
from yoloseg.tracking import Tracker, TrackerConfig
from yoloseg.tracking.detections import Detections
from yoloseg.training.reid_bank import PICTURES, DescribeStage, pack
from yoloseg.training.reid_trainer import embedded

LONG, SOON = 10, 3  # frames
GAP = (15, 60)  # frames, least and most
BEST = TrackerConfig()
LATER = replace(BEST, memory=90)
ARMS = {
    "default": (BEST, None),
    "memory 90": (LATER, None),
    "reid, no head": (replace(BEST, reid=True), "no head"),
    "reid, no head, memory 90": (replace(LATER, reid=True), "no head"),
    "reid, head": (replace(BEST, reid=True), "head"),
    "reid, head, memory 90": (replace(LATER, reid=True), "head"),
}
KINDS = ("as they are", "hidden", "cuts")


@dataclass
class Options:
    """Measure re-identification on the clips of `shapes`."""

    weights: Path
    """A .keras file with a re-identification head."""
    clips: int = 40
    """How many."""
    frames: int = 150
    """Of each, 100 or more."""
    split: str = "test"
    """Of the shapes."""


@dataclass
class Frame:
    """number: in the whole clip. truths: int [N], which object each detection is;
    vectors: float32 [N, F] as `describe` gives them."""

    number: int
    detections: Detections
    truths: np.ndarray
    vectors: np.ndarray

    def without(self, objects: set[int]) -> "Frame":
        kept = np.flatnonzero([one not in objects for one in self.truths.tolist()])
        found = self.detections
        masks = [found.masks[i] for i in kept]
        embeddings = None if found.embeddings is None else found.embeddings[kept]
        some = Detections(found.boxes[kept], found.scores[kept], found.class_ids[kept], masks, embeddings)
        return Frame(self.number, some, self.truths[kept], self.vectors[kept])


def clips_of(options: Options, model: YoloSeg) -> list[list[Frame]]:
    """The frames of each clip, seen by the network."""
    dataset = load_shapes(options.split, clips=options.clips, frames=options.frames)
    slots = max(len(record.annotations) for record in dataset.records)
    stage = DescribeStage(model)
    frames = []
    for first in range(0, len(dataset), PICTURES):
        records = dataset.records[first : first + PICTURES]
        views = [View(place, 0, read_sample(one, model.imgsz)) for place, one in enumerate(records)]
        inputs, rows, keys = pack(views, model.imgsz, slots)
        vectors = np.asarray(stage.predict_on_batch(inputs))[rows]
        places, _, ids = np.array(keys, int).reshape(-1, 3).T
        for place, record in enumerate(records):
            mine = places == place
            frames.append(frame_of(record, ids[mine], vectors[mine]))
    return [frames[start : start + options.frames] for start in range(0, len(frames), options.frames)]


def frame_of(record: Record, ids: np.ndarray, vectors: np.ndarray) -> Frame:
    """ids: of the objects that show enough to be pooled, in the record's order."""
    found = [one for one in record.annotations if one.track_id in ids]
    detections = Detections(
        boxes=np.array([one.box for one in found], float).reshape(-1, 4),
        scores=np.ones(len(found)),
        class_ids=np.array([one.class_index for one in found], int),
        masks=[one.segmentation for one in found],
    )
    return Frame(record.frame_of[1], detections, ids, vectors)


def changed(frames: list[Frame], kind: str, clip: int) -> list[Frame]:
    """The clip without what its kind leaves out; the same at every call."""
    rng = np.random.default_rng((KINDS.index(kind), clip))
    if kind == "hidden":
        hidden = [set() for _ in frames]
        for number in sorted(set().union(*(frame.truths.tolist() for frame in frames))):
            length = rng.integers(GAP[0], GAP[1] + 1)
            start = rng.integers(LONG, len(frames) - length)
            if rng.random() < 0.5:
                for t in range(start, start + length):
                    hidden[t].add(number)
        return [frame.without(objects) for frame, objects in zip(frames, hidden, strict=True)]
    if kind == "cuts":
        return cut(frames, rng)
    return frames


def cut(frames: list, rng: np.random.Generator) -> list:
    """Without a stretch of GAP frames of either half, LONG or more of the half being left at both ends."""
    left, half = [], len(frames) // 2
    for part in (frames[:half], frames[half:]):
        length = rng.integers(GAP[0], min(GAP[1], half - 2 * LONG) + 1)
        start = rng.integers(LONG, half - length - LONG + 1)
        left += [*part[:start], *part[start + length :]]
    return left


def returns(frames: list[Frame]) -> Iterator[tuple[int, int, list[int]]]:
    """(object, place of the frame where it is seen last, places of the first SOON where it is seen again)."""
    for number in sorted(set().union(*(frame.truths.tolist() for frame in frames))):
        seen = [place for place, frame in enumerate(frames) if number in frame.truths]
        for k in range(1, len(seen)):
            if frames[seen[k]].number - frames[seen[k - 1]].number > LONG + 1:
                yield number, seen[k - 1], seen[k : k + SOON]


@dataclass
class Score:
    """events, kept: by kind. wrong: joins. tracks, objects, agreeing, detections: sums over the clips."""

    events: Counter
    kept: Counter
    wrong: int = 0
    tracks: int = 0
    objects: int = 0
    agreeing: int = 0
    detections: int = 0

    def add(self, kind: str, frames: list[Frame], ids: list[np.ndarray]) -> None:
        """A clip with the ids that a tracker gave its detections."""
        own = [
            dict(zip(frame.truths.tolist(), found.tolist(), strict=True))
            for frame, found in zip(frames, ids, strict=True)
        ]
        for number, before, after in returns(frames):
            self.events[kind] += 1
            self.kept[kind] += any(own[place][number] == own[before][number] != 0 for place in after)
        pairs = Counter(pair for found in own for pair in found.items())
        objects, tracks = (sorted({pair[side] for pair in pairs}) for side in (0, 1))
        together = np.array([[pairs[one, other] for other in tracks] for one in objects])
        self.agreeing += int(together[linear_sum_assignment(-together)].sum())
        self.detections += int(together.sum())
        self.objects += len(objects)
        self.tracks += len(tracks)
        last = {}
        for found in own:
            for number, track in found.items():
                self.wrong += last.get(track, number) != number
                last[track] = number


def embed(frames: list[Frame], head: keras.Model | None) -> list[Frame]:
    """A clip whose detections have embeddings."""
    vectors = embedded(np.concatenate([frame.vectors for frame in frames]), head)
    parts = np.split(vectors, np.cumsum([len(frame.vectors) for frame in frames])[:-1])
    return [
        replace(frame, detections=replace(frame.detections, embeddings=part))
        for frame, part in zip(frames, parts, strict=True)
    ]


def measured(clips: list[list[Frame]], config: TrackerConfig) -> Score:
    """A configuration on all kinds of all clips."""
    score = Score(Counter(), Counter())
    for kind in KINDS:
        for clip, frames in enumerate(clips):
            frames = changed(frames, kind, clip)
            tracker = Tracker(config)
            score.add(kind, frames, [tracker.update(frame.detections) for frame in frames])
    return score


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    model = yoloseg.load(options.weights)
    clips = clips_of(options, model)
    seen = {
        None: clips,
        "no head": [embed(frames, None) for frames in clips],
        "head": [embed(frames, model.reid_head) for frames in clips],
    }
    table = Table(title=f"{options.clips} clips of {options.split}")
    for name in ("tracker", *KINDS, "wrong joins", "tracks", "IDF1"):
        table.add_column(name, justify="left" if name == "tracker" else "right")
    for name, (config, embedding) in ARMS.items():
        score = measured(seen[embedding], config)
        shown = [f"{score.kept[k] / max(score.events[k], 1):.1%} of {score.events[k]}" for k in KINDS]
        share = f"{score.agreeing / score.detections:.3f}"
        table.add_row(name, *shown, str(score.wrong), f"{score.tracks} of {score.objects}", share)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
