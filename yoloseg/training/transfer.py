"""Start from other weights: every layer that has the same name and shapes is loaded, the rest is listed."""

from __future__ import annotations

from dataclasses import dataclass

from yoloseg.modeling.network import YoloSeg


@dataclass(frozen=True)
class Transfer:
    """loaded: names of layers. left: (layer, why) for those that keep their random start."""

    loaded: tuple[str, ...]
    left: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        lines = [f"loaded {len(self.loaded)} layers, {len(self.left)} start anew"]
        return "\n".join(lines + [f"  {name}: {why}" for name, why in self.left])


def transfer_weights(source: YoloSeg, target: YoloSeg) -> Transfer:
    """Copies what fits. Class names need not agree; class layers of another shape start anew."""
    loaded, left = [], []
    for ours, theirs in ((target.network, source.network), (target.mask_subnet, source.mask_subnet)):
        known = {layer.name: layer for layer in theirs.layers if layer.weights}
        for layer in ours.layers:
            if not layer.weights:
                continue
            if layer.name not in known:
                left.append((layer.name, "not in the weights file"))
                continue
            shapes = [tuple(w.shape) for w in layer.weights]
            given = [tuple(w.shape) for w in known[layer.name].weights]
            if shapes != given:
                left.append((layer.name, f"needs {shapes}, the file has {given}"))
                continue
            layer.set_weights(known[layer.name].get_weights())
            loaded.append(layer.name)
    return Transfer(tuple(loaded), tuple(left))


def freeze_backbone(model: YoloSeg) -> int:
    """Makes stem and CSP stages untrainable, BatchNorm statistics included; returns how many layers."""
    layers = [layer for layer in model.network.layers if layer.name.startswith(("stem", "csp"))]
    for layer in layers:
        layer.trainable = False
    return len(layers)
