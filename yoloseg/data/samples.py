"""A sample: a picture at the network's size with its instances; and what may be done to it in training.

A transform is called with (sample, rng, samples), the last being other pictures to take something from, and
returns a new sample, changing neither the given one nor its arrays (they are cached). It moves pixels by a
matrix and gives the same matrix to the instances; outlines become pixels only when a batch is packed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from yoloseg.data.geometry import horizontal_flip
from yoloseg.data.instances import Instance
from yoloseg.data.letterbox import letterbox, letterbox_matrix, letterbox_region
from yoloseg.data.records import Record
from yoloseg.errors import DataError

MIN_SIDE = 1.0   # pixels of the network input; what shows less of itself is no target
MIN_SHOWN = 0.1  # of an object's box; what is cut to less by the frame is no target either


@dataclass(frozen=True, eq=False)
class Sample:
    """image: uint8 [h, w, 3] RGB, not to be written to; instances: in its pixels; image_id: the record's.

    region: (x0, y0, x1, y1) in whole pixels of what is picture and not padding, None when that is unknown.
    exhaustive: class indices of which every object that is seen is an instance, None for all classes.
    """

    image: np.ndarray
    instances: tuple[Instance, ...] = ()
    image_id: int | None = None
    region: tuple[int, int, int, int] | None = None
    exhaustive: frozenset[int] | None = None

    def moved(self, image: np.ndarray, matrix: np.ndarray) -> Sample:
        """The sample with `image` as its picture and every instance moved by matrix [2, 3] to match."""
        instances = tuple(one.transform(matrix) for one in self.instances)
        return replace(self, image=image, instances=instances, region=None)

    def resized(self, imgsz: tuple[int, int]) -> Sample:
        """The sample in a frame of imgsz (height, width); averaged where it shrinks."""
        height, width = self.image.shape[:2]
        if imgsz == (height, width):
            return self
        method = cv2.INTER_AREA if imgsz[0] <= height and imgsz[1] <= width else cv2.INTER_LINEAR
        image = cv2.resize(self.image, (imgsz[1], imgsz[0]), interpolation=method)
        return self.moved(image, np.array([[imgsz[1] / width, 0.0, 0.0], [0.0, imgsz[0] / height, 0.0]]))

    def visible(self) -> list[tuple[Instance, np.ndarray]]:
        """(instance, box float32 [4] xyxy) of those that show MIN_SIDE or more of width and of height, and
        MIN_SHOWN or more of their whole box.

        Asked once, after the last transform, so that nothing is lost that a later transform brings back.
        """
        height, width = self.image.shape[:2]
        found = [(one, one.box(height, width)) for one in self.instances]
        return [(one, box) for one, box in found if _shows_enough(one, box, height, width)]

    @property
    def nbytes(self) -> int:
        """Memory of the pixels it holds; polygons are shared with the record."""
        return self.image.nbytes + sum(one.bitmap.nbytes for one in self.instances if one.bitmap is not None)


def _shows_enough(instance: Instance, box: np.ndarray, height: int, width: int) -> bool:
    w, h = box[2:] - box[:2]
    if min(w, h) < MIN_SIDE:
        return False
    whole = box[0] > 0 and box[1] > 0 and box[2] < width and box[3] < height
    low, high = (0, 0), (0, 0)
    if not whole:
        low, high = instance.corners()
    return bool(w * h >= MIN_SHOWN * (high[0] - low[0]) * (high[1] - low[1]))


Transform = Callable[[Sample, np.random.Generator, Sequence[Sample]], Sample]


def picture_region(sample: Sample) -> tuple[int, int, int, int]:
    """The sample's region, or the whole frame where it is unknown."""
    height, width = sample.image.shape[:2]
    return sample.region or (0, 0, width, height)


def read_sample(record: Record, imgsz: tuple[int, int]) -> Sample:
    """The record's picture letterboxed to imgsz (height, width), with its instances, cut where it ends:
    beyond there is nothing to be seen, though annotators draw there.

    Raises DataError naming picture and annotation when one cannot be read or does not fit the other.
    """
    where = describe(record)
    try:
        image = record.read_image()
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{where}: the picture cannot be read: {error!r}") from error
    if image.shape != (record.height, record.width, 3) or image.dtype != np.uint8:
        raise DataError(
            f"{where}: the picture is {image.dtype} {image.shape}, its record says uint8 "
            f"{(record.height, record.width, 3)}; correct width and height in the annotations"
        )
    matrix = letterbox_matrix(record.height, record.width, imgsz)
    image, region = letterbox(image, imgsz), letterbox_region(record.height, record.width, imgsz)
    instances = tuple(inside(one.transform(matrix), image, region) for one in read_instances(record))
    return Sample(image, instances, record.image_id, region, record.exhaustive)


def inside(instance: Instance, image: np.ndarray, region: tuple[int, int, int, int]) -> Instance:
    """The instance without what its outline claims beyond the region (x0, y0, x1, y1) of the image: that is
    padding, or will be a neighbour. What is cut becomes a bitmap; a pixel beyond is let through.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = region
    low, high = instance.corners()
    if low[0] >= x0 - 1 and low[1] >= y0 - 1 and high[0] <= x1 + 1 and high[1] <= y1 + 1:
        return instance
    mask = np.zeros((height, width), np.uint8)
    mask[y0:y1, x0:x1] = instance.rasterise(height, width)[y0:y1, x0:x1]
    return Instance.from_mask(mask, instance.class_index, instance.crowd, instance.track_id)


def read_instances(record: Record) -> tuple[Instance, ...]:
    """The record's instances in pixels of its original picture, outlines as they were written, also beyond
    it. Raises DataError naming the annotation."""
    instances = []
    for annotation in record.annotations:
        where = f"{describe(record)}: annotation {annotation.annotation_id}"
        mask = annotation.segmentation
        if isinstance(mask, dict) and tuple(mask["size"]) != (record.height, record.width):
            raise DataError(
                f"{where}: its RLE is of size {list(mask['size'])}, the picture is "
                f"{[record.height, record.width]} (height, width); remove or redo the annotation"
            )
        try:
            instances.append(Instance.from_annotation(annotation))
        except Exception as error:
            raise DataError(f"{where}: its mask cannot be decoded ({error}); remove or redo it") from error
    return tuple(instances)


def describe(record: Record) -> str:
    """What an error message calls the picture: its file where it has one."""
    return f"image {record.image_id}" if callable(record.source) else str(record.source)


@dataclass(frozen=True)
class Flip:
    """Mirrors picture and instances left to right with the given probability."""

    probability: float = 0.5

    def __call__(
        self, sample: Sample, rng: np.random.Generator, samples: Sequence[Sample] = ()
    ) -> Sample:
        if rng.random() >= self.probability:
            return sample
        return sample.moved(cv2.flip(sample.image, 1), horizontal_flip(sample.image.shape[1]))
