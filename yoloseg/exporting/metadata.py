"""What a program must know of an exported file, as JSON inside it."""

from __future__ import annotations

from yoloseg.darknet.detector import DarknetDetector
from yoloseg.data.letterbox import PADDING
from yoloseg.inference.exported import FORMAT_VERSION
from yoloseg.modeling.network import YoloSeg


def metadata(
    model: YoloSeg | DarknetDetector,
    *,
    frame: tuple[int, int] | None,
    max_detections: int,
    threshold: float,
    precision: str,
    raw: bool = False,
) -> dict:
    """The document. frame: (height, width) of the frames the file takes, None for any.

    In a SavedModel it is `assets.extra/metadata.json`, in a `.tflite` file the member `metadata.json` of the
    zip archive at its end (Python's zipfile opens it), in ONNX the metadata property `yoloseg`.
    """
    from yoloseg import __version__

    document = {
        "format": "yoloseg",
        "format_version": FORMAT_VERSION,
        "yoloseg": __version__,
        "classes": list(model.classes),
        "masks": True,
        "input": {
            "name": "frames",
            "layout": "uint8 [B, H, W, 3], RGB",
            "frame": list(frame) if frame else None,
            "imgsz": list(model.imgsz),
            "normalisation": "inside the file: value / 255",
            "letterbox": f"inside the file: one scale, centred, padded with {PADDING}",
        },
        "max_detections": max_detections,
        "score_threshold": threshold,
        "precision": precision,
        "outputs": {
            "boxes": "float32 [B, D, 4], x0 y0 x1 y1 in pixels of the frame, within it",
            "scores": "float32 [B, D], falling",
            "classes": "int32 [B, D], index into classes",
            "masks": "float32 [B, D, 28, 28], probabilities, each over its box",
            "num_detections": "int32 [B]; all outputs are 0 in slots from there on",
        },
    }
    if isinstance(model, DarknetDetector):
        return _of_boxes(document, model)
    document["size"] = model.size
    if raw:
        each, together = model.budget(max_detections)
        document["input"]["letterbox"] = f"outside: one scale, centred, padded with {PADDING}"
        document |= {
            "raw": True,
            "anchors": [[list(wh) for wh in level] for level in model.anchors],
            "classes_per_anchor": model.classes_per_anchor,
            "nms_iou": model.nms_iou,
            "candidates": each,
            "candidates_of_all_levels": together,
            "two_stage_nms": model.two_stage_nms,
            "outputs": {
                "P2_boxes ... P5_boxes": "float32 [1, H, W, A * 4], deltas against the anchors",
                "P2_objectness ... P5_objectness": "float32 [1, H, W, A], logits",
                "P2_classes ... P5_classes": "float32 [1, H, W, (A *) K], logits; not there for one class",
                "P2_embedding ... P5_embedding": "float32 [1, H, W, E]",
            },
            "masks_signature": "P2_roi ... P5_roi float32 [D, 14, 14, E] -> masks float32 [D, 28, 28]",
        }
    return document


def _of_boxes(document: dict, detector: DarknetDetector) -> dict:
    """The document of a Darknet detector: boxes without masks, frames stretched or with another padding."""
    how = "one scale, centred, padded with 127.5"
    if not detector.plan.letter_box:
        how = "none, frames are stretched: bilinear, as OpenCV's INTER_LINEAR"
    document["input"] |= {"letterbox": f"inside the file: {how}", "stretched": not detector.plan.letter_box}
    document |= {"masks": False, "cfg": detector.plan.path.name}
    del document["outputs"]["masks"]
    return document
