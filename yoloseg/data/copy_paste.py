"""Objects of other pictures pasted where the picture looks like their surroundings.

The idea of a map of plausible places is InstaBoost's (arXiv 1908.07801, section 3.3), which moves objects
within their own picture; copying from other pictures is Simple Copy-Paste's (arXiv 2012.07177).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from yoloseg.data.geometry import compose, opencv_matrix, similarity
from yoloseg.data.instances import Instance
from yoloseg.data.samples import Sample, picture_region

CELL = 8          # pixels of the picture in one cell of the map of places
TOLERANCE = 35.0  # grey levels by which surroundings may differ before a place becomes unlikely
SMALLEST = 12     # pixels; smaller objects are too blurred to be worth pasting
LARGEST = 0.9     # of the picture's sides
SCALE = (0.3, 1.2)
COVERED = 0.2     # share of a place that other objects may take up
LEFT_OVER = 0.5   # share of itself that an object behind must still show


@dataclass(frozen=True)
class CopyPaste:
    """With the given probability pastes up to `most` objects of one other picture, any of the set.

    They are scaled by 0.3 to 1.2 and mirrored at random. Objects behind lose what is hidden; a place where
    one would lose more than half of itself is given up.
    """

    probability: float = 0.5
    most: int = 3

    def __call__(self, sample: Sample, rng: np.random.Generator, samples: Sequence[Sample] = ()) -> Sample:
        if rng.random() >= self.probability or not len(samples):
            return sample
        donor = samples[int(rng.integers(len(samples)))]
        wanted = [one for one in donor.instances if fit_to_paste(one, donor)]
        if not wanted:
            return sample
        for index in rng.permutation(len(wanted))[: rng.integers(1, self.most + 1)]:
            sample = paste(sample, donor, wanted[index], rng)
        return sample


def fit_to_paste(instance: Instance, donor: Sample) -> bool:
    """Whole in its picture, no crowd, neither tiny nor filling the frame."""
    if instance.crowd:
        return False
    height, width = donor.image.shape[:2]
    x0, y0, x1, y1 = instance.box(height, width)
    left, top, right, bottom = picture_region(donor)
    whole = x0 > left + 1 and y0 > top + 1 and x1 < right - 1 and y1 < bottom - 1
    w, h = x1 - x0, y1 - y0
    return bool(whole and min(w, h) >= SMALLEST and w <= LARGEST * width and h <= LARGEST * height)


def paste(sample: Sample, donor: Sample, instance: Instance, rng: np.random.Generator) -> Sample:
    """`sample` with `instance` of `donor` in it, or `sample` itself where no place was found for it."""
    height, width = sample.image.shape[:2]
    box = instance.box(height, width)
    centre, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    low = min(max(SCALE[0], SMALLEST / float(sides.min())), SCALE[1])
    factor = float(np.exp(rng.uniform(np.log(low), np.log(SCALE[1]))))
    mirror = rng.random() < 0.5
    mask = instance.rasterise(height, width)
    around = surroundings(donor.image, mask, box)
    place = choose_place(sample, around, sides * factor, rng)
    if place is None:
        return sample
    matrix = similarity(factor, 0.0, centre, place)
    if mirror:
        matrix = compose(np.array([[-1.0, 0.0, 2 * place[0]], [0.0, 1.0, 0.0]]), matrix)
    cover = warp(mask * np.uint8(255), matrix, (height, width))
    hidden = cover > 127
    instances = behind(sample.instances, hidden)
    if instances is None or not hidden.any():
        return sample
    alpha = cv2.GaussianBlur(cover, (3, 3), 0).astype(np.float32)[:, :, None] / 255.0
    image = sample.image * (1.0 - alpha) + warp(donor.image, matrix, (height, width)) * alpha
    image = np.rint(image).astype(np.uint8)
    return replace(sample, image=image, instances=(*instances, instance.transform(matrix)))


def warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture moved by matrix [2, 3] into a frame of size (height, width)."""
    return cv2.warpAffine(image, opencv_matrix(matrix), (size[1], size[0]), flags=cv2.INTER_LINEAR)


def surroundings(image: np.ndarray, mask: np.ndarray, box: np.ndarray) -> np.ndarray:
    """float64 [3]: the mean colour of a band around the object, a fifth of its sides wide."""
    margin = np.maximum((box[2:] - box[:2]) / 5, 2)
    x0, y0 = np.maximum(box[:2] - margin, 0).astype(int)
    x1, y1 = np.ceil(box[2:] + margin).astype(int)
    free = mask[y0:y1, x0:x1] == 0
    return image[y0:y1, x0:x1][free].mean(0) if free.any() else image[y0:y1, x0:x1].mean((0, 1))


def choose_place(sample: Sample, around: np.ndarray, sides: np.ndarray, rng) -> np.ndarray | None:
    """float64 [2] (x, y): a centre for an object of these sides, drawn by how alike its surroundings are.

    around: mean colour around the object where it comes from. None where the object does not fit in, or
    would cover others everywhere.
    """
    height, width = sample.image.shape[:2]
    left, top, right, bottom = picture_region(sample)
    if sides[0] > right - left or sides[1] > bottom - top:
        return None
    rows, columns = max(1, height // CELL), max(1, width // CELL)
    small = cv2.resize(sample.image, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)
    window = [max(1, int(round(side / CELL * 1.2))) for side in sides]
    colour = cv2.blur(small, window, borderType=cv2.BORDER_REPLICATE)
    distance = np.square(colour - around.astype(np.float32)).mean(2)
    taken = np.zeros((rows, columns), np.float32)
    for one in sample.instances:
        x0, y0, x1, y1 = one.box(height, width) / CELL
        taken[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = 1.0
    taken = cv2.blur(taken, window, borderType=cv2.BORDER_REPLICATE)
    x = (np.arange(columns) + 0.5) * width / columns
    y = (np.arange(rows) + 0.5) * height / rows
    fits_x = (x - sides[0] / 2 >= left) & (x + sides[0] / 2 <= right)
    fits_y = (y - sides[1] / 2 >= top) & (y + sides[1] / 2 <= bottom)
    free = (taken <= COVERED) & fits_y[:, None] & fits_x
    if not free.any():
        return None
    likely = np.where(free, np.exp(-distance / (2 * TOLERANCE**2)), 0.0).astype(np.float64).ravel()
    if likely.max() < 0.01:  # nothing here looks like where the object comes from
        return None
    cell = int(np.searchsorted(np.cumsum(likely), rng.random() * likely.sum(), side="right"))
    return np.array([x[cell % columns], y[cell // columns]])


def behind(instances: Sequence[Instance], hidden: np.ndarray) -> list[Instance] | None:
    """The instances without the pixels hidden [H, W]; None if one would show less than half of itself."""
    height, width = hidden.shape
    rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
    kept = []
    for one in instances:
        x0, y0, x1, y1 = one.box(height, width)
        apart = not len(rows) or x0 > columns[-1] + 1 or x1 < columns[0] or y0 > rows[-1] + 1 or y1 < rows[0]
        if apart or one.crowd:
            kept.append(one)
            continue
        mask = one.rasterise(height, width)
        area, shown = int(mask.sum()), int(np.count_nonzero(mask & ~hidden))
        if shown == area:
            kept.append(one)
        elif shown < LEFT_OVER * area:
            return None
        else:
            kept.append(Instance.from_mask(mask & ~hidden, one.class_index, one.crowd, one.track_id))
    return kept
