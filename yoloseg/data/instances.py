"""One object of one picture: an outline that matrices move and that becomes pixels once, at the end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from yoloseg.data.geometry import (
    box_to_square,
    compose,
    cut_segments,
    extents_inside,
    invert,
    picture_corners,
    transform_points,
)
from yoloseg.data.records import Annotation

SUPERSAMPLE = 4  # samples per side of one pixel of a crop
OPENCV_SIDE = 2**15 - 1  # sides of pictures that OpenCV no longer moves by a matrix
_SUBPIXEL_BITS = 4  # OpenCV draws at 1/16 of a sample


@dataclass(frozen=True, eq=False)
class Instance:
    """An object as polygons or as a bitmap, with the matrix that puts it into its picture.

    polygons: float [n, 2] (x, y) each, n >= 3; every one filled by the even-odd rule, all together the union.
    bitmap: uint8 [h, w] of 0 and 1, cropped tight (no empty border rows or columns), used when not None. Its
        pixels are unit squares: pixel (i, j) covers x in [j, j + 1], y in [i, i + 1] before `matrix`.
    matrix: float64 [2, 3], from the coordinates of polygons or bitmap to pixels of the picture.
    Transforms only multiply the matrix: outlines are shared, never resampled, never rounded.
    """

    class_index: int
    crowd: bool = False
    track_id: int | None = None
    polygons: tuple[np.ndarray, ...] = ()
    bitmap: np.ndarray | None = None
    matrix: np.ndarray = field(default_factory=lambda: np.eye(2, 3))

    def __post_init__(self) -> None:
        bitmap = self.bitmap
        if bitmap is not None and bitmap.size:
            if not (bitmap[0].any() and bitmap[-1].any() and bitmap[:, 0].any() and bitmap[:, -1].any()):
                raise ValueError("an Instance's bitmap must be cropped tight; use Instance.from_mask")

    @classmethod
    def from_mask(
        cls, mask: np.ndarray, class_index: int, crowd: bool = False, track_id: int | None = None
    ) -> Instance:
        """From a mask [H, W] (bool or uint8, non-zero inside) of a whole picture; keeps a tight copy."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return cls(class_index, crowd, track_id, bitmap=np.zeros((0, 0), np.uint8))
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        bitmap = np.array(mask[top:bottom, left:right] != 0, np.uint8, order="C")
        matrix = np.array([[1.0, 0.0, left], [0.0, 1.0, top]])
        return cls(class_index, crowd, track_id, bitmap=bitmap, matrix=matrix)

    @classmethod
    def from_annotation(cls, annotation: Annotation) -> Instance:
        """In pixels of the original picture. RLE is decoded here, once; polygons are shared, not copied."""
        labels = (annotation.class_index, annotation.crowd, annotation.track_id)
        if isinstance(annotation.segmentation, dict):
            return cls.from_mask(coco_mask.decode(annotation.segmentation), *labels)
        return cls(*labels, polygons=tuple(annotation.segmentation))

    def transform(self, matrix: np.ndarray) -> Instance:
        """The instance moved by matrix [2, 3], exactly."""
        return replace(self, matrix=compose(matrix, self.matrix))

    def outlines(self) -> list[np.ndarray]:
        """The polygons in pixels of the picture, float64 [n, 2] each; empty for a bitmap."""
        return [transform_points(self.matrix, polygon) for polygon in self.polygons]

    def box(self, height: int, width: int) -> np.ndarray:
        """float32 [4] (x0, y0, x1, y1): exact extents of the part inside the picture, zeros for none."""
        if self.bitmap is not None:
            found = [_bitmap_extents(self, height, width)]
        else:
            found = [extents_inside(outline, height, width) for outline in self.outlines()]
        found = [extents for extents in found if extents is not None]
        if not found:
            return np.zeros(4, np.float32)
        low = np.min([extents[0] for extents in found], axis=0)
        high = np.max([extents[1] for extents in found], axis=0)
        return np.concatenate([low, high]).astype(np.float32)

    def corners(self) -> tuple[np.ndarray, np.ndarray]:
        """(low [2], high [2]) of the whole instance, float64 (x, y), whatever lies outside the picture."""
        if self.bitmap is not None:
            upright = self.matrix[0, 1] == 0 and self.matrix[1, 0] == 0
            whole = upright or not self.bitmap.size
            points = [picture_corners(*self.bitmap.shape)] if whole else _bitmap_edges(self.bitmap)
            points = [transform_points(self.matrix, part) for part in points]
        else:
            points = self.outlines() or [np.zeros((1, 2))]
        points = np.concatenate(points)
        return points.min(0), points.max(0)

    def rasterise(self, height: int, width: int) -> np.ndarray:
        """uint8 [height, width] of 0 and 1: pixels whose centre is inside, as pycocotools draws polygons."""
        out = np.zeros((height, width), np.uint8)
        x0, y0, x1, y1 = self.box(height, width)
        if x1 <= x0 or y1 <= y0:
            return out
        # one pixel of margin: pycocotools rounds to a fifth of a pixel
        left, top = max(0, int(x0) - 1), max(0, int(y0) - 1)
        right, bottom = min(width, int(np.ceil(x1)) + 1), min(height, int(np.ceil(y1)) + 1)
        local = compose(np.array([[1.0, 0.0, -left], [0.0, 1.0, -top]]), self.matrix)
        window = out[top:bottom, left:right]
        if self.bitmap is not None:
            window[:] = _sample_bitmap(self.bitmap, local, *window.shape)
        else:
            parts = [transform_points(local, polygon).ravel() for polygon in self.polygons]
            window[:] = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(parts, *window.shape)))
        return out

    def crop(self, box: np.ndarray, size: int) -> np.ndarray:
        """uint8 [size, size]: the mask resampled to `box` (x0, y0, x1, y1 in pixels of the picture).

        A value is 255 x the share of its cell that the object covers (16 samples a cell, edges counted half
        so that the mean is unbiased). The object is not cut at the picture's border. Zeros for a box without
        area.
        """
        x0, y0, x1, y1 = box
        if not (x1 > x0 and y1 > y0):
            return np.zeros((size, size), np.uint8)
        fine = size * SUPERSAMPLE
        local = compose(box_to_square(box, fine), self.matrix)
        if self.bitmap is not None:
            canvas = _sample_bitmap(self.bitmap, local, fine, fine) * np.uint8(255)
        else:
            canvas = np.zeros((fine, fine), np.uint8)
            for number, polygon in enumerate(self.polygons):
                layer = canvas if number == 0 else np.zeros_like(canvas)
                _draw(layer, transform_points(local, polygon))
                if number:
                    np.maximum(canvas, layer, out=canvas)
        return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)


