"""The model in training: picture and ground truth in, loss out. Keras' own `fit` drives it on any backend."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from yoloseg.modeling.architecture import LEVELS, STRIDES
from yoloseg.modeling.network import YoloSeg
from yoloseg.modeling.roi_align import crop_masks
from yoloseg.training.balance import LossBalance
from yoloseg.training.losses import (
    LOSSES,
    box_loss,
    class_loss,
    class_shift,
    mask_losses,
    objectness_loss,
    unknown_share,
)
from yoloseg.training.recipes import Recipe
from yoloseg.training.rois import sample_rois
from yoloseg.training.targets import assign_by_iou, assign_by_shape, best_anchor, own_anchors

PROPOSAL_CANDIDATES = 64  # per level, in training


class Trainer(keras.Model):
    """Wraps a YoloSeg with targets, losses and their balance.

    Inputs, one dict a batch: images uint8 [B, h, w, 3]; boxes float32 [B, G, 4] xyxy in pixels of the network
    input; classes int32 [B, G] (>= 0 an object, -1 an empty slot, -2 a crowd region); masks uint8
    [B, G, M, M], 0..255, each mask in the frame of its own box. All but B static. Of federated sets also
    exhaustive float32 [B, K], see `class_loss`.

    class_counts: objects of each class in the training set, for the recipe's logit adjustment; all alike if
    not given. rate_factors: path of a variable -> factor on its learning rate, for the optimizers of
    `yoloseg.training.optimizers`.
    """

    def __init__(self, model: YoloSeg, recipe: Recipe, seed: int = 0, class_counts=None):
        super().__init__(name="trainer", autocast=False)  # boxes stay float32 in mixed precision
        self.yoloseg = model
        self.recipe = recipe
        self.rate_factors: dict[str, float] = {}
        counts = np.ones(len(model.classes)) if class_counts is None else class_counts
        self.class_shift = class_shift(counts, recipe.logit_adjustment)
        self.balance = LossBalance(LEVELS, LOSSES, recipe.gains, recipe.balance, name="balance")
        self.seed = keras.random.SeedGenerator(seed)
        self.loss_means = {
            f"{loss}_{level}": keras.metrics.Mean(name=f"{loss}_{level}")
            for level in LEVELS
            for loss in LOSSES
            if loss != "class" or len(model.classes) > 1
        }
        self.built = True

    def call(self, inputs, training=None):
        """Returns {"outputs": dense predictions, "rois", "matched", "levels", "valid", "mask_logits"}."""
        outputs = self.yoloseg(inputs["images"], training=training)
        boxes, classes = inputs["boxes"], inputs["classes"]
        proposals = self.yoloseg.propose(outputs, self.recipe.max_detections, PROPOSAL_CANDIDATES)
        proposals = {name: ops.stop_gradient(values) for name, values in proposals.items()}
        best = best_anchor(self.anchor_sides(), boxes)
        levels = sum(i * ops.cast(ops.any(fits, axis=-1), "int32") for i, fits in enumerate(best))
        height, width = inputs["images"].shape[1:3]
        rois, matched, levels, valid = sample_rois(
            proposals, boxes, classes, levels, self.recipe.rois, (height, width), self.seed
        )
        logits = self.yoloseg.mask_logits([outputs[level]["embedding"] for level in LEVELS], rois)
        chosen = {"rois": rois, "matched": matched, "levels": levels, "valid": valid}
        return {"outputs": outputs, "mask_logits": logits, **chosen}

    def anchor_sides(self):
        return [keras.ops.convert_to_numpy(level).astype("float32") for level in self.yoloseg.anchors]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The balanced total; every single loss is tracked under `<loss>_<level>`. It may be negative."""
        values = self.losses_of(x, y_pred)
        for name, (value, had) in values.items():
            if name in self.loss_means:
                self.loss_means[name].update_state(value, sample_weight=had)
        grid = [[values[f"{loss}_{level}"] for loss in LOSSES] for level in LEVELS]
        return self.balance(
            ops.stack([ops.stack([value for value, _ in row]) for row in grid]),
            ops.stack([ops.stack([had for _, had in row]) for row in grid]),
        )

    def losses_of(self, x, y_pred) -> dict:
        """{"<loss>_<level>": (float32 scalar, 1.0 or 0.0 for whether it had targets)} before balancing."""
        outputs, recipe, model = y_pred["outputs"], self.recipe, self.yoloseg
        boxes, classes = x["boxes"], ops.cast(x["classes"], "int32")
        anchors = {level: model.level_anchors(level, outputs) for level in LEVELS}
        grids = [outputs[level]["boxes"].shape[1:3] for level in LEVELS]
        assignments = {}
        if recipe.assignment == "shape":
            best = best_anchor(self.anchor_sides(), boxes)
            for level, grid, fits in zip(LEVELS, grids, best, strict=True):
                assignments[level] = assign_by_shape(anchors[level], grid, boxes, classes, fits, recipe)
        else:
            own = [None] * len(LEVELS)
            if recipe.anchors_per_object:
                own = own_anchors(list(anchors.values()), grids, boxes, classes, recipe.anchors_per_object)
            for i, level in enumerate(LEVELS):
                grid = grids[i]
                assignments[level] = assign_by_iou(anchors[level], grid, boxes, classes, i, recipe, own[i])
        foreground = sum(ops.sum(assignment.positive) for assignment in assignments.values())
        foreground = ops.maximum(foreground, 1.0)
        one, zero = ops.ones(()), ops.zeros(())
        exhaustive = x.get("exhaustive")
        values = {}
        for level in LEVELS:
            assignment, count = assignments[level], len(anchors[level])
            deltas = ops.reshape(outputs[level]["boxes"], (-1, count, 4))
            loss, had, quality = box_loss(deltas, anchors[level], assignment, boxes, recipe)
            values[f"box_{level}"] = (loss, had)
            logits = ops.reshape(outputs[level]["objectness"], (-1, count))
            class_logits = model.class_logits(level, outputs)
            unknown = None
            if exhaustive is not None:
                unknown = unknown_share(class_logits, exhaustive, count)
            loss = objectness_loss(logits, assignment, quality, foreground, recipe, unknown)
            values[f"objectness_{level}"] = (loss, one)
            values[f"class_{level}"] = (zero, zero)
            if class_logits is not None:
                values[f"class_{level}"] = class_loss(
                    class_logits, len(model.anchors[0]), assignment, classes, self.class_shift, exhaustive
                )
        for level, value in zip(LEVELS, self.mask_losses_of(x, y_pred), strict=True):
            values[f"mask_{level}"] = value
        return values

    def mask_losses_of(self, x, y_pred):
        """Mask targets are cut from the ground truth by ROIAlign and binarised at one half."""
        matched = y_pred["matched"]
        size = x["masks"].shape[-1]
        masks = ops.reshape(x["masks"], (-1, x["masks"].shape[1], size * size))
        masks = ops.take_along_axis(masks, matched[..., None], axis=1)
        masks = ops.cast(ops.reshape(masks, (-1, matched.shape[1], size, size)), "float32") / 255.0
        goal = ops.take_along_axis(x["boxes"], matched[..., None], axis=1)
        targets = ops.cast(crop_masks(masks, goal, y_pred["rois"]) > 0.5, "float32")
        logits = ops.cast(y_pred["mask_logits"], "float32")
        return mask_losses(logits, targets, y_pred["valid"], y_pred["levels"], len(STRIDES))
