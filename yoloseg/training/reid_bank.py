"""Every instance of a data set as a frozen network sees it, in several views: what a head learns from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import keras
import numpy as np

from yoloseg.data.instance_views import View, groups_of, views_of
from yoloseg.data.records import Dataset
from yoloseg.errors import DataError
from yoloseg.modeling.architecture import LEVELS
from yoloseg.modeling.network import YoloSeg
from yoloseg.modeling.reid_head import describe

PICTURES = 8  # that go through the network at a time
MASK = 28  # side of the masks, as of the network's own
MOST = 64  # instances of a view: a step compares all of its pairs


@dataclass(frozen=True)
class Bank:
    """N times an instance in a view of its group, as `yoloseg.data.instance_views` has them.

    vectors: float32 [N, F], as `describe` gives them. ids: int [N], the same in all views of an instance and
    for no other one of the set. groups, views: int [N], their numbers.
    """

    vectors: np.ndarray
    ids: np.ndarray
    groups: np.ndarray
    views: np.ndarray


class DescribeStage(keras.Model):
    """Pictures, boxes and masks -> what `describe` says, by the network in inference."""

    def __init__(self, model: YoloSeg):
        super().__init__()
        self.model = model
        self.compile(jit_compile=keras.backend.backend() == "jax")

    def call(self, inputs, training=False):
        outputs = self.model(inputs["images"], training=False)
        maps = [outputs[level]["embedding"] for level in LEVELS]
        return describe(maps, inputs["images"], inputs["rois"], inputs["masks"])


def build_bank(
    stage: DescribeStage,
    dataset: Dataset,
    views: int,
    limit: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Bank:
    """Runs the network over `views` views of each group of a set; where these are more than `limit`, groups
    are drawn at random by `seed`, which also is that of the views.

    Boxes and masks are the annotated ones. progress: called with the views done, and with all. Raises
    DataError naming the set where fewer than two of its instances are seen in two views, and for pictures
    that cannot be read.
    """
    groups = groups_of(dataset)
    kept = np.sort(np.random.default_rng(seed).permutation(len(groups))[: max(1, limit // views)])
    groups = [groups[i] for i in kept]
    most = max((len(record.annotations) for group in groups for record in group), default=0)
    imgsz, slots = stage.model.imgsz, min(8 * math.ceil(most / 8), MOST)  # few shapes to compile
    coming = views_of(groups, views, imgsz, seed)
    vectors, keys, done = [], [], 0
    while batch := list(islice(coming, PICTURES)):
        inputs, rows, own = pack(batch, imgsz, slots)
        vectors.append(np.asarray(stage.predict_on_batch(inputs))[rows])
        keys += own
        done += len(batch)
        if progress is not None:
            progress(done, views * len(groups))
    known: dict[tuple, int] = {}  # ids of tracks may be larger than an int64
    keys = [(group, view, known.setdefault((group, track), len(known))) for group, view, track in keys]
    keys = np.array(keys, int).reshape(-1, 3)
    ids = np.unique(keys[:, [0, 2]], axis=0, return_inverse=True)[1].reshape(-1)
    if np.count_nonzero(np.bincount(ids) > 1) < 2:
        raise DataError(f"{dataset.name}: it needs two instances that are seen twice, to tell them apart")
    return Bank(np.concatenate(vectors), ids, keys[:, 0], keys[:, 1])


def pack(views: Sequence[View], imgsz: tuple[int, int], slots: int) -> tuple[dict, list[int], list]:
    """Views as one batch of PICTURES pictures with room for `slots` instances each, the first that are seen.

    Returns the inputs of `DescribeStage`, the rows of what it gives that are instances, and of each of them
    (group, view, track id).
    """
    images = np.zeros((PICTURES, *imgsz, 3), np.uint8)
    rois = np.tile(np.array([0, 0, 1, 1], np.float32), (PICTURES, slots, 1))
    masks = np.zeros((PICTURES, slots, MASK, MASK), np.float32)
    rows, keys = [], []
    for place, view in enumerate(views):
        images[place] = view.sample.image
        for slot, (instance, box) in enumerate(view.sample.visible()[:slots]):
            rois[place, slot] = box
            masks[place, slot] = instance.crop(box, MASK) / 255.0
            rows.append(place * slots + slot)
            keys.append((view.group, view.number, instance.track_id))
    return {"images": images, "rois": rois, "masks": masks}, rows, keys
