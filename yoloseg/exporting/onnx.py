"""ONNX: one file for onnxruntime, its metadata inside."""

from __future__ import annotations

import json
from pathlib import Path

import tensorflow as tf

from yoloseg.errors import UsageError
from yoloseg.exporting.box_graph import BoxGraph
from yoloseg.exporting.graph import InstanceGraph

OPSET = 18
METADATA = "yoloseg"


def write_onnx(
    graph: InstanceGraph | BoxGraph, path: Path, frame: tuple[int, int] | None, document: dict
) -> None:
    """Writes `path`, opset 18. frame: (height, width) of the frames, None for any.

    `frames` uint8 [B, H, W, 3] RGB -> as the graph. Raises UsageError where tf2onnx fails.
    """
    import tf2onnx

    frames = tf.TensorSpec([None, *(frame or (None, None)), 3], tf.uint8, name="frames")
    function = tf.function(graph.__call__, input_signature=[frames], autograph=False)
    try:
        model, _ = tf2onnx.convert.from_function(function, input_signature=[frames], opset=OPSET)
    except Exception as error:  # tf2onnx raises what its parts raise
        raise UsageError(f"{path}: tf2onnx cannot convert this network: {error}") from error
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(document)
    path.write_bytes(model.SerializeToString())
