"""Pixels of the built-in data `shapes`: visible masks from depth order, textured and shaded pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from yoloseg.data.shapes_scene import CLASSES, Scene

TILE = 64  # side of an object's texture
TILE_REACH = 1.08  # the texture covers [-TILE_REACH, TILE_REACH] of the unit outline
PAN = 24  # the background is this much larger than the frame on every side; the camera pans over it

USUAL_COLOUR = 0.9  # share of objects that have their class's colour; the others have any


def coverage(
    contours: list[np.ndarray], height: int, width: int, pad: int = 0
) -> tuple[int, int, np.ndarray] | None:
    """Anti-aliased coverage of a filled outline inside a frame.

    contours: float [n, 2] (x, y) in pixels, even-odd. Returns (x0, y0, alpha), alpha uint8 [h, w] being the
    frame's part [y0:y0+h, x0:x0+w] around the outline and `pad` pixels more; None where the outline is
    outside the frame.
    """
    points = np.concatenate(contours)
    low = np.floor(points.min(axis=0)).astype(int)
    high = np.ceil(points.max(axis=0)).astype(int)
    if high[0] <= 0 or high[1] <= 0 or low[0] >= width or low[1] >= height:
        return None
    x0, y0 = np.maximum(low - pad, 0)
    x1, y1 = np.minimum(high + pad, (width, height))
    fine = 4 if (high - low).max() <= 64 else 2
    canvas = np.zeros(((y1 - y0) * fine, (x1 - x0) * fine), np.uint8)
    # cv2 puts pixel centres at whole numbers, and reads 4 fractional bits
    fixed = [np.rint(((c - (x0, y0)) * fine - 0.5) * 16).astype(np.int32) for c in contours]
    cv2.fillPoly(canvas, fixed, 255, lineType=cv2.LINE_8, shift=4)
    return int(x0), int(y0), cv2.resize(canvas, (int(x1 - x0), int(y1 - y0)), interpolation=cv2.INTER_AREA)


def render_labels(scene: Scene, t: int) -> np.ndarray:
    """uint8 [height, width]: k + 1 where objects[k] is seen (the nearest to cover half the pixel), else 0."""
    labels = np.zeros((scene.height, scene.width), np.uint8)
    for k, thing in enumerate(scene.objects):
        found = coverage(thing.contours(t, scene.height, scene.width), scene.height, scene.width)
        if found is not None:
            x0, y0, alpha = found
            part = labels[y0 : y0 + alpha.shape[0], x0 : x0 + alpha.shape[1]]
            part[alpha >= 128] = k + 1
    return labels


def render_picture(scene: Scene, t: int) -> np.ndarray:
    """uint8 [height, width, 3] RGB of frame t; the same bytes at every call."""
    look = make_look(scene)
    x, y = (int(round(PAN * (1 + np.sin(rate * t + phase)))) for rate, phase in look.pan)
    frame = look.background[y : y + scene.height, x : x + scene.width].copy()
    for thing, texture in zip(scene.objects, look.textures, strict=True):
        pose = thing.pose(t, scene.height, scene.width)
        reach = max(2, int(0.06 * max(thing.size)))
        contours = thing.contours(t, scene.height, scene.width)
        found = coverage(contours, scene.height, scene.width, pad=2 * reach)
        if found is not None:
            _draw_object(frame, *found, pose=pose, texture=texture, light=look.light, reach=reach)
    x, y = scene.random(2, t).randint(0, 2 * PAN, size=2)
    grain = look.grain[y : y + scene.height, x : x + scene.width]
    return cv2.add(frame, cv2.merge([grain, grain, grain]), dtype=cv2.CV_8U)


def _draw_object(
    frame: np.ndarray, x0: int, y0: int, alpha: np.ndarray, *, pose: np.ndarray, texture: np.ndarray,
    light: np.ndarray, reach: int,
) -> None:  # fmt: skip
    """Draws a shadow, then the textured object with bevelled edges; `light` is the way the light goes."""
    height, width = alpha.shape
    soft = cv2.blur(alpha, (2 * reach + 1, 2 * reach + 1), borderType=cv2.BORDER_REPLICATE)
    soft = soft.astype(np.float32) / 255
    part = frame[y0 : y0 + height, x0 : x0 + width]

    move = np.float32([[1, 0, light[0] * reach], [0, 1, light[1] * reach]])
    shadow = cv2.warpAffine(soft, move, (width, height), borderMode=cv2.BORDER_REPLICATE)
    under = part * (1 - np.float32(0.45) * shadow)[:, :, None]

    local = pose.copy()
    local[:, 2] -= (x0, y0)
    to_unit = 2 * TILE_REACH / TILE
    tile_to_part = np.empty((2, 3))
    tile_to_part[:, :2] = local[:, :2] * to_unit
    tile_to_part[:, 2] = local[:, 2] + local[:, :2] @ np.full(2, 0.5 * to_unit - TILE_REACH) - 0.5
    colour = cv2.warpAffine(texture, tile_to_part, (width, height), flags=cv2.INTER_LINEAR,
                            borderMode=cv2.BORDER_REPLICATE).astype(np.float32)  # fmt: skip

    bevel = light[0] * cv2.Sobel(soft, cv2.CV_32F, 1, 0) + light[1] * cv2.Sobel(soft, cv2.CV_32F, 0, 1)
    size = 2 * float(np.hypot(*pose[:, 0]))
    across = light[0] * (np.arange(width) - local[0, 2]) / size
    down = light[1] * (np.arange(height) - local[1, 2]) / size
    shade = 1 + 0.14 * reach * bevel - 0.3 * (down[:, None] + across[None, :]).astype(np.float32)
    colour *= shade[:, :, None]
    colour -= under
    colour *= (alpha.astype(np.float32) / 255)[:, :, None]
    colour += under
    part[:] = cv2.convertScaleAbs(np.maximum(colour, 0, out=colour))  # rounds, and saturates at 255


@dataclass(frozen=True)
class Look:
    """Everything of a clip's appearance that its frames share."""

    background: np.ndarray  # uint8 [height + 2 PAN, width + 2 PAN, 3]
    pan: tuple[tuple[float, float], tuple[float, float]]  # (rate, phase) in x and in y
    textures: tuple[np.ndarray, ...]  # one uint8 [TILE, TILE, 3] for each object
    light: np.ndarray  # unit vector
    grain: np.ndarray  # int16 [height + 2 PAN, width + 2 PAN]: sensor noise


