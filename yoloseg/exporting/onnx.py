"""ONNX: one file for onnxruntime, its metadata inside."""

from __future__ import annotations

import json
from pathlib import Path

import tensorflow as tf

from yoloseg.errors import UsageError
from yoloseg.exporting.graph import InstanceGraph

OPSET = 18
METADATA = "yoloseg"


def write_onnx(graph: InstanceGraph, path: Path, frame: tuple[int, int] | None, document: dict) -> None:
    """Writes `path`, opset 18. frame: (height, width) of the frames, None for any.

    `frames` uint8 [B, H, W, 3] RGB -> as `InstanceGraph`. Raises UsageError where tf2onnx is not installed.
    """
    try:
        import tf2onnx
    except ImportError as error:
        raise UsageError("ONNX export needs tf2onnx: pip install 'yoloseg[onnx]'") from error
    frames = tf.TensorSpec([None, *(frame or (None, None)), 3], tf.uint8, name="frames")
    function = tf.function(graph.__call__, input_signature=[frames])
    model, _ = tf2onnx.convert.from_function(function, input_signature=[frames], opset=OPSET)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(document)
    path.write_bytes(model.SerializeToString())
