"""Recipes: every choice of a training but the data and the size, one frozen dataclass an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from yoloseg.data.augment import Augmentation


@dataclass(frozen=True)
class Recipe:
    """Choices of targets, losses and optimiser.

    assignment: "iou", an anchor belongs to the object with the largest IoU if it is >= foreground x
        level_scale, is background below background x level_scale and is ignored in between, but for the
        `anchors_per_object` that fit an object best, which are its own where no other object wants them
        (`targets.own_anchors`); or "shape", an object belongs to every anchor whose sides are within a factor
        of `shape_ratio`, at the cell of its centre and the two nearest neighbours, on every level (several
        anchors for one object: YOLOv4, section 3.4).
    box_loss: "smooth_l1" on the encoded deviations, or "ciou" on the decoded boxes.
    objectness_target: "one", or "iou" of the predicted box with its object.
    focus: power of |target - probability| that weights the objectness loss of an anchor (quality focal loss,
        arXiv 2006.04388, eq. 4, where it is 2); 0 for plain cross-entropy.
    classes_at: "centroid", the class is learned at the cell of the object's centre only, by all of its
        anchors; or "foreground", by every foreground anchor.
    logit_adjustment: strength of `losses.class_shift`, which makes up for rare classes; 0 for none.
    gains: how much the balanced terms of box, objectness, class and mask count; all 1 is the report's eq. 1.
        A gain stays in force where a factor on the loss itself would be learned away.
    nms_iou, max_detections: of the suppression whose proposals can become ROIs in training; nms_iou is also
        the network's own. How many detections it keeps is --max-detections of the training.
    rois: ROIs a picture that train the mask subnet; at most half are matched proposals, the rest jittered
        boxes.
    optimizer: "sgdw", decay subtracted as wd x w at the peak of the rate and in proportion below it;
        "adamw" or "muon", as wd x rate x w.
    learning_rate is the peak, after `warmup_steps`; `cosine` brings it down to `final_rate` x peak.
    augmentation: what is done to pictures; mosaic and pasting only in the first `mixing` of the epochs.
    stages: (share of the epochs at which a stage ends, factor on the sides of the input in it); the last one
        ends at 1. See `yoloseg.training.stages`.
    multi_scale: factors on the sides of a stage, one drawn for every epoch in the first `mixing` of them;
        each size is a graph of its own on TensorFlow, a minute to trace and a gigabyte for `n`.
    short: a training of fewer epochs has one stage and flips alone: another graph would cost more to trace
        than it saves, and six epochs with augmentation measured worse (train/ablations.md).
    frozen_epochs: first epochs in which the backbone is frozen, where a training starts from weights and
        nothing else is asked for.
    balance: which balancing weights are learned, see `LossBalance`.
    """

    name: str
    anchors_per_level: int
    classes_per_anchor: bool
    assignment: Literal["iou", "shape"]
    foreground: float
    background: float
    level_scale: tuple[float, float, float, float]
    anchors_per_object: int
    shape_ratio: float
    box_loss: Literal["smooth_l1", "ciou"]
    objectness_target: Literal["one", "iou"]
    focus: float
    classes_at: Literal["centroid", "foreground"]
    logit_adjustment: float
    gains: tuple[float, float, float, float]
    rois: int
    optimizer: Literal["sgdw", "adamw", "muon"]
    learning_rate: float
    weight_decay: float
    clipnorm: float
    warmup_steps: int
    cosine: bool
    final_rate: float
    batch: int
    nms_iou: float
    max_detections: int
    augmentation: Augmentation = Augmentation()
    mixing: float = 0.9
    stages: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    multi_scale: tuple[float, ...] = (1.0,)
    short: int = 10
    frozen_epochs: int = 0
    balance: Literal["each", "loss", "fixed"] = "each"


# What the report says and, where it is silent, what its authors' code does (design: YOLOv4+1). Constant rate.
PAPER = Recipe(
    name="paper",
    anchors_per_level=10,
    classes_per_anchor=True,
    assignment="iou",
    foreground=0.4,
    background=0.3,
    level_scale=(0.6, 0.8, 1.0, 1.2),
    anchors_per_object=0,
    shape_ratio=4.0,
    box_loss="smooth_l1",
    objectness_target="one",
    focus=0.0,
    classes_at="centroid",
    logit_adjustment=0.0,
    gains=(1.0, 1.0, 1.0, 1.0),
    rois=8,
    optimizer="sgdw",
    learning_rate=1e-3,
    weight_decay=1e-4,
    clipnorm=5.0,
    warmup_steps=0,
    cosine=False,
    final_rate=1.0,
    batch=8,
    nms_iou=0.3,
    max_detections=50,
    frozen_epochs=2,
)

# The batch matters most: six epochs of 700 photographs at 256 x 256 (one seed each, by a script that was not
# kept) ended with a mask AP50 of .049 with batch 4, .055 with 8, .173 with 16 and .136 with 32.
DEFAULT = Recipe(
    name="default",
    anchors_per_level=3,
    classes_per_anchor=False,
    assignment="iou",
    foreground=0.4,
    background=0.3,
    level_scale=(0.6, 0.8, 1.0, 1.2),
    anchors_per_object=4,
    shape_ratio=2.0,
    box_loss="ciou",
    objectness_target="iou",
    focus=2.0,
    classes_at="foreground",
    logit_adjustment=1.0,
    gains=(8.0, 4.0, 2.0, 4.0),
    rois=4,
    optimizer="muon",
    learning_rate=1e-2,
    weight_decay=0.05,
    clipnorm=10.0,
    warmup_steps=100,
    cosine=True,
    final_rate=0.02,
    batch=16,
    nms_iou=0.5,
    max_detections=100,
    augmentation=Augmentation(hue=0.015, saturation=0.5, value=0.3, scale=(0.75, 1.33), translate=0.1),
    stages=((0.7, 0.62), (1.0, 1.0)),
    balance="fixed",
)

RECIPES = {recipe.name: recipe for recipe in (DEFAULT, PAPER)}
