"""Letterboxed pictures -> detections, compiled: dense stage and suppression, then masks for what survives."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from yoloseg.modeling.architecture import LEVELS
from yoloseg.modeling.network import YoloSeg
from yoloseg.modeling.reid_head import describe, plain_vectors


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


class EmbeddingStage(keras.Model):
    """ROI stage of identities: embedding maps, boxes and their masks -> a vector of length 1 for each box.

    By the network's re-identification head, from the pictures too; without one the mean of every level's map
    over the mask, less the mean of that map over the picture.
    """

    def __init__(self, model: YoloSeg):
        super().__init__()
        self.model = model

    def call(self, inputs, training=False):
        head = self.model.reid_head
        if head is None:
            return plain_vectors(inputs["embeddings"], inputs["rois"], inputs["masks"])
        return head(describe(inputs["embeddings"], inputs["images"], inputs["rois"], inputs["masks"]))


class Detector:
    """Runs a YoloSeg model on batches. Weights are read at every call: a model in training can be watched."""

    def __init__(self, model: YoloSeg):
        self.model = model
        self._propose: dict[int, ProposalStage] = {}
        self._masks = _compiled(MaskStage(model))
        self._embeddings = _compiled(EmbeddingStage(model))

    def detect(
        self,
        images,
        score_threshold: float,
        max_detections: int = 100,
        regions: np.ndarray | None = None,
        embeddings: bool = False,
    ) -> dict:
        """images: uint8 [B, h, w, 3], letterboxed RGB, h and w multiples of 32. regions: [B, 4] xyxy, what of
        each is picture and not padding; all of it if not given.

        Returns boxes float32 [B, D, 4] xyxy in pixels of the network input, within regions; scores float32
        [B, D], falling, 0 in empty slots; classes int32 [B, D]; count int [B], the detections with score >=
        score_threshold; masks, a list of B float32 [count, 28, 28] of probabilities over each box. Only those
        detections are paid for. With `embeddings` also these, a list of B float32 [count, E] of length 1.
        """
        found = self.propose(images, max_detections, regions)
        count = (found["scores"] >= max(score_threshold, 1e-9)).sum(axis=1)
        masks = [self.masks(found, image, int(n)) for image, n in enumerate(count)]
        kept = {name: found[name] for name in ("boxes", "scores", "classes")}
        kept |= {"count": count, "masks": masks}
        if embeddings:
            kept["embeddings"] = [self.embeddings(found, image, own) for image, own in enumerate(masks)]
        return kept

    def propose(self, images, max_detections: int = 100, regions: np.ndarray | None = None) -> dict:
        """The dense stage alone: scores, boxes, classes as `detect` has them, `embeddings`, four maps, and
        the `images` themselves."""
        if max_detections not in self._propose:
            self._propose[max_detections] = _compiled(ProposalStage(self.model, max_detections))
        images = np.asarray(images)
        if regions is None:
            regions = np.tile(np.array([0, 0, images.shape[2], images.shape[1]]), (len(images), 1))
        inputs = {"images": images, "regions": np.asarray(regions, np.float32)}
        return self._propose[max_detections].predict_on_batch(inputs) | {"images": images}

    def embeddings(self, found: dict, image: int, masks: np.ndarray) -> np.ndarray:
        """float32 [count, E], each of length 1, of the detections whose `masks` [count, 28, 28] are given."""
        if not len(masks):
            width = self.model.reid_dim or sum(level.shape[-1] for level in found["embeddings"])
            return np.zeros((0, width), np.float32)
        rois, padding = self._few_shapes(found, image, len(masks))
        embeddings = [level[image : image + 1] for level in found["embeddings"]]
        masks = np.concatenate([masks, np.zeros((padding, *masks.shape[1:]), np.float32)])
        picture = found["images"][image : image + 1]
        inputs = {"embeddings": embeddings, "images": picture, "rois": rois, "masks": masks[None]}
        return self._embeddings.predict_on_batch(inputs)[: len(masks) - padding]

    def masks(self, found: dict, image: int, count: int) -> np.ndarray:
        """Probabilities float32 [count, 28, 28] of the first `count` detections of a picture of `found`."""
        if count == 0:
            return np.zeros((0, 28, 28), np.float32)
        rois, _ = self._few_shapes(found, image, count)
        embeddings = [level[image : image + 1] for level in found["embeddings"]]
        return self._masks.predict_on_batch({"embeddings": embeddings, "rois": rois})[0, :count]


    def _few_shapes(self, found: dict, image: int, count: int) -> tuple[np.ndarray, int]:
        """The first `count` boxes [1, count + padding, 4] of a picture, and how many more there are."""
        padding = 0
        if keras.backend.backend() == "jax":  # every shape compiles anew there
            padding = min(-count % 16, found["boxes"].shape[1] - count)
        return found["boxes"][image : image + 1, : count + padding], padding


def _compiled(model: keras.Model) -> keras.Model:
    """XLA is left to JAX: on TensorFlow's CPU the plain graph was measured faster."""
    model.compile(jit_compile=keras.backend.backend() == "jax")
    return model
