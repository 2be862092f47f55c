"""Progressive resizing: a training may begin on smaller pictures, which cost less, and end on whole ones."""

from __future__ import annotations

from dataclasses import dataclass

from yoloseg.modeling.architecture import STRIDES
from yoloseg.training.recipes import Recipe

SHORT = 10  # epochs: a shorter training has one stage; another would cost more to trace than it saves


@dataclass(frozen=True)
class Stage:
    """Epochs first..last - 1 are trained at imgsz (height, width)."""

    first: int
    last: int
    imgsz: tuple[int, int]


def scaled(imgsz: tuple[int, int], factor: float) -> tuple[int, int]:
    """imgsz (height, width) times factor, to the nearest multiples of the coarsest stride."""
    step = STRIDES[-1]
    return tuple(max(step, round(side * factor / step) * step) for side in imgsz)


def stages(recipe: Recipe, epochs: int, imgsz: tuple[int, int]) -> list[Stage]:
    """The stages of a training of `epochs` epochs, in order, without empty ones; one if it is a SHORT one."""
    if epochs < SHORT:
        return [Stage(0, epochs, imgsz)]
    found, first = [], 0
    for share, factor in recipe.stages:
        last = round(share * epochs)
        if last > first:
            found.append(Stage(first, last, scaled(imgsz, factor)))
            first = last
    return found


def relative_cost(recipe: Recipe, imgsz: tuple[int, int]) -> float:
    """Mean cost of a step, 1 being one at imgsz; steps are reckoned by their pixels."""
    cost, before = 0.0, 0.0
    for share, factor in recipe.stages:
        height, width = scaled(imgsz, factor)
        cost += (share - before) * height * width / (imgsz[0] * imgsz[1])
        before = share
    return cost
