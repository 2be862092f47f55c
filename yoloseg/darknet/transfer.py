"""Darknet's YOLOv4 weights into our size `l`, and the backbone back into a Darknet file."""

from __future__ import annotations

from pathlib import Path

from yoloseg.darknet.places import (
    BACKBONE_CONVOLUTIONS,
    BACKBONE_END,
    END,
    SPP_END,
    TOP_DOWN_END,
    Place,
    yolov4_places,
)
from yoloseg.darknet.variables import set_values, values_of
from yoloseg.darknet.weights import Header, WeightsFile, write_weights
from yoloseg.errors import UsageError, WeightsError
from yoloseg.modeling.network import YoloSeg
from yoloseg.training.transfer import Transfer

CLASSIFIER_FLOATS = 1000 * (1 + 1024)  # after the backbone of csdarknet53-omega


def load_into(model: YoloSeg, path: str | Path, until: int | None = None) -> Transfer:
    """Fills every layer of a size `l` network that agrees with one of YOLOv4 in place and shape.

    path: yolov4.weights of any number of classes, or a file that ends earlier: after the backbone
    (csdarknet53-omega, whose classifier is left out), SPP, P3 (yolov4.conv.137), or any convolution between;
    found out by the number of floats. until: the last cfg layer that is loaded, for instance 104 for the
    backbone, 136 for all to P3; the file may then be any that begins as YOLOv4 does. Returns the names of
    Keras layers that were loaded, and of the others why not.

    Everything is read and checked before the first variable is set. Raises UsageError for another size than
    `l`, and for an `until` beyond YOLOv4's layers; WeightsError naming the layer for a file that cannot be
    read or is of another network.
    """
    _check_size(model)
    if until is not None and not 0 <= until <= END:
        raise UsageError(f"until must be a layer of YOLOv4's cfg, 0 to {END}, not {until}")
    file = WeightsFile(path)
    places = _held(file, until)
    values = [(place, file.convolution(place.stored)) for place in places]
    for place, own in values:
        if place.name:
            set_values(own, *_layers_of(model, place.name))
    loaded = {f"{place.name}_{kind}" for place in places if place.name for kind in ("conv", "bn")}
    known = {place.name: place.layer for place in yolov4_places() if place.name}
    order, left = [], []
    for layer in [*model.network.layers, *model.mask_subnet.layers]:
        if not layer.weights:
            continue
        name = layer.name
        place = known.get(name.removesuffix("_conv").removesuffix("_bn"))
        if name in loaded:
            order.append(name)
        elif place is None:
            left.append((name, _why_not(name)))
        elif until is not None and place > until:
            left.append((name, f"is layer {place} of YOLOv4, after layer {until}"))
        else:
            left.append((name, f"is layer {place} of YOLOv4, the file ends after {places[-1].layer}"))
    return Transfer(tuple(order), tuple(left))


def save(model: YoloSeg, path: str | Path) -> None:
    """Writes stem and backbone of a size `l` network as a Darknet file: the 72 convolutions of CSPDarknet53,
    which `load_into` and Darknet's own training start from (layers 0 to 104 of yolov4.cfg).

    Raises UsageError for another size, and as `write_weights`.
    """
    _check_size(model)
    places = yolov4_places()[:BACKBONE_CONVOLUTIONS]
    values = ((place.stored, values_of(*_layers_of(model, place.name))) for place in places)
    write_weights(path, values, Header())


def _check_size(model: YoloSeg) -> None:
    if model.size != "l":
        raise UsageError(
            f"the network has size {model.size!r}; YOLOv4's weights fit size 'l' alone ('n', 's' and 'm' are "
            "narrower)"
        )


def _layers_of(model: YoloSeg, name: str) -> tuple:
    return model.network.get_layer(f"{name}_conv"), model.network.get_layer(f"{name}_bn")


def _held(file: WeightsFile, until: int | None) -> list[Place]:
    """The convolutions to take from a file, up to the layer `until`."""
    places = yolov4_places()
    held = _recognised(file.count)
    wanted = [place for place in places if until is None or place.layer <= until]
    if held is None and until is not None and sum(place.stored.floats for place in wanted) <= file.count:
        held = places  # of another network after that
    if held is None:
        ends = {layer: _floats_until(layer) for layer in (BACKBONE_END, SPP_END, TOP_DOWN_END, END)}
        known = ", ".join(f"{count:,} to layer {layer}" for layer, count in ends.items())
        advice = "" if until is not None else "; if it begins as YOLOv4 does, say `until` which layer"
        raise WeightsError(
            f"{file.path}: holds {file.count:,} floats; YOLOv4 has {known} (80 classes). It is truncated, or "
            f"of another network{advice}. {_end(file.count)}"
        )
    layers = {place.layer for place in wanted}
    return [place for place in held if place.layer in layers]


def _recognised(count: int) -> tuple[Place, ...] | None:
    """The convolutions in a file of `count` floats; None where it is no file of YOLOv4.

    It ends with a convolution from the last of the backbone to P3's, or with the backbone and a classifier of
    1000 classes (bias and 1024 weights each), or holds all, with any number of classes.
    """
    places, total = yolov4_places(), 0
    for number, place in enumerate(places, 1):
        total += place.stored.floats
        if total == count and BACKBONE_END <= place.layer <= TOP_DOWN_END:
            return places[:number]
    one, two = (sum(place.stored.floats for place in yolov4_places(3 * (5 + k))) for k in (1, 2))
    more, rest = divmod(count - one, two - one)
    if rest == 0 and more >= 0:
        return yolov4_places(3 * (5 + 1 + more))
    if count == _floats_until(BACKBONE_END) + CLASSIFIER_FLOATS:
        return places[:BACKBONE_CONVOLUTIONS]
    return None


def _floats_until(layer: int) -> int:
    return sum(place.stored.floats for place in yolov4_places() if place.layer <= layer)


def _end(count: int) -> str:
    """Where in YOLOv4 a file of `count` floats ends."""
    for place in yolov4_places():
        if count < place.stored.floats:
            stored = place.stored
            return f"It would end in {stored.name}: {stored.floats:,} floats needed, {count:,} left"
        count -= place.stored.floats
    return f"{count:,} floats would be left after the last layer"


def _why_not(name: str) -> str:
    if name.endswith(("_predict_conv", "_predict_bn")) and not name.startswith("P2"):
        return "YOLOv4 has twice the filters here"
    return "YOLOv4 has no such layer"