def _draw(canvas: np.ndarray, points: np.ndarray) -> None:
    """Fills a polygon with 255. OpenCV paints the outline too, half of which is outside: it counts half.

    Where an edge leaves the canvas OpenCV may paint its way along the border; that falls on a margin here.
    """
    fixed = np.rint((points + 0.5) * (1 << _SUBPIXEL_BITS)).clip(-(2**30), 2**30).astype(np.int32)
    wider = np.zeros((canvas.shape[0] + 2, canvas.shape[1] + 2), np.uint8)
    cv2.fillPoly(wider, [fixed], 255, shift=_SUBPIXEL_BITS)
    cv2.polylines(wider, [fixed], True, 128, 1, shift=_SUBPIXEL_BITS)
    canvas[:] = wider[1:-1, 1:-1]


def _sample_bitmap(bitmap: np.ndarray, matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [height, width] of 0 and 1: the bitmap, moved by `matrix`, read at the centres of the pixels."""
    if not bitmap.size:
        return np.zeros((height, width), np.uint8)
    back = invert(matrix)
    back[:, 2] += back[:, :2].sum(1) / 2 - 0.5  # OpenCV puts the centre of the first pixel at 0, 0
    if max(*bitmap.shape, height, width) >= OPENCV_SIDE:
        return _read_nearest(bitmap, back, height, width)
    return cv2.warpAffine(bitmap, back, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)


def _read_nearest(bitmap: np.ndarray, back: np.ndarray, height: int, width: int) -> np.ndarray:
    """OpenCV's warpAffine by `back`, nearest, 0 outside; row by row, for sides that it refuses."""
    out = np.zeros((height, width), np.uint8)
    columns = np.arange(width)
    for row in range(height):
        x, y = (np.rint(a * columns + b * row + c).astype(np.int64) for a, b, c in back)
        inside = (x >= 0) & (x < bitmap.shape[1]) & (y >= 0) & (y < bitmap.shape[0])
        out[row, inside] = bitmap[y[inside], x[inside]]
    return out


def _bitmap_extents(instance: Instance, height: int, width: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(low [2], high [2]) of the part of the instance's bitmap inside the picture, or None."""
    bitmap, matrix = instance.bitmap, instance.matrix
    if not bitmap.size:
        return None
    limit = np.array([width, height], np.float64)
    frame = transform_points(matrix, picture_corners(*bitmap.shape))
    low, high = frame.min(0), frame.max(0)
    if (high < 0).any() or (low > limit).any():
        return None
    upright = matrix[0, 1] == 0 and matrix[1, 0] == 0
    if upright and (low >= 0).all() and (high <= limit).all():
        return low, high  # the bitmap is tight
    if upright:
        return _upright_extents(bitmap, matrix, limit)
    start, end = (transform_points(matrix, points) for points in _bitmap_edges(bitmap))
    corners = picture_corners(height, width)
    columns, rows = np.floor(transform_points(invert(matrix), corners)).astype(np.int64).T
    within = (rows >= 0) & (rows < bitmap.shape[0]) & (columns >= 0) & (columns < bitmap.shape[1])
    inside = corners[within][bitmap[rows[within], columns[within]] != 0]
    touched = np.concatenate([*cut_segments(start, end, limit), inside])
    return (touched.min(0), touched.max(0)) if len(touched) else None


def _upright_extents(
    bitmap: np.ndarray, matrix: np.ndarray, limit: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """`_bitmap_extents` where rows stay rows: of the pixels that reach into the picture."""
    ends = transform_points(invert(matrix), np.stack([np.zeros(2), limit]))
    left, top = np.floor(ends.min(0)).astype(np.int64).clip(0)
    right, bottom = np.ceil(ends.max(0)).astype(np.int64).clip(0)
    part = bitmap[top:bottom, left:right]
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    if not len(rows):
        return None
    found = np.array([[columns[0], rows[0]], [columns[-1] + 1.0, rows[-1] + 1.0]]) + (left, top)
    found = transform_points(matrix, found).clip(0, limit)
    return found.min(0), found.max(0)


def _bitmap_edges(bitmap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends, float64 [n, 2] (x, y) each, of the sides of pixels that part inside from outside."""
    padded = np.pad(bitmap, 1)
    y, x = np.nonzero(padded[1:] != padded[:-1])
    below, left = np.nonzero(padded[:, 1:] != padded[:, :-1])
    start = np.concatenate([np.stack([x - 1, y], 1), np.stack([left, below - 1], 1)])
    end = np.concatenate([np.stack([x, y], 1), np.stack([left, below], 1)])
    return start.astype(np.float64), end.astype(np.float64)
