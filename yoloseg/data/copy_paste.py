"""Objects of other pictures pasted where the picture looks like their surroundings.

The idea of a map of plausible places is InstaBoost's (arXiv 1908.07801, section 3.3), which moves objects
within their own picture; copying from other pictures is Simple Copy-Paste's (arXiv 2012.07177).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from yoloseg.data.geometry import averaged, compose, opencv_matrix, similarity, transform_points
from yoloseg.data.instances import Instance
from yoloseg.data.samples import Sample, picture_region

CELL = 8          # pixels of the picture in one cell of the map of places
TOLERANCE = 35.0  # grey levels by which surroundings may differ before a place becomes unlikely
BAND = 0.2        # of an object's sides: the width of what counts as its surroundings
SMALLEST = 12     # pixels; smaller objects are too blurred to be worth pasting
LARGEST = 0.9     # of the picture's sides
EDGE = 0.01       # of the picture's sides; objects that end nearer to its edge may go on beyond it
SCALE = (0.3, 1.2)
COVERED = 0.2     # share of a place that other objects may take up
LEFT_OVER = 0.5   # share of itself that an object behind must still show
TOUCHED = 0.1     # share of another object on a pasted one up to which it is only its edge
TRIES = 3         # pictures looked at for something to paste; places tried for an object


@dataclass(frozen=True)
class CopyPaste:
    """With the given probability pastes up to `most` objects of one other picture.

    They are scaled by 0.3 to 1.2, and mirrored with probability `mirror`. What lies on an object (a tie, a
    cup on a table) comes with it, however small, and counts among the `most`. Objects behind lose what is
    hidden, and are gone where nothing is left; a place where one would show less than half of itself is given
    up. `exhaustive` stays as the sample has it.
    """

    probability: float = 0.5
    most: int = 3
    mirror: float = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator, samples: Sequence[Sample] = ()) -> Sample:
        if rng.random() >= self.probability or not len(samples):
            return sample
        for number in rng.integers(len(samples), size=TRIES):
            donor = samples[int(number)]
            wanted = [one for one in donor.instances if fit_to_paste(one, donor)]
            if wanted:
                break
        else:
            return sample
        scene, room = Scene(sample), self.most
        for index in rng.permutation(len(wanted))[: rng.integers(1, self.most + 1)]:
            room -= scene.paste(donor, wanted[index], rng, room, self.mirror)
        return scene.sample()


def fit_to_paste(instance: Instance, donor: Sample) -> bool:
    """Whole in its picture, no crowd, neither tiny nor filling the frame."""
    if instance.crowd:
        return False
    height, width = donor.image.shape[:2]
    x0, y0, x1, y1 = instance.box(height, width)
    left, top, right, bottom = picture_region(donor)
    dx, dy = max(1.0, EDGE * (right - left)), max(1.0, EDGE * (bottom - top))
    whole = x0 > left + dx and y0 > top + dy and x1 < right - dx and y1 < bottom - dy
    w, h = x1 - x0, y1 - y0
    return bool(whole and min(w, h) >= SMALLEST and w <= LARGEST * width and h <= LARGEST * height)


@dataclass(frozen=True)
class Seen:
    """An instance of a scene, its box (x0, y0, x1, y1), and its pixels before anything hid it, if counted."""

    instance: Instance
    box: np.ndarray
    area: int | None = None


class Scene:
    """A sample, never changed itself, with what has been pasted into it."""

    def __init__(self, sample: Sample):
        self._start = sample
        self.image = sample.image
        self.height, self.width = sample.image.shape[:2]
        self.seen = [self._look_at(one) for one in sample.instances]

    def sample(self) -> Sample:
        """The sample as it is now."""
        return replace(self._start, image=self.image, instances=tuple(one.instance for one in self.seen))

    def paste(
        self, donor: Sample, instance: Instance, rng: np.random.Generator, room: int, mirror: float
    ) -> int:
        """Pastes `instance` of `donor`; how many instances came of it: 0 where no place was found or more
        than `room` would be new."""
        size = donor.image.shape[:2]
        box, mask = instance.box(*size), instance.rasterise(*size)
        centre, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
        left, top, right, bottom = picture_region(self._start)
        low = max(SCALE[0], SMALLEST / float(sides.min()))
        high = min(SCALE[1], *((np.array([right - left, bottom - top]) - CELL) / sides))
        new = comes_with(instance, donor, mask, box) if low <= high and room else None
        if new is None or len(new) > room:
            return 0
        factor = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        mirrored = rng.random() < mirror
        likely = self.places(surroundings(donor, mask, box), sides * factor)
        if likely is None:
            return 0
        for _ in range(TRIES):
            place = self.draw_place(likely, rng)
            matrix = similarity(factor, 0.0, centre, place)
            if mirrored:
                matrix = compose(np.array([[-1.0, 0.0, 2 * place[0]], [0.0, 1.0, 0.0]]), matrix)
            pixels, cover, (x0, y0, x1, y1) = moved(donor.image, mask, box, matrix, (self.height, self.width))
            hidden = np.zeros((self.height, self.width), bool)
            hidden[y0:y1, x0:x1] = cover > 127
            left_over = behind(self.seen, hidden)
            if left_over is None or not hidden.any():
                continue
            alpha = cv2.GaussianBlur(cover, (3, 3), 0).astype(np.float32)[:, :, None] / 255.0
            self.image = self.image.copy()
            window = self.image[y0:y1, x0:x1]
            window[:] = np.rint(window * (1.0 - alpha) + pixels * alpha)
            self.seen = left_over + [self._look_at(one.transform(matrix)) for one in new]
            return len(new)
        return 0

    def places(self, around: np.ndarray, sides: np.ndarray) -> np.ndarray | None:
        """float64 [rows, columns]: how likely each cell is as the centre of an object of these sides, by how
        alike its surroundings are.

        around: mean colour around the object where it comes from. None where the object does not fit in,
        would cover others everywhere, or nothing looks like where it comes from.
        """
        left, top, right, bottom = picture_region(self._start)
        rows, columns = self._cells()
        small = cv2.resize(self.image, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)
        small = small[nearest_within(top, bottom, self.height, rows)]  # no padding
        small = small[:, nearest_within(left, right, self.width, columns)]
        inner = [2 * int(side / CELL / 2) + 1 for side in sides]  # odd: centred on the cell
        band = [2 * max(1, round(BAND * side / CELL)) for side in sides]
        outer = [inner[0] + band[0], inner[1] + band[1]]
        unlike = np.square(small - around.astype(np.float32)).mean(2)
        ring = np.prod(outer) * mean_around(unlike, outer) - np.prod(inner) * mean_around(unlike, inner)
        distance = ring / (np.prod(outer) - np.prod(inner))
        x, y = self._centres()
        fits_x = (x - sides[0] / 2 >= left) & (x + sides[0] / 2 <= right)
        fits_y = (y - sides[1] / 2 >= top) & (y + sides[1] / 2 <= bottom)
        free = (mean_around(self._taken(), inner) <= COVERED) & fits_y[:, None] & fits_x
        likely = np.where(free, np.exp(-distance / (2 * TOLERANCE**2)), 0.0).astype(np.float64)
        return likely if likely.max() >= 0.01 else None

    def draw_place(self, likely: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """float64 [2] (x, y): the centre of a cell drawn by `likely`."""
        total = np.cumsum(likely)
        cell = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
        x, y = self._centres()
        return np.array([x[cell % len(x)], y[cell // len(x)]])

    def _look_at(self, instance: Instance) -> Seen:
        return Seen(instance, instance.box(self.height, self.width))

    def _cells(self) -> tuple[int, int]:
        return max(1, self.height // CELL), max(1, self.width // CELL)

    def _centres(self) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = self._cells()
        return (np.arange(columns) + 0.5) * self.width / columns, (np.arange(rows) + 0.5) * self.height / rows

    def _taken(self) -> np.ndarray:
        """float32 [rows, columns]: what share of each cell objects take up; small ones all of their box."""
        rows, columns = self._cells()
        taken = np.zeros((rows, columns), np.float32)
        for one in self.seen:
            x0, y0, x1, y1 = one.box * np.tile((columns / self.width, rows / self.height), 2)
            if (x1 - x0) * (y1 - y0) > 0.1 * rows * columns:
                mask = one.instance.rasterise(self.height, self.width) * np.float32(1)
                np.maximum(taken, cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_AREA), out=taken)
            else:
                taken[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = 1.0
        return taken


def nearest_within(low: int, high: int, side: int, cells: int) -> np.ndarray:
    """int [cells]: of the cells along a side in pixels each, or the nearest that lies within low..high."""
    first = min(-(-low * cells // side), cells - 1)
    return np.clip(np.arange(cells), first, max(first, high * cells // side - 1))


def mean_around(values: np.ndarray, window: Sequence[int]) -> np.ndarray:
    """The mean over window (width, height) around each cell of values [rows, columns, ...]."""
    return cv2.blur(values, tuple(window), borderType=cv2.BORDER_REPLICATE)


def comes_with(instance: Instance, donor: Sample, mask: np.ndarray, box: np.ndarray) -> list[Instance] | None:
    """`instance`, of mask [H, W] and box, and what else of the donor lies on it.

    None where that cannot be told: on a part of another that is neither most of it nor its edge, on a crowd.
    """
    found, size = [instance], mask.shape
    for other in donor.instances:
        x0, y0, x1, y1 = other.box(*size)
        if other is instance or x0 >= box[2] or y0 >= box[3] or x1 <= box[0] or y1 <= box[1]:
            continue
        whole = other.rasterise(*size)
        shared = whole & mask
        common, area = np.count_nonzero(shared), np.count_nonzero(mask if other.crowd else whole)
        if common <= TOUCHED * area:
            continue
        if other.crowd or common < LEFT_OVER * area:
            return None
        if common < area:
            other = Instance.from_mask(shared, other.class_index, other.crowd, other.track_id)
        found.append(other)
    return found


def surroundings(donor: Sample, mask: np.ndarray, box: np.ndarray) -> np.ndarray:
    """float64 [3]: the mean colour of a band around the object of the donor, BAND of its sides wide."""
    left, top, right, bottom = picture_region(donor)
    margin = np.maximum((box[2:] - box[:2]) * BAND, 2)
    x0, y0 = np.maximum(box[:2] - margin, (left, top)).astype(int)
    x1, y1 = np.minimum(np.ceil(box[2:] + margin), (right, bottom)).astype(int)
    around, free = donor.image[y0:y1, x0:x1], mask[y0:y1, x0:x1] == 0
    return around[free].mean(0) if free.any() else around.mean((0, 1))


def moved(
    image: np.ndarray, mask: np.ndarray, box: np.ndarray, matrix: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int, int]]:
    """The object of `mask` (0 and 1) and `box` in `image`, moved by matrix [2, 3] into a frame of size
    (height, width): pixels uint8 [h, w, 3], cover uint8 [h, w] of 0..255, their window (x0, y0, x1, y1).
    """
    x0, y0 = np.maximum(box[:2].astype(int) - 2, 0)
    x1, y1 = np.ceil(box[2:]).astype(int) + 2
    corners = transform_points(matrix, np.array([box[:2], box[2:]]))
    low = np.maximum(np.floor(corners.min(0)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int) + 2, size[::-1])
    local = compose(matrix, np.array([[1.0, 0.0, x0], [0.0, 1.0, y0]]))
    local = compose(np.array([[1.0, 0.0, -low[0]], [0.0, 1.0, -low[1]]]), local)
    window = tuple(int(side) for side in high - low)
    part, to_window = averaged(image[y0:y1, x0:x1], local)
    outline, _ = averaged(mask[y0:y1, x0:x1] * np.uint8(255), local)
    to_window = opencv_matrix(to_window)
    pixels = cv2.warpAffine(part, to_window, window, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(outline, to_window, window, flags=cv2.INTER_LINEAR)
    return pixels, cover, (int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def behind(seen: Sequence[Seen], hidden: np.ndarray) -> list[Seen] | None:
    """What is seen without the pixels hidden [H, W], and without those of which nothing is left; None if one
    would show less than half of what it was."""
    height, width = hidden.shape
    rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
    kept = []
    for one in seen:
        x0, y0, x1, y1 = one.box
        apart = not len(rows) or x0 > columns[-1] + 1 or x1 < columns[0] or y0 > rows[-1] + 1 or y1 < rows[0]
        if apart or one.instance.crowd:
            kept.append(one)
            continue
        mask = one.instance.rasterise(height, width)
        area, left = int(mask.sum()), mask & ~hidden
        shown = int(np.count_nonzero(left))
        middle = hidden[min(int((y0 + y1) / 2), height - 1), min(int((x0 + x1) / 2), width - 1)]
        whole = area if one.area is None else one.area
        if shown == area and not (area == 0 and middle):
            kept.append(one)
        elif shown and shown < LEFT_OVER * whole:
            return None
        elif shown:
            instance = one.instance
            instance = Instance.from_mask(left, instance.class_index, instance.crowd, instance.track_id)
            kept.append(Seen(instance, instance.box(height, width), whole))
    return kept
