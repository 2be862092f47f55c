"""What is in a clip of the built-in data `shapes`, and where each object is in each frame; no pixels yet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

SPLITS = ("train", "val", "test")
REFERENCE_SIDE = 240  # sizes and speeds below are in pixels of a picture whose smaller side is this
OBJECTS_PER_CLIP = (4, 10)  # least and most
TOUCHING = 0.25  # share of objects that start where they cover, or are covered by, another one


@dataclass(frozen=True)
class ShapeClass:
    """A class is a shape; most of its objects also have its colour. Texture tells nothing about it; frequency
    and size range differ a lot."""

    name: str
    frequency: float  # share of all objects
    size: tuple[float, float]  # longer side in pixels before rotation, drawn log-uniformly
    aspect: tuple[float, float]  # shorter side / longer side
    hue: float  # in 0..6 from red over green and blue to red, what its objects are usually painted in


CLASSES = (
    ShapeClass("disc", 0.28, (16, 100), (0.8, 1.0), 0.0),
    ShapeClass("box", 0.21, (24, 180), (0.55, 1.0), 3.0),
    ShapeClass("triangle", 0.16, (28, 150), (0.8, 1.0), 1.5),
    ShapeClass("star", 0.12, (28, 140), (0.9, 1.0), 4.5),
    ShapeClass("ring", 0.09, (36, 190), (0.8, 1.0), 0.75),
    ShapeClass("cross", 0.06, (28, 130), (0.8, 1.0), 3.75),
    ShapeClass("crescent", 0.05, (38, 160), (1.0, 1.0), 2.25),
    ShapeClass("heart", 0.03, (40, 170), (0.85, 1.0), 5.25),
)


@cache
def outline(name: str) -> tuple[np.ndarray, ...]:
    """Contours (float64 [n, 2] of x, y; filled even-odd) of a shape with bounding box [-1, 1] x [-1, 1]."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    if name == "disc":
        contours = [circle]
    elif name == "box":
        contours = [np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])]
    elif name == "triangle":
        contours = [circle[[12, 28, 44]]]
    elif name == "star":
        corners = np.linspace(0, 2 * np.pi, 10, endpoint=False) - np.pi / 2
        radius = np.where(np.arange(10) % 2, 0.45, 1.0)
        contours = [radius[:, None] * np.stack([np.cos(corners), np.sin(corners)], axis=1)]
    elif name == "ring":
        contours = [circle, 0.55 * circle]
    elif name == "cross":
        a = 0.34
        contours = [np.array([[-a, -1], [a, -1], [a, -a], [1, -a], [1, a], [a, a],
                              [a, 1], [-a, 1], [-a, a], [-1, a], [-1, -a], [-a, -a]])]  # fmt: skip
    elif name == "crescent":
        # a disc without a disc of radius 0.85 whose centre is 0.6 to the right; the circles meet at x
        x = (1 + 0.6**2 - 0.85**2) / 1.2
        outer, inner = np.arccos(x), np.arccos((x - 0.6) / 0.85)
        there = np.linspace(outer, 2 * np.pi - outer, 40)
        back = np.linspace(2 * np.pi - inner, inner, 32)[1:-1]
        bite = np.stack([0.6 + 0.85 * np.cos(back), 0.85 * np.sin(back)], axis=1)
        contours = [np.concatenate([np.stack([np.cos(there), np.sin(there)], axis=1), bite])]
    elif name == "heart":
        y = 13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)
        contours = [np.stack([16 * np.sin(turn) ** 3, -y], axis=1)]
    else:
        raise ValueError(f"no shape is called {name!r}")
    points = np.concatenate(contours)
    low, high = points.min(axis=0), points.max(axis=0)
    return tuple((2 * c - low - high) / (high - low) for c in contours)


