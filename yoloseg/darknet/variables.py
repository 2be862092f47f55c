"""Between Darknet's arrays and the variables of Keras layers, and of whole graphs of a plan."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from keras import ops

from yoloseg.darknet.plan import Convolutional, Plan
from yoloseg.darknet.weights import Convolution, Header, Values, WeightsFile, write_weights
from yoloseg.errors import WeightsError


def set_values(values: Values, convolution: keras.layers.Conv2D, norm=None) -> None:
    """Sets a convolution from [out, in / groups, k, k] to [k, k, in / groups, out], with its bias or, where
    `norm` is given, that BatchNormalization."""
    convolution.kernel.assign(np.transpose(values["weights"], (2, 3, 1, 0)))
    if norm is None:
        convolution.bias.assign(values["bias"])
        return
    norm.beta.assign(values["bias"])
    norm.gamma.assign(values["scale"])
    norm.moving_mean.assign(values["mean"])
    norm.moving_variance.assign(values["variance"])


def values_of(convolution: keras.layers.Conv2D, norm=None) -> Values:
    """The inverse of `set_values`."""
    variables = (
        {"bias": convolution.bias}
        if norm is None
        else {
            "bias": norm.beta,
            "scale": norm.gamma,
            "mean": norm.moving_mean,
            "variance": norm.moving_variance,
        }
    )
    values = {name: ops.convert_to_numpy(variable) for name, variable in variables.items()}
    return values | {"weights": np.transpose(ops.convert_to_numpy(convolution.kernel), (3, 2, 0, 1))}


def convolutions_of(plan: Plan) -> list[Convolution]:
    """What a weights file of the plan holds, in its order."""
    return [
        Convolution(
            f"conv_{layer.index}", layer.filters, layer.channels // layer.groups, layer.size, layer.normalised
        )
        for layer in plan.convolutions
    ]


def read_values(plan: Plan, path: str | Path) -> tuple[Header, list[Values]]:
    """A weights file's header, and the values of every convolution of the plan, in order.

    Raises WeightsError, naming the layer, what it needs and what is there, for a file that is not the plan's.
    """
    file = WeightsFile(path)
    convolutions = convolutions_of(plan)
    needed = sum(convolution.floats for convolution in convolutions)
    try:
        if file.count < needed:
            _locate_end(file, convolutions)
        values = [file.convolution(convolution) for convolution in convolutions]
        file.finish(convolutions[-1].name if convolutions else "none")
    except WeightsError as error:
        if hint := class_hint(plan, file.count):
            raise WeightsError(f"{error}. {hint}") from error
        raise
    return file.header, values


def set_variables(network: keras.Model, plan: Plan, values: list[Values]) -> None:
    """Fills a network of `build_graph` with what `read_values` gave."""
    for layer, own in zip(plan.convolutions, values, strict=True):
        set_values(own, *_layers_of(network, layer))


def save_variables(network: keras.Model, plan: Plan, path: str | Path, header: Header | None = None) -> None:
    """Writes what `read_values` reads, bit by bit. Raises as `write_weights`."""
    values = (values_of(*_layers_of(network, layer)) for layer in plan.convolutions)
    write_weights(path, zip(convolutions_of(plan), values, strict=True), header)


def class_hint(plan: Plan, count: int) -> str | None:
    """What to set in the cfg where a file of `count` floats is of the same network with another number of
    classes; None where it is not."""
    heads = {head.sources[0]: head for head in plan.heads}
    fixed = per_class = 0
    for layer, convolution in zip(plan.convolutions, convolutions_of(plan), strict=True):
        if layer.index not in heads:
            fixed += convolution.floats
            continue
        anchors, one = len(heads[layer.index].anchors), convolution.floats // convolution.filters
        fixed += 5 * anchors * one
        per_class += anchors * one
    classes, rest = divmod(count - fixed, per_class) if per_class else (0, 1)
    if rest or classes < 1 or classes == plan.heads[0].classes:
        return None
    filters = " and ".join(sorted({str(len(head.anchors) * (5 + classes)) for head in plan.heads}))
    return (
        f"The file has the size of this network with {classes} classes, the cfg has {plan.heads[0].classes}: "
        f"set classes={classes} in every [yolo], and filters={filters} in the [convolutional] before each"
    )


def _locate_end(file: WeightsFile, convolutions: list[Convolution]) -> None:
    """Raises WeightsError naming the layer in which a file that is too short ends, whatever its values."""
    before = 0
    for convolution in convolutions:
        if before + convolution.floats > file.count:
            raise WeightsError(
                f"{file.path}: ends too early: {convolution.name} needs {convolution.floats:,} floats "
                f"(weights {convolution.parts['weights']}), {file.count - before:,} of {file.count:,} are "
                "left for it; the file is truncated, or of another cfg"
            )
        before += convolution.floats


def _layers_of(network: keras.Model, layer: Convolutional) -> tuple:
    convolution = network.get_layer(f"conv_{layer.index}")
    return convolution, network.get_layer(f"bn_{layer.index}") if layer.normalised else None
