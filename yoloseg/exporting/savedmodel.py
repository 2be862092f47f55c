"""SavedModel: frames of any size or encoded pictures in; TensorFlow alone runs it."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf
from keras import ops

from yoloseg.exporting.box_graph import BoxGraph
from yoloseg.exporting.frames import Placement
from yoloseg.exporting.graph import InstanceGraph, packed_masks
from yoloseg.files import write_json

METADATA = Path("assets.extra") / "metadata.json"


def write_savedmodel(
    graph: InstanceGraph | BoxGraph, folder: Path, frame: tuple[int, int] | None, document: dict
) -> None:
    """Writes into `folder`. frame: (height, width) of the frames, None for any.

    Signatures, all with a batch axis first:
    serving_default: `frames` uint8 [B, H, W, 3] RGB -> as the graph.
    encoded: `image_bytes` string [B], JPEG, PNG, GIF or BMP (24 bits a pixel) files -> the same, each in
    pixels of its picture, which is decoded as it lies in the file: EXIF orientation is not applied.
    pasted, of an InstanceGraph: `frames` -> the same with masks uint8 [B, N, H, ceil(W / 8)], see
    `packed_masks`.
    """
    frames = tf.TensorSpec([None, *(frame or (None, None)), 3], tf.uint8, name="frames")
    files = tf.TensorSpec([None], tf.string, name="image_bytes")
    shapes = ((4,), (1, 4), (1, 4), (1, 4))
    images = tf.TensorSpec([None, *graph.imgsz, 3], tf.float32)
    placement = Placement(*(tf.TensorSpec([None, *shape], tf.float32) for shape in shapes))
    # one function that all signatures call, so that the file holds the network once
    instances = tf.function(graph.instances, input_signature=[images, placement], autograph=False)

    def serving_default(frames):
        return instances(*graph.prepare(frames))

    def pasted(frames):
        found = serving_default(frames)
        height, width = ops.shape(frames)[1:3]
        return found | {"masks": packed_masks(found, height, width)}

    def read(content):
        picture = tf.io.decode_image(content, channels=3, expand_animations=False)
        picture = tf.ensure_shape(picture, [None, None, 3])
        images, place = graph.prepare(picture[None])
        return images[0], place.region[0], place.scale[0], place.shift[0], place.limit[0]

    def encoded(image_bytes):
        signature = tuple(tf.TensorSpec(shape, tf.float32) for shape in ((*graph.imgsz, 3), *shapes))
        images, *place = tf.map_fn(read, image_bytes, fn_output_signature=signature)
        return instances(images, Placement(*place))

    archive = keras.export.ExportArchive()
    archive.add_endpoint("serving_default", serving_default, input_signature=[frames])
    if isinstance(graph, InstanceGraph):
        archive.add_endpoint("pasted", pasted, input_signature=[frames])
    archive.add_endpoint("encoded", encoded, input_signature=[files])
    try:
        archive.write_out(str(folder), verbose=False)
    except tf.errors.OpError as error:  # TensorFlow's word for a full disk
        raise OSError(error.message) from error
    write_json(folder / METADATA, document)
