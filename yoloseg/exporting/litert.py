"""LiteRT (`.tflite`): one file of built-in operators and static shapes, its metadata inside."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path

import keras
import tensorflow as tf

from yoloseg.errors import UsageError
from yoloseg.exporting.box_graph import BoxGraph
from yoloseg.exporting.graph import InstanceGraph, RawGraph

METADATA = "metadata.json"


def write_litert(
    graph: InstanceGraph | BoxGraph | RawGraph,
    path: Path,
    frame: tuple[int, int],
    precision: str,
    document: dict,
) -> None:
    """Writes `path`. frame: (height, width) of the frames. precision: see `export_model`; int8 is in the
    graph already (`yoloseg.exporting.quantize`).

    Signature serving_default: `frames` uint8 [1, H, W, 3] RGB -> as the graph; an InstanceGraph also has
    `letterboxed`, a RawGraph `masks`.
    Raises UsageError when the converter fails, as it does where an operator is not built in.
    """
    with tempfile.TemporaryDirectory() as folder:  # its name has nothing that TensorFlow takes for a pattern
        archive = keras.export.ExportArchive()
        frames = tf.TensorSpec([1, *frame, 3], tf.uint8, name="frames")
        archive.add_endpoint("serving_default", graph.__call__, input_signature=[frames])
        signatures = ["serving_default"]
        if isinstance(graph, InstanceGraph):
            images = tf.TensorSpec([1, *graph.model.imgsz, 3], tf.uint8, name="images")
            region = tf.TensorSpec([1, 4], tf.float32, name="region")
            archive.add_endpoint("letterboxed", graph.letterboxed, input_signature=[images, region])
            signatures.append("letterboxed")
        if isinstance(graph, RawGraph):
            cuts = [tf.TensorSpec(shape, tf.float32, name=name) for name, shape in graph.cuts.items()]
            archive.add_endpoint("masks", graph.masks, input_signature=cuts)
            signatures.append("masks")
        try:
            archive.write_out(folder, verbose=False)
        except tf.errors.OpError as error:  # TensorFlow's word for a full disk
            raise UsageError(f"cannot write to {folder}, needed for a while: {error.message}") from error
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=signatures)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        try:
            content = converter.convert()
        except Exception as error:  # the converter raises its own ConverterError, or what its parts raise
            raise UsageError(f"{path}: LiteRT's converter cannot convert this network: {error}") from error
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA, json.dumps(document, indent=2))
