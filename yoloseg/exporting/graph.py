"""What an exported file computes: frames in, instances out, in keras.ops alone."""

from __future__ import annotations

import numpy as np
from keras import ops

from yoloseg.exporting.fold import folded
from yoloseg.exporting.frames import Placement, letterbox_frames
from yoloseg.modeling.architecture import LEVELS, STRIDES
from yoloseg.modeling.network import YoloSeg
from yoloseg.modeling.roi_align import adaptive_feature_pooling


class InstanceGraph:
    """frames uint8 [B, H, W, 3] RGB -> the instances of at least `threshold`, best first.

    boxes: float32 [B, D, 4] xyxy in pixels of the frame, within it. scores: float32 [B, D]. classes: int32
    [B, D]. masks: float32 [B, D, 28, 28], probabilities over each box. num_detections: int32 [B]. D is
    `max_detections`; everything is 0 in slots from num_detections on.

    fixed: every slot's mask is computed, as graphs of static shapes must; otherwise only as many as the
    picture with the most detections has. Raises nothing: a frame without instances has num_detections 0.
    """

    def __init__(self, model: YoloSeg, max_detections: int, threshold: float, *, fixed: bool = False):
        self.model = model
        self.imgsz = tuple(model.imgsz)
        self.network = folded(model.network, self.imgsz)
        self.mask_subnet = model.mask_subnet
        self.max_detections = max_detections
        self.threshold = max(threshold, 1e-9)
        self.fixed = fixed

    def __call__(self, frames) -> dict:
        return self.instances(*self.prepare(frames))

    def prepare(self, frames):
        """The network's input, as `instances` takes it: images [B, h, w, 3], 0..255, and the Placement."""
        return letterbox_frames(frames, self.imgsz)

    def letterboxed(self, images, region) -> dict:
        """The same from letterboxed images uint8 [B, h, w, 3] and `region`, float32 [B, 4] xyxy: what of each
        is frame and not padding. Boxes are in pixels of the images, within their region.
        """
        limit = ops.concatenate([region[:, 2:]] * 2, -1)[:, None]
        place = Placement(region, ops.ones((1, 1, 4)), ops.zeros((1, 1, 4)), limit)
        return self.instances(ops.cast(images, "float32"), place)

    def instances(self, images, place: Placement) -> dict:
        """The same from letterboxed images [B, h, w, 3], 0..255, and where the frames lie in them."""
        outputs = self.network(images, training=False)
        found = self.model.propose(outputs, self.max_detections, regions=place.region)
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
        slots = self.max_detections if self.fixed else ops.maximum(ops.max(count), 1)
        cuts = adaptive_feature_pooling(embeddings, boxes[:, :slots], STRIDES)
        masks = ops.sigmoid(ops.reshape(self.mask_subnet(cuts), (-1, slots, 28, 28)))
        if self.fixed:
            return masks
        return ops.pad(masks, ((0, 0), (0, self.max_detections - slots), (0, 0), (0, 0)))


def packed_masks(found: dict, height, width):
    """Masks at the frame's own size, eight pixels a byte: uint8 [B, N, height, ceil(width / 8)].

    found: of `InstanceGraph`; N: the most detections of a picture. `numpy.unpackbits(masks, axis=-1,
    count=width)` gives 0 and 1. A pixel is 1 where its centre lies in the box and the probability, bilinear
    between the cells' centres and 0 beyond them, is at least 0.5: what `yoloseg.inference.paste` gives.
    """
    count = ops.max(found["num_detections"])
    boxes, masks = found["boxes"][:, :count], found["masks"][:, :count]
    rows = _interpolation(boxes[..., 1], boxes[..., 3], height, masks.shape[-2])             # [B, N, H, 28]
    columns = _interpolation(boxes[..., 0], boxes[..., 2], (width + 7) // 8 * 8, masks.shape[-1])
    values = ops.matmul(ops.matmul(rows, masks), ops.swapaxes(columns, -1, -2))
    bits = ops.cast(values >= 0.5, "int32")
    bits = ops.reshape(bits, (*ops.shape(bits)[:-1], -1, 8))
    return ops.cast(ops.sum(bits * 2 ** np.arange(7, -1, -1, dtype="int32"), axis=-1), "uint8")


def _interpolation(low, high, pixels, cells: int):
    """Weights float32 [B, N, pixels, cells] of the cells of a grid over low..high at the pixels' centres."""
    centre = ops.cast(ops.arange(pixels), "float32") + 0.5
    low, high = low[..., None], high[..., None]
    inside = ops.logical_and(centre >= low, centre <= high)
    position = (centre - low) * (cells / ops.maximum(high - low, 1e-6)) - 0.5
    weight = 1 - ops.abs(position[..., None] - np.arange(cells, dtype="float32"))
    return ops.maximum(weight, 0.0) * ops.cast(inside, "float32")[..., None]


class RawGraph:
    """The network alone, for delegates without top-k and gathers: frames -> dense outputs, and the mask
    subnet apart. What lies between is `yoloseg.inference.raw`, in NumPy.

    frames uint8 [1, h, w, 3], letterboxed RGB -> {"P2_boxes", "P2_objectness", "P2_classes", "P2_embedding",
    ...}, float32, as `build_network` says. cuts: names and shapes of what `masks` takes, `slots` at a time.
    """

    def __init__(self, model: YoloSeg, slots: int):
        self.model = model
        self.network = folded(model.network, model.imgsz)
        self.mask_subnet = model.mask_subnet
        self.cuts = {cut.name: (slots, *cut.shape[1:]) for cut in model.mask_subnet.inputs}

    def __call__(self, frames) -> dict:
        outputs = self.network(ops.cast(frames, "float32"), training=False)
        return {f"{level}_{name}": value for level in LEVELS for name, value in outputs[level].items()}

    def masks(self, *cuts) -> dict:
        """Four ROI cuts float32 [slots, 14, 14, E], P2 to P5 -> {"masks": float32 [slots, 28, 28]}, which are
        probabilities."""
        return {"masks": ops.sigmoid(self.mask_subnet(list(cuts)))}
