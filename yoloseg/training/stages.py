"""The input's size over a training: it may begin on smaller pictures, which cost less, and vary by epoch; and
whether the backbone is frozen."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from yoloseg.modeling.architecture import STRIDES
from yoloseg.training.recipes import Recipe

# Share of a step that stays on smaller pictures: n, batch 16, took 1.94 s a step at 416 and 1.01 s at 256 in
# the 48 minutes of train/animals_n.py. The rest goes by pixels.
FIXED = 0.23


@dataclass(frozen=True)
class Stage:
    """Epochs first..last - 1 are trained at imgsz (height, width), with the backbone frozen or not."""

    first: int
    last: int
    imgsz: tuple[int, int]
    frozen: bool = False


def scaled(imgsz: tuple[int, int], factor: float) -> tuple[int, int]:
    """imgsz (height, width) times factor, to the nearest multiples of the coarsest stride."""
    step = STRIDES[-1]
    return tuple(max(step, round(side * factor / step) * step) for side in imgsz)


def stages(recipe: Recipe, epochs: int, imgsz: tuple[int, int], seed: int = 0) -> list[Stage]:
    """The stages of a training of `epochs` epochs, in order, without empty ones; one if it is a short one.

    Where the recipe has several factors of `multi_scale`, one is drawn for every epoch until mixing ends: by
    epoch, not by batch, because TensorFlow's fit takes batches of one static shape. (seed, epoch) decides.
    """
    if epochs < recipe.short:
        return [Stage(0, epochs, imgsz)]
    sides, first = [], 0  # of every epoch
    for share, factor in recipe.stages:
        last = round(share * epochs)
        for epoch in range(first, last):
            drawn = np.random.default_rng((seed, epoch, 2)).choice(recipe.multi_scale)
            varied = factor * drawn if epoch < math.ceil(recipe.mixing * epochs) else factor
            sides.append(scaled(imgsz, varied))
        first = max(first, last)
    found: list[Stage] = []
    for epoch, size in enumerate(sides):
        if found and found[-1].imgsz == size:
            found[-1] = Stage(found[-1].first, epoch + 1, size)
        else:
            found.append(Stage(epoch, epoch + 1, size))
    return found


def frozen_first(parts: list[Stage], epochs: int) -> list[Stage]:
    """The stages with the backbone frozen in the first so many epochs; the one where they end is divided."""
    found = []
    for part in parts:
        end = min(max(epochs, part.first), part.last)
        if end > part.first:
            found.append(replace(part, last=end, frozen=True))
        if end < part.last:
            found.append(replace(part, first=end))
    return found


def relative_cost(parts: list[Stage], imgsz: tuple[int, int]) -> float:
    """Mean cost of a step over these stages, 1 being one at imgsz."""
    pixels = sum((stage.last - stage.first) * math.prod(stage.imgsz) for stage in parts)
    return FIXED + (1 - FIXED) * pixels / (parts[-1].last * math.prod(imgsz))
