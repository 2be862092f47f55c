"""What an exported file computes: frames in, instances out, in keras.ops alone."""

from __future__ import annotations

import keras
from keras import ops

from yoloseg.exporting.fold import folded
from yoloseg.exporting.frames import letterbox_frames
from yoloseg.modeling.architecture import LEVELS
from yoloseg.modeling.network import YoloSeg


class InstanceGraph:
    """frames uint8 [B, H, W, 3] RGB -> the instances of at least `threshold`, best first.

    boxes: float32 [B, D, 4] xyxy in pixels of the frame, within it. scores: float32 [B, D]. classes: int32
    [B, D]. masks: float32 [B, D, 28, 28], probabilities over each box. num_detections: int32 [B]. D is
    `max_detections`; everything is 0 in slots from num_detections on.

    fixed: every slot's mask is computed, as graphs of static shapes must; otherwise those of detections alone.
    """

    def __init__(self, model: YoloSeg, max_detections: int, threshold: float, *, fixed: bool = False):
        self.model = model
        self.network = folded(model.network, model.imgsz)
        self.max_detections = max_detections
        self.threshold = max(threshold, 1e-9)
        self.fixed = fixed

    def __call__(self, frames) -> dict:
        images, place = letterbox_frames(frames, self.model.imgsz)
        outputs = self.network(images, training=False)
        found = self.model.propose(outputs, self.max_detections, regions=place.region())
        valid = ops.cast(found["scores"] >= self.threshold, "float32")
        count = ops.cast(ops.sum(valid, axis=1), "int32")
        embeddings = [outputs[level]["embedding"] for level in LEVELS]
        masks = self._masks(embeddings, found["boxes"], count) * valid[:, :, None, None]
        return {
            "boxes": place.to_frame(found["boxes"]) * valid[..., None],
            "scores": found["scores"] * valid,
            "classes": found["classes"] * ops.cast(valid, "int32"),
            "masks": masks,
            "num_detections": count,
        }

    def _masks(self, embeddings, boxes, count):
        if self.fixed:
            return ops.sigmoid(self.model.mask_logits(embeddings, boxes))
        slots = ops.maximum(ops.max(count), 1)
        masks = ops.sigmoid(self.model.mask_logits(embeddings, boxes[:, :slots]))
        return ops.pad(masks, ((0, 0), (0, self.max_detections - slots), (0, 0), (0, 0)))