@lru_cache(maxsize=64)
def make_look(scene: Scene) -> Look:
    """Draws backgrounds and textures; a pure function of the scene, bounded cache."""
    random = scene.random(1)
    height, width = scene.height + 2 * PAN, scene.width + 2 * PAN
    light = random.uniform(0.25 * np.pi, 0.75 * np.pi)
    rates = random.uniform(-0.12, 0.12, size=2)
    phases = random.uniform(0, 2 * np.pi, size=2)
    grain = np.frombuffer(random.bytes(height * width), np.int8).reshape(height, width)
    grain = grain * np.float32(random.uniform(0.02, 0.09))
    return Look(
        background=_background(random, height, width),
        pan=((float(rates[0]), float(phases[0])), (float(rates[1]), float(phases[1]))),
        textures=tuple(_texture(random, CLASSES[found.class_index].hue) for found in scene.objects),
        light=np.array([np.cos(light), np.sin(light)]),
        grain=np.rint(grain).astype(np.int16),
    )


def _colour(
    random: np.random.RandomState,
    saturation: tuple[float, float],
    value: tuple[float, float],
    hue: float | None = None,
) -> np.ndarray:
    """float64 [3] RGB in 0..255, of random hue (0..6) where none is given."""
    any_hue, s, v = random.uniform(0, 6), random.uniform(*saturation), random.uniform(*value)
    hue = any_hue if hue is None else hue
    ramp = np.clip(np.abs((hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return 255 * v * (1 - s + s * ramp)


def _smooth_noise(random: np.random.RandomState, height: int, width: int, cells: int) -> np.ndarray:
    """float32 [height, width] in -1..1, varying smoothly over about height / cells pixels."""
    grid = random.uniform(-1, 1, size=(cells + 1, cells + 1)).astype(np.float32)
    return np.clip(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), -1, 1)


def _pattern(random: np.random.RandomState, kind: str, height: int, width: int, period: float) -> np.ndarray:
    """float32 [height, width] in 0..1: how much of a second colour is mixed in. period: in pixels."""
    if kind == "plain":
        return np.zeros((height, width), np.float32)
    if kind == "clouds":
        cells = max(2, int(height / period))
        noise = _smooth_noise(random, height, width, cells)
        noise += 0.6 * _smooth_noise(random, height, width, 3 * cells)
        return np.clip(0.5 + 0.6 * noise, 0, 1)
    angle = random.uniform(0, np.pi)
    x, y = np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]
    cos, sin = np.float32(2 * np.pi / period * np.cos(angle)), np.float32(2 * np.pi / period * np.sin(angle))
    u, v = cos * x + sin * y, cos * y - sin * x
    if kind == "stripes":
        wave = np.sin(u + np.float32(random.uniform(0, 2 * np.pi)))
    elif kind == "checks":
        wave = np.sin(u) * np.sin(v) * 2
    elif kind == "dots":
        wave = np.sin(u) + np.sin(v) - 0.9
    else:
        raise ValueError(f"no pattern is called {kind!r}")
    return np.clip(0.5 + 2.5 * wave, 0, 1)


def _texture(random: np.random.RandomState, hue: float) -> np.ndarray:
    """uint8 [TILE, TILE, 3]: two colours mixed by a random pattern; the first is often close to `hue`."""
    usual = random.rand() < USUAL_COLOUR
    near = hue + random.normal(0, 0.15)
    first = _colour(random, (0.35, 1.0), (0.45, 1.0), near if usual else None).astype(np.float32)
    second = _colour(random, (0.2, 1.0), (0.25, 1.0)).astype(np.float32)
    kind = random.choice(["plain", "clouds", "stripes", "checks", "dots"], p=[0.3, 0.25, 0.2, 0.1, 0.15])
    mix = _pattern(random, kind, TILE, TILE, random.uniform(TILE / 6, TILE / 2))
    mix *= np.float32(random.uniform(0.4, 1))
    return (first + mix[:, :, None] * (second - first)).astype(np.uint8)


def _background(random: np.random.RandomState, height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3]: a gradient, a pattern, and lines and arcs that are no objects."""
    base = _colour(random, (0.05, 0.6), (0.25, 0.9))
    corners = base + random.uniform(-50, 50, size=(2, 2, 3)) * random.uniform(0.3, 1)
    # colours vary slowly, so they are mixed at half the resolution; lines are drawn at full resolution
    rows, columns = (height + 1) // 2, (width + 1) // 2
    picture = cv2.resize(corners.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR)
    kind = random.choice(["plain", "clouds", "stripes", "checks", "dots"], p=[0.2, 0.4, 0.2, 0.1, 0.1])
    period = float(np.exp(random.uniform(np.log(10), np.log(90))))
    contrast = random.uniform(-40, 40, size=3).astype(np.float32)
    picture += _pattern(random, kind, rows, columns, period / 2)[:, :, None] * contrast
    picture += (12 * _smooth_noise(random, rows, columns, 40))[:, :, None]
    picture = cv2.convertScaleAbs(np.maximum(picture, 0))
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    for _ in range(random.randint(0, 13)):
        colour = (0.5 * base + 0.5 * _colour(random, (0.1, 0.8), (0.1, 1.0))).tolist()
        thickness = int(random.randint(1, 4))
        x, y, dx, dy = random.uniform(size=4) * (width, height, width, height)
        if random.rand() < 0.6:
            points = np.array([[x, y], [dx, dy], [random.uniform(0, width), random.uniform(0, height)]])
            points = points[: random.randint(2, 4)]
            cv2.polylines(picture, [np.rint(points).astype(np.int32)], False, colour, thickness, cv2.LINE_AA)
        else:
            axes = (int(10 + 0.4 * dx), int(10 + 0.4 * dy))
            start = int(random.randint(0, 360))
            sweep = int(random.randint(40, 200))
            cv2.ellipse(picture, (int(x), int(y)), axes, start, 0, sweep, colour, thickness, cv2.LINE_AA)
    return picture
