"""Start from other weights: every layer that has the same name and shapes is loaded, the rest is listed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from yoloseg.errors import UsageError, WeightsError
from yoloseg.modeling.network import YoloSeg


@dataclass(frozen=True)
class Transfer:
    """loaded: names of layers. left: (layer, why) for those that keep their random start."""

    loaded: tuple[str, ...]
    left: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """A table: parts of the network, how many of their layers were loaded, and why others were not."""
        parts = Counter(_part(name) for name in self.loaded)
        whole = parts + Counter(_part(name) for name, _ in self.left)
        lines = [f"loaded {len(self.loaded)} layers, {len(self.left)} start anew"]
        lines += [f"  {part:<14} {parts[part]:>3} of {count}" for part, count in whole.items()]
        return "\n".join(lines + [f"  {name}: {why}" for name, why in self.left])


def transfer_weights(source: YoloSeg | Path, target: YoloSeg) -> Transfer:
    """Copies what fits. Class names need not agree; class layers of another shape start anew.

    source: a network, or a `.weights.h5` file that `save_weights` of one wrote. Raises WeightsError for a
    file that is none, or of which nothing fits; nothing is loaded then.
    """
    known = read_h5(source) if isinstance(source, Path) else layers_of(source)
    loaded, left, values = [], [], []
    for layer in target.all_layers:
        if not layer.weights:
            continue
        if layer.name not in known:
            left.append((layer.name, "not in the weights file"))
            continue
        shapes = [tuple(w.shape) for w in layer.weights]
        given = [tuple(value.shape) for value in known[layer.name]]
        if shapes != given:
            left.append((layer.name, f"needs {shapes}, the file has {given}"))
            continue
        values.append((layer, known[layer.name]))
        loaded.append(layer.name)
    if isinstance(source, Path) and not loaded:
        raise WeightsError(f"{source}: not one of its layers fits a network of size {target.size}")
    for layer, own in values:
        layer.set_weights(own)
    return Transfer(tuple(loaded), tuple(left))


def layers_of(model: YoloSeg) -> dict[str, list[np.ndarray]]:
    """Values of the weights of each layer, by its name."""
    return {layer.name: layer.get_weights() for layer in model.all_layers if layer.weights}


def read_h5(path: Path) -> dict[str, list[np.ndarray]]:
    """The same of a Keras `.weights.h5` file. Raises WeightsError if it cannot be read or holds numbers that
    are not finite."""
    known: dict[str, list[np.ndarray]] = {}

    def note(_, group):
        if isinstance(group, h5py.Group) and group.attrs.get("name") and len(group):
            if all(isinstance(group.get(str(i)), h5py.Dataset) for i in range(len(group))):
                known[group.attrs["name"]] = [group[str(i)][()] for i in range(len(group))]

    try:
        with h5py.File(path) as file:
            file.visititems(note)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: is no Keras weights file, or is damaged: {error}") from error
    for name, values in known.items():
        if not all(np.isfinite(value).all() for value in values if value.dtype.kind == "f"):
            raise WeightsError(f"{path}: layer {name} holds numbers that are not finite")
    return known


def start_from(source: YoloSeg | Path, target: YoloSeg, until: int | None = None) -> Transfer:
    """Fills `target` from a network, a `.weights.h5` file, or one of Darknet's (`yoloseg.darknet.load_into`,
    to layer `until`). Raises WeightsError, UsageError."""
    if isinstance(source, Path) and source.suffix != ".h5":
        from yoloseg.darknet import load_into

        return load_into(target, source, until)
    if until is not None:
        raise UsageError("--until is for Darknet's weights, not for a Keras file")
    return transfer_weights(source, target)


def freeze_backbone(model: YoloSeg, frozen: bool = True) -> int:
    """Makes stem and CSP stages untrainable, BatchNorm statistics included, or trainable again; returns how
    many layers."""
    layers = [layer for layer in model.network.layers if layer.name.startswith(("stem", "csp"))]
    for layer in layers:
        layer.trainable = not frozen
    return len(layers)


def _part(name: str) -> str:
    """What of the network a layer belongs to: the first word of its name."""
    return name.split("_")[0]