@dataclass(frozen=True)
class MovingObject:
    """One object of a clip: its pose in frame t is a closed form of t, so frames can be made in any order.

    centre and velocity (pixels, pixels a frame; x, y); the centre bounces off a wall `margin` pixels outside
    the frame (inside it if negative), so that some objects leave the picture and return. size: (width,
    height) before rotation. pulse: amplitude, angular frequency and phase of the scale change.
    """

    class_index: int
    size: tuple[float, float]
    centre: tuple[float, float]
    velocity: tuple[float, float]
    margin: float
    angle: float
    spin: float
    pulse: tuple[float, float, float]

    def pose(self, t: int, height: int, width: int) -> np.ndarray:
        """float64 [2, 3]: maps the unit outline to pixels of frame t (pixel i covers i to i + 1)."""
        amplitude, frequency, phase = self.pulse
        scale = 1 + amplitude * np.sin(frequency * t + phase)
        angle = self.angle + self.spin * t
        cos, sin = np.cos(angle), np.sin(angle)
        half = 0.5 * scale * np.asarray(self.size)
        x = _bounce(self.centre[0] + self.velocity[0] * t, -self.margin, width + self.margin)
        y = _bounce(self.centre[1] + self.velocity[1] * t, -self.margin, height + self.margin)
        return np.array([[cos * half[0], -sin * half[1], x], [sin * half[0], cos * half[1], y]])

    def contours(self, t: int, height: int, width: int) -> list[np.ndarray]:
        """The outline in pixels of frame t: float64 [n, 2] each, filled even-odd."""
        pose = self.pose(t, height, width)
        return [c @ pose[:, :2].T + pose[:, 2] for c in outline(CLASSES[self.class_index].name)]


@dataclass(frozen=True)
class Scene:
    """One clip. `objects` are ordered from the farthest to the nearest, the same in all frames."""

    seed: int
    split: str
    clip: int
    height: int
    width: int
    objects: tuple[MovingObject, ...]

    def random(self, *stream: int) -> np.random.RandomState:
        """Random numbers of this clip; one independent stream for each purpose."""
        return random_stream(self.seed, self.split, self.clip, stream)


def random_stream(seed: int, split: str, clip: int, stream: Sequence[int]) -> np.random.RandomState:
    """`RandomState`, not `Generator`: NumPy promises that its streams never change between versions."""
    return np.random.RandomState([seed, SPLITS.index(split), clip, *stream])


@lru_cache(maxsize=64)
def make_scene(seed: int, split: str, clip: int, height: int, width: int) -> Scene:
    """Draws the objects of clip number `clip`; a pure function of its arguments."""
    random = random_stream(seed, split, clip, (0,))
    unit = min(height, width) / REFERENCE_SIDE
    thresholds = np.cumsum([c.frequency for c in CLASSES])
    objects: list[MovingObject] = []
    for _ in range(random.randint(OBJECTS_PER_CLIP[0], OBJECTS_PER_CLIP[1] + 1)):
        class_index = min(int(np.searchsorted(thresholds, random.rand(), side="right")), len(CLASSES) - 1)
        shape = CLASSES[class_index]
        low, high = np.log(shape.size)
        side = float(np.exp(random.uniform(low, high)) * unit)
        speed = random.uniform(0, 6) * unit
        heading = random.uniform(0, 2 * np.pi)
        objects.append(
            MovingObject(
                class_index=class_index,
                size=(side, side * random.uniform(*shape.aspect)),
                centre=_place(random, objects, side, height, width),
                velocity=(float(speed * np.cos(heading)), float(speed * np.sin(heading))),
                margin=float(random.choice([-0.5, 0.0, 0.8], p=[0.5, 0.3, 0.2]) * side),
                angle=random.uniform(0, 2 * np.pi),
                spin=random.uniform(-0.12, 0.12),
                pulse=(random.uniform(0, 0.15), random.uniform(0.1, 0.5), random.uniform(0, 2 * np.pi)),
            )
        )
    # Large things tend to be far, so that small ones are seen before them; but not always.
    depth = [o.size[0] * random.uniform(0.3, 1.7) for o in objects]
    order = sorted(range(len(objects)), key=lambda k: -depth[k])
    return Scene(seed, split, clip, height, width, tuple(objects[k] for k in order))


def _place(
    random: np.random.RandomState, objects: Sequence[MovingObject], side: float, height: int, width: int
) -> tuple[float, float]:
    """Where an object starts: sometimes touching an earlier one, else the freest of a few random places."""
    if objects and random.rand() < TOUCHING:
        other = objects[random.randint(len(objects))]
        distance, direction = random.uniform(0.3, 0.6) * (side + other.size[0]), random.uniform(0, 2 * np.pi)
        x, y = other.centre[0] + distance * np.cos(direction), other.centre[1] + distance * np.sin(direction)
        return float(np.clip(x, 0, width)), float(np.clip(y, 0, height))
    places = [(random.uniform(0, width), random.uniform(0, height)) for _ in range(3)]

    def room(place: tuple[float, float]) -> float:
        return min((math.dist(place, o.centre) - (side + o.size[0]) / 2 for o in objects), default=0.0)

    return max(places, key=room)


def _bounce(value: float, low: float, high: float) -> float:
    """Reflects a coordinate at `low` and `high` as often as needed."""
    span = max(high - low, 1e-6)
    folded = (value - low) % (2 * span)
    return low + min(folded, 2 * span - folded)
