"""What training does to a sample: colour, an affine map (of one picture or of four), a mirror, a blank box.

Every transform is called with (sample, rng, samples), `samples` being other pictures of the set, letterboxed;
only those that mix pictures look at them. See `yoloseg.data.samples.Transform`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from yoloseg.data.copy_paste import CopyPaste
from yoloseg.data.geometry import averaged, compose, opencv_matrix, similarity
from yoloseg.data.letterbox import PADDING
from yoloseg.data.samples import Flip, Sample, Transform, inside, picture_region


@dataclass(frozen=True)
class Augmentation:
    """How much of everything. Each field is a field of the transform named in brackets.

    flip: probability (Flip). hue, saturation, value: largest change (Colour). scale, translate, rotate,
    mosaic: (Affine). copy_paste: probability (CopyPaste), each object mirrored or not unless flip is 0 or 1.
    erase: probability (Erase).
    """

    flip: float = 0.5
    hue: float = 0.0
    saturation: float = 0.0
    value: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    translate: float = 0.0
    rotate: float = 0.0
    mosaic: float = 0.0
    copy_paste: float = 0.0
    erase: float = 0.0

    def transforms(self) -> list[Transform]:
        """In the order in which they are applied; those that would change nothing are left out."""
        chain: list[Transform] = []
        if self.copy_paste:
            chain.append(CopyPaste(self.copy_paste, mirror=0.5 if 0 < self.flip < 1 else 0.0))
        if self.mosaic or self.scale != (1.0, 1.0) or self.translate or self.rotate:
            chain.append(Affine(tuple(self.scale), self.translate, self.rotate, self.mosaic))
        if self.flip:
            chain.append(Flip(self.flip))
        if self.hue or self.saturation or self.value:
            chain.append(Colour(self.hue, self.saturation, self.value))
        if self.erase:
            chain.append(Erase(self.erase))
        return chain

    def without_mixing(self) -> Augmentation:
        """The same without mosaic and pasted objects, for the end of a training: pictures as they are."""
        return replace(self, mosaic=0.0, copy_paste=0.0)


@dataclass(frozen=True)
class Colour:
    """Hue turned by up to `hue` of the circle, saturation and value multiplied by 1 +- up to the given."""

    hue: float = 0.015
    saturation: float = 0.7
    value: float = 0.4

    def __call__(
        self, sample: Sample, rng: np.random.Generator, samples: Sequence[Sample] = ()
    ) -> Sample:
        turn, *gains = rng.uniform(-1, 1, 3) * (self.hue, self.saturation, self.value)
        steps = np.arange(256)
        tables = [(steps + turn * 180) % 180, *(np.clip(steps * (1 + gain), 0, 255) for gain in gains)]
        channels = cv2.split(cv2.cvtColor(sample.image, cv2.COLOR_RGB2HSV))
        channels = [cv2.LUT(one, table.astype(np.uint8)) for one, table in zip(channels, tables, strict=True)]
        return replace(sample, image=cv2.cvtColor(cv2.merge(channels), cv2.COLOR_HSV2RGB))


@dataclass(frozen=True)
class Affine:
    """One picture, or with probability `mosaic` four that meet in a point (YOLOv4, section 3.3), scaled by a
    factor from `scale` (log-uniform), turned by up to `rotate` degrees and moved into the frame.

    One picture moves by up to `translate` of the frame's sides; the point where four meet lies anywhere in
    the middle half of the frame. What no picture covers is grey.
    """

    scale: tuple[float, float] = (0.5, 1.5)
    translate: float = 0.1
    rotate: float = 0.0
    mosaic: float = 0.0

    def __call__(
        self, sample: Sample, rng: np.random.Generator, samples: Sequence[Sample] = ()
    ) -> Sample:
        height, width = sample.image.shape[:2]
        factor = float(np.exp(rng.uniform(*np.log(self.scale))))
        angle = rng.uniform(-1, 1) * self.rotate
        frame = np.array([width, height], np.float64)
        if rng.random() >= self.mosaic:
            target = frame * (0.5 + rng.uniform(-1, 1, 2) * self.translate)
            tiles, corners = [sample], [(0.5, 0.5)]
        else:
            target = frame * rng.uniform(0.25, 0.75, 2)
            tiles = [sample, *(samples[int(i)] for i in rng.integers(len(samples), size=3))]
            corners = [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)]  # of each tile, at the meeting point
        canvas = np.full_like(sample.image, PADDING)
        instances = []
        for tile, corner in zip(tiles, corners, strict=True):
            x0, y0, x1, y1 = picture_region(tile)
            anchor = np.array([x0 + corner[0] * (x1 - x0), y0 + corner[1] * (y1 - y0)])
            matrix = similarity(factor, angle, anchor, target)
            place(canvas, tile.image[y0:y1, x0:x1], compose(matrix, np.array([[1.0, 0, x0], [0, 1.0, y0]])))
            shown = (inside(one, tile.image, (x0, y0, x1, y1)) for one in tile.instances)
            instances += [one.transform(matrix) for one in shown]
        exhaustive = sample.exhaustive
        if exhaustive is not None:
            exhaustive = frozenset.intersection(*(tile.exhaustive for tile in tiles))
        return replace(
            sample, image=canvas, instances=tuple(instances), region=None, exhaustive=exhaustive
        )


@dataclass(frozen=True)
class Erase:
    """With the given probability, a box of 2 to 20 % of the picture becomes noise (arXiv 1708.04896).

    Labels stay.
    """

    probability: float = 0.5
    area: tuple[float, float] = (0.02, 0.2)

    def __call__(
        self, sample: Sample, rng: np.random.Generator, samples: Sequence[Sample] = ()
    ) -> Sample:
        if rng.random() >= self.probability:
            return sample
        height, width = sample.image.shape[:2]
        share, aspect = rng.uniform(*self.area), np.exp(rng.uniform(-1, 1))
        h = min(height, max(1, round(height * np.sqrt(share * aspect))))
        w = min(width, max(1, round(width * np.sqrt(share / aspect))))
        top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
        image = sample.image.copy()
        image[top : top + h, left : left + w] = rng.integers(0, 256, (h, w, 3), np.uint8)
        return replace(sample, image=image)


def place(canvas: np.ndarray, picture: np.ndarray, matrix: np.ndarray) -> None:
    """Draws `picture` into `canvas` (uint8 [h, w, 3], changed) moved by matrix [2, 3]; the rest stays."""
    picture, matrix = averaged(picture, matrix)
    # its own border once more around it: bilinear sampling needs it, or a line between two tiles stays grey
    picture = cv2.copyMakeBorder(picture, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    matrix = compose(matrix, np.array([[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]]))
    cv2.warpAffine(
        picture,
        opencv_matrix(matrix),
        (canvas.shape[1], canvas.shape[0]),
        dst=canvas,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT,
    )
