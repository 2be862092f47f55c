"""Letterboxing: a picture of any shape, scaled into the network's input and padded with grey to fill it."""

from __future__ import annotations

import cv2
import numpy as np

from yoloseg.data.geometry import invert

__all__ = ["PADDING", "invert", "letterbox", "letterbox_matrix", "letterbox_region", "picture_region"]

PADDING = 114  # grey around the picture


def letterbox_matrix(height: int, width: int, imgsz: tuple[int, int]) -> np.ndarray:
    """float64 [2, 3]: from continuous pixel coordinates of a picture to those of the network input.

    imgsz: (height, width) of the input. Both axes have the one exact scale min(h / height, w / width), not
    rounded; the offsets are whole pixels. `invert(matrix)` takes boxes and masks back to the picture.
    """
    scale, (new_height, new_width) = _fit(height, width, imgsz)
    top, left = (imgsz[0] - new_height) // 2, (imgsz[1] - new_width) // 2
    return np.array([[scale, 0.0, left], [0.0, scale, top]])


def letterbox_region(height: int, width: int, imgsz: tuple[int, int]) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) in whole pixels of the network input: what is picture and not padding."""
    _, (new_height, new_width) = _fit(height, width, imgsz)
    top, left = (imgsz[0] - new_height) // 2, (imgsz[1] - new_width) // 2
    return left, top, left + new_width, top + new_height


def picture_region(height: int, width: int, imgsz: tuple[int, int]) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) in pixels of the network input: between the picture's own edges, which lie within half
    a pixel of `letterbox_region`, and within that."""
    left, top, right, bottom = letterbox_region(height, width, imgsz)
    scale = letterbox_matrix(height, width, imgsz)[0, 0]
    return left, top, min(right, left + width * scale), min(bottom, top + height * scale)


def letterbox(image: np.ndarray, imgsz: tuple[int, int]) -> np.ndarray:
    """uint8 [h, w, 3] from uint8 [H, W, 3], placed exactly where `letterbox_matrix` says.

    A pixel is the mean of the area it covers where the picture shrinks, bilinear where it grows.
    The side that does not fill the input is cut or stretched by less than half a pixel to whole pixels.
    """
    height, width = image.shape[:2]
    scale, (new_height, new_width) = _fit(height, width, imgsz)
    if scale != 1.0:
        # a factor instead of a size: OpenCV then samples with the exact scale (it rounds the size itself)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        if round(height * scale) > 0 and round(width * scale) > 0:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=method)
        else:  # a picture so long that its short side vanishes
            image = cv2.resize(image, (new_width, new_height), interpolation=method)
    top, left = (imgsz[0] - new_height) // 2, (imgsz[1] - new_width) // 2
    return cv2.copyMakeBorder(
        image[:new_height, :new_width],
        top,
        imgsz[0] - new_height - top,
        left,
        imgsz[1] - new_width - left,
        cv2.BORDER_CONSTANT,
        value=(PADDING, PADDING, PADDING),
    )


def _fit(height: int, width: int, imgsz: tuple[int, int]) -> tuple[float, tuple[int, int]]:
    """The scale, and the (height, width) in whole pixels that the scaled picture takes up in the input."""
    scale = min(imgsz[0] / height, imgsz[1] / width)
    return scale, (max(1, round(height * scale)), max(1, round(width * scale)))
