"""Letterboxed pictures -> detections, compiled: dense stage and suppression, then masks for what survives."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from yoloseg.modeling.architecture import LEVELS
from yoloseg.modeling.network import YoloSeg


class ProposalStage(keras.Model):
    """Dense stage and suppression: images, regions -> scores, boxes, classes and the four embedding maps."""

    def __init__(self, model: YoloSeg, max_detections: int):
        super().__init__()
        self.model = model
        self.max_detections = max_detections

    def call(self, inputs, training=False):
        outputs = self.model(inputs["images"], training=False)
        found = self.model.propose(outputs, self.max_detections, regions=inputs["regions"])
        return {**found, "embeddings": [outputs[level]["embedding"] for level in LEVELS]}


class MaskStage(keras.Model):
    """ROI stage: embedding maps and boxes -> mask probabilities."""

    def __init__(self, model: YoloSeg):
        super().__init__()
        self.model = model

    def call(self, inputs, training=False):
        return ops.sigmoid(self.model.mask_logits(inputs["embeddings"], inputs["rois"]))


class Detector:
    """Runs a YoloSeg model on batches. Weights are read at every call: a model in training can be watched."""

    def __init__(self, model: YoloSeg):
        self.model = model
        self._propose: dict[int, ProposalStage] = {}
        self._masks = _compiled(MaskStage(model))

    def detect(
        self, images, score_threshold: float, max_detections: int = 100, regions: np.ndarray | None = None
    ) -> dict:
        """images: uint8 [B, h, w, 3], letterboxed RGB, h and w multiples of 32. regions: [B, 4] xyxy, what of
        each is picture and not padding; all of it if not given.

        Returns boxes float32 [B, D, 4] xyxy in pixels of the network input, within regions; scores float32
        [B, D], falling, 0 in empty slots; classes int32 [B, D]; count int [B], the detections with score >=
        score_threshold; masks, a list of B float32 [count, 28, 28] of probabilities over each box. Only those
        detections are paid for.
        """
        found = self.propose(images, max_detections, regions)
        count = (found["scores"] >= max(score_threshold, 1e-9)).sum(axis=1)
        masks = [self.masks(found, image, int(n)) for image, n in enumerate(count)]
        kept = {name: found[name] for name in ("boxes", "scores", "classes")}
        return {**kept, "count": count, "masks": masks}

    def propose(self, images, max_detections: int = 100, regions: np.ndarray | None = None) -> dict:
        """The dense stage alone: scores, boxes, classes as `detect` has them, and `embeddings`, four maps."""
        if max_detections not in self._propose:
            self._propose[max_detections] = _compiled(ProposalStage(self.model, max_detections))
        images = np.asarray(images)
        if regions is None:
            regions = np.tile(np.array([0, 0, images.shape[2], images.shape[1]]), (len(images), 1))
        inputs = {"images": images, "regions": np.asarray(regions, np.float32)}
        return self._propose[max_detections].predict_on_batch(inputs)

    def masks(self, found: dict, image: int, count: int) -> np.ndarray:
        """Probabilities float32 [count, 28, 28] of the first `count` detections of a picture of `found`."""
        if count == 0:
            return np.zeros((0, 28, 28), np.float32)
        rois = found["boxes"][image : image + 1, :count]
        if keras.backend.backend() == "jax":  # every shape compiles anew there: few shapes
            padding = min(-count % 16, found["boxes"].shape[1] - count)
            rois = found["boxes"][image : image + 1, : count + padding]
        embeddings = [level[image : image + 1] for level in found["embeddings"]]
        return self._masks.predict_on_batch({"embeddings": embeddings, "rois": rois})[0, :count]


def _compiled(model: keras.Model) -> keras.Model:
    """XLA is left to JAX: on TensorFlow's CPU the plain graph was measured faster."""
    model.compile(jit_compile=keras.backend.backend() == "jax")
    return model
