"""Masks over boxes -> masks over the picture.

The network gives one m x m grid of probabilities over each box. The value of a picture's pixel is read from
that grid by bilinear interpolation at the pixel's centre, with the grid's cells centred half a cell inside
the box (the alignment of ROIAlign) and zeros outside the grid, as Mask R-CNN does. Bilinear interpolation is
separable: first one side of the grid is drawn out to the box's pixels, then the other, whole lines at a time.
That is exact (OpenCV's warps round the weights to 1/32) and needs no matrix product: BLAS would start threads
for each of them, which wait for each other wherever the machine has other work.
"""

from __future__ import annotations

import math

import numpy as np
from pycocotools import mask as coco_mask


def paste_mask(
    probabilities: np.ndarray, box: np.ndarray, height: int, width: int, threshold: float = 0.5
) -> np.ndarray:
    """One mask at the picture's size.

    probabilities: float32 [m, m] (rows = y) over `box`; box: (x0, y0, x1, y1) in pixels, may reach out of the
    picture. Returns bool [height, width]: interpolated probability >= threshold, for pixels whose centre lies
    in the box. A box without size, or outside the picture, gives an empty mask.
    """
    mask = np.zeros((height, width), bool)
    window = _window(box, height, width)
    if window is not None:
        x0, y0, x1, y1 = window
        cells = probabilities.shape
        wide = _lines(_framed(probabilities).T, *_places(box[0], box[2], x0, x1, cells[1])).T
        _fill(mask[y0:y1, x0:x1], wide, *_places(box[1], box[3], y0, y1, cells[0]), threshold)
    return mask


def paste_to_rle(
    probabilities: np.ndarray, box: np.ndarray, height: int, width: int, threshold: float = 0.5
) -> dict:
    """The mask of `paste_mask` as COCO's compressed RLE: {"size": [height, width], "counts": ascii str}.

    Never makes the whole picture: only the columns the box covers are looked at, and their runs are shifted.
    """
    window = _window(box, height, width)
    starts = np.zeros(0, np.int64)
    if window is not None:
        x0, y0, x1, y1 = window
        cells = probabilities.shape
        high = _lines(_framed(probabilities), *_places(box[1], box[3], y0, y1, cells[0])).T
        # RLE runs down the columns: keep the picture transposed, with one zero before and after.
        strip = np.zeros((x1 - x0) * height + 2, bool)
        inside = strip[1:-1].reshape(x1 - x0, height)[:, y0:y1]
        _fill(inside, high, *_places(box[0], box[2], x0, x1, cells[1]), threshold)
        starts = np.flatnonzero(strip[1:] != strip[:-1]) + x0 * height
    if not len(starts):
        counts = [height * width]
    else:
        counts = np.diff(starts, prepend=0).tolist()
        if starts[-1] < height * width:
            counts.append(height * width - int(starts[-1]))
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def _window(box: np.ndarray, height: int, width: int) -> tuple[int, int, int, int] | None:
    """(x0, y0, x1, y1), ends exclusive: the pixels of the picture whose centres lie in the box."""
    x0, y0, x1, y1 = (float(value) for value in box)
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or x1 <= x0 or y1 <= y0:
        return None
    left, top = max(0, math.ceil(x0 - 0.5)), max(0, math.ceil(y0 - 0.5))
    right, bottom = min(width, math.floor(x1 - 0.5) + 1), min(height, math.floor(y1 - 0.5) + 1)
    return (left, top, right, bottom) if left < right and top < bottom else None


def _framed(grid: np.ndarray) -> np.ndarray:
    """The grid with a frame of zeros, one cell wide."""
    framed = np.zeros((grid.shape[0] + 2, grid.shape[1] + 2), np.float32)
    framed[1:-1, 1:-1] = grid
    return framed


def _places(low: float, high: float, start: int, stop: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the pixels start..stop - 1, whose centres lie between low and high, fall in a framed grid.

    Returns the cell before each, int [n], and the weight of the cell after it, float32 [n, 1].
    """
    position = (np.arange(start, stop) + (0.5 - float(low))) * (cells / (float(high) - float(low))) + 0.5
    cell = np.clip(position.astype(np.intp), 0, cells)
    return cell, (position - cell).astype(np.float32)[:, None]


def _lines(framed: np.ndarray, cell: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Linear interpolation along the first axis: float32 [cells + 2, length] -> [n, length]."""
    values = framed[cell]
    values *= 1 - weight
    values += framed[cell + 1] * weight
    return values


def _fill(
    mask: np.ndarray, framed: np.ndarray, cell: np.ndarray, weight: np.ndarray, threshold: float
) -> None:
    """mask, bool [n, length], becomes `_lines(...) >= threshold`; a cacheful of lines at a time."""
    framed = np.ascontiguousarray(framed)
    step = max(1, 2**14 // mask.shape[1])
    for first in range(0, len(mask), step):
        part = slice(first, first + step)
        np.greater_equal(_lines(framed, cell[part], weight[part]), threshold, out=mask[part])
