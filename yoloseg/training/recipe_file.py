"""A recipe of one's own: a YAML file that names what differs from a recipe of yoloseg.

    like: default                      # or paper; what is not named here is as there
    learning_rate: 0.005
    multi_scale: [0.75, 1.0, 1.25]
    augmentation: {mosaic: 0.5, copy_paste: 0.3, rotate: 10}
    mixing: 0.7                        # no mosaic, pasting and multi-scale after so many of the epochs

The fields are those of `Recipe` and `Augmentation`.
"""

from __future__ import annotations

import dataclasses
import math
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from yoloseg.data.augment import Augmentation
from yoloseg.data.yaml_file import read_yaml
from yoloseg.errors import UsageError, shown
from yoloseg.training.recipes import RECIPES, Recipe

ABOVE = math.ulp(0.0)  # the smallest number above 0
# What each number may be, both ends included; of lists every one.
RANGES = {
    "anchors_per_level": (1, 30),
    "foreground": (0, 1),
    "background": (0, 1),
    "level_scale": (ABOVE, 10),
    "anchors_per_object": (0, 100),
    "shape_ratio": (1, 100),
    "focus": (0, 10),
    "logit_adjustment": (0, 10),
    "gains": (0, 1e3),
    "rois": (1, 100),
    "learning_rate": (ABOVE, 10),
    "weight_decay": (0, 1),
    "clipnorm": (ABOVE, 1e6),
    "warmup_steps": (0, 1e6),
    "final_rate": (0, 1),
    "batch": (1, 4096),
    "nms_iou": (ABOVE, 1),
    "max_detections": (1, 1000),
    "mixing": (0, 1),
    "stages": (ABOVE, 10),
    "multi_scale": (0.1, 10),
    "short": (0, 1e6),
    "frozen_epochs": (0, 1e6),
    "flip": (0, 1),
    "hue": (0, 0.5),
    "saturation": (0, 1),
    "value": (0, 1),
    "scale": (0.01, 100),
    "translate": (0, 1),
    "rotate": (0, 180),
    "mosaic": (0, 1),
    "copy_paste": (0, 1),
    "erase": (0, 1),
}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name, or that of a YAML file. Raises YolosegError where it is neither, and for
    fields that do not exist or cannot have the value given."""
    if name in RECIPES:
        return RECIPES[name]
    path = Path(name)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise UsageError(f"--recipe {name}: neither {', '.join(RECIPES)} nor a YAML file")
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UsageError(f"{path}: not a recipe: it needs lines such as `learning_rate: 0.005`")
    content = dict(content)
    like = content.pop("like", "default")
    if not isinstance(like, str) or like not in RECIPES:
        raise UsageError(f"{path}: `like` must be {' or '.join(RECIPES)}, not {shown(like)}")
    recipe = changed(RECIPES[like], {"name": path.stem} | content, str(path))
    for name in ("learning_rate", "weight_decay"):
        if recipe.optimizer != RECIPES[like].optimizer and name not in content:
            raise UsageError(f"{path}: another `optimizer` needs another `{name}` too")
    if recipe.background > recipe.foreground:
        raise UsageError(
            f"{path}: `background` {recipe.background} is above `foreground` {recipe.foreground}"
        )
    shares = [share for share, _ in recipe.stages]
    if not shares or shares[-1] != 1 or sorted(set(shares)) != shares:
        raise UsageError(f"{path}: `stages` must end at rising shares of the epochs, the last at 1: {shares}")
    low, high = recipe.augmentation.scale
    if low > high:
        raise UsageError(f"{path}: `scale` goes from {low} to {high}; the smaller factor comes first")
    return recipe


def changed(base: Recipe | Augmentation, content: dict, where: str) -> Recipe | Augmentation:
    """`base` with the fields that content names. where: the file, in messages. Raises UsageError."""
    hints, fields = get_type_hints(type(base)), {}
    for name, value in content.items():
        if name not in hints:
            known = ", ".join(hints)
            raise UsageError(f"{where}: there is no field {shown(name)}; there are: {known}")
        if hints[name] is Augmentation:
            if not isinstance(value, dict):
                raise UsageError(f"{where}: `{name}` needs entries such as `mosaic: 0.5`, not {shown(value)}")
            fields[name] = changed(getattr(base, name), value, f"{where}, {name}")
            continue
        try:
            fields[name] = fitted(value, hints[name], *RANGES.get(name, (-math.inf, math.inf)))
        except ValueError as error:
            raise UsageError(f"{where}: `{name}` must be {error}, not {shown(value)}") from None
    return dataclasses.replace(base, **fields)


def fitted(value: Any, hint: Any, low: float, high: float) -> Any:
    """The value as the type hint asks for it: lists as tuples, whole numbers as float where it says so.
    Raises ValueError that says what is asked for."""
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise ValueError(f"one of {', '.join(get_args(hint))}")
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        endless = inner[-1] is ...
        if not isinstance(value, list) or not value or (not endless and len(value) != len(inner)):
            raise ValueError("a list, not empty" if endless else f"a list of {len(inner)}")
        hints = [inner[0]] * len(value) if endless else inner
        return tuple(fitted(one, kind, low, high) for one, kind in zip(value, hints, strict=True))
    if hint is float and isinstance(value, str):
        with suppress(ValueError):
            value = float(value)  # to YAML 1e-3 is a text: it has no point
    if hint is float and type(value) in (int, float) and low <= value <= high:
        return float(value)
    if hint is not float and type(value) is hint and (hint is not int or low <= value <= high):
        return value
    if hint in (int, float):
        least = "above 0" if low == ABOVE else f"{low:g} or more"
        raise ValueError(f"a {'whole ' * (hint is int)}number, {least}, {high:g} at most")
    raise ValueError({bool: "true or false", str: "a text"}[hint])
