"""SavedModel: frames of any size or encoded pictures in; TensorFlow alone runs it."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf
from keras import ops

from yoloseg.exporting.frames import Placement, letterbox_frames
from yoloseg.exporting.graph import InstanceGraph, packed_masks
from yoloseg.files import write_json

METADATA = Path("assets.extra") / "metadata.json"


def write_savedmodel(
    graph: InstanceGraph, folder: Path, frame: tuple[int, int] | None, document: dict
) -> None:
    """Writes into `folder`. frame: (height, width) of the frames, None for any.

    Signatures, all with a batch axis first:
    serving_default: `frames` uint8 [B, H, W, 3] RGB -> as `InstanceGraph`.
    encoded: `image_bytes` string [B], JPEG, PNG, GIF or BMP files -> the same, each in pixels of its picture,
    which is decoded as it lies in the file: EXIF orientation is not applied.
    pasted: `frames` -> the same with masks uint8 [B, N, H, ceil(W / 8)], see `packed_masks`.
    """
    frames = tf.TensorSpec([None, *(frame or (None, None)), 3], tf.uint8, name="frames")
    files = tf.TensorSpec([None], tf.string, name="image_bytes")

    def pasted(frames):
        found = graph(frames)
        height, width = ops.shape(frames)[1:3]
        return found | {"masks": packed_masks(found, height, width)}

    def read(content):
        picture = tf.io.decode_image(content, channels=3, expand_animations=False)
        picture = tf.ensure_shape(picture, [None, None, 3])
        images, place = letterbox_frames(picture[None], graph.model.imgsz)
        return images[0], place.region[0], place.scale[0], place.shift[0], place.limit[0]

    def encoded(image_bytes):
        imgsz = graph.model.imgsz
        shapes = ((*imgsz, 3), (4,), (1, 1), (1, 4), (1, 4))
        signature = tuple(tf.TensorSpec(shape, tf.float32) for shape in shapes)
        images, *place = tf.map_fn(read, image_bytes, fn_output_signature=signature)
        return graph.instances(images, Placement(*place))

    archive = keras.export.ExportArchive()
    archive.add_endpoint("serving_default", graph.__call__, input_signature=[frames])
    archive.add_endpoint("pasted", pasted, input_signature=[frames])
    archive.add_endpoint("encoded", encoded, input_signature=[files])
    archive.write_out(str(folder), verbose=False)
    write_json(folder / METADATA, document)
