"""What an exported file of a Darknet detector computes: frames in, boxes out, in keras.ops alone."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from yoloseg.darknet.decode_ops import find_boxes
from yoloseg.darknet.detector import DarknetDetector
from yoloseg.exporting.fold import folded
from yoloseg.exporting.frames import Placement, letterbox_frames
from yoloseg.exporting.stretch import stretch_frames
from yoloseg.modeling.nms import top

GREY = 127.5  # 0.5 of 255, around frames that keep their aspect


class BoxGraph:
    """frames uint8 [B, H, W, 3] RGB -> what `DarknetDetector.find` finds in them, best first.

    boxes: float32 [B, D, 4] xyxy in pixels of the frame, within it. scores: float32 [B, D], at least
    `threshold`. classes: int32 [B, D]. num_detections: int32 [B]. D is `max_detections`; everything is 0 in
    slots from num_detections on. There are no masks. Of all boxes, once for each class, suppression sees the
    best `yoloseg.darknet.decode_ops.CANDIDATES`.
    """

    def __init__(self, detector: DarknetDetector, max_detections: int, threshold: float):
        self.heads = detector.plan.heads
        self.imgsz = detector.imgsz
        self.letter_box = detector.plan.letter_box
        self.network = folded(detector.network, self.imgsz)
        self.max_detections = max_detections
        self.threshold = max(threshold, 1e-9)

    def __call__(self, frames) -> dict:
        return self.instances(*self.prepare(frames))

    def prepare(self, frames):
        """What `DarknetDetector.image` gives, as `instances` takes it: images [B, h, w, 3], 0..255, and the
        Placement."""
        if self.letter_box:
            return letterbox_frames(frames, self.imgsz, GREY)
        return stretch_frames(frames, self.imgsz)

    def instances(self, images, place: Placement) -> dict:
        """The same from images [B, h, w, 3], 0..255, of the network's size, and where the frames lie in
        them."""
        outputs = keras.tree.flatten(self.network(images / 255.0, training=False))
        found = find_boxes(outputs, self.heads, self.imgsz, self.threshold, self.max_detections)
        boxes = place.to_frame(found["boxes"] * np.array(self.imgsz[::-1] * 2, "float32"))
        inside = ops.logical_and(boxes[..., 2] > boxes[..., 0], boxes[..., 3] > boxes[..., 1])
        scores = found["scores"] * ops.cast(inside, "float32")  # others lie beyond the frame's border
        found = top({"scores": scores, "boxes": boxes, "classes": found["classes"]}, self.max_detections)
        valid = found["scores"] > 0
        return {
            "boxes": found["boxes"] * ops.cast(valid, "float32")[..., None],
            "scores": found["scores"],
            "classes": found["classes"] * ops.cast(valid, "int32"),
            "num_detections": ops.sum(ops.cast(valid, "int32"), axis=1),
        }
