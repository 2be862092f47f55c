"""A cfg as typed layers with the shapes of their outputs, checked before anything is built or loaded.

Every rule of shapes is Darknet's (github.com/AlexeyAB/darknet/wiki), and so are defaults of keys that are
missing, but that filters, size and classes must be there, num is how many anchors there are, and channels 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from yoloseg.darknet.cfg import LARGEST, Section, read_cfg
from yoloseg.errors import UsageError

ACTIVATIONS = ("mish", "leaky", "linear", "relu", "swish", "logistic")
NMS_KINDS = ("default", "greedynms", "diounms")
PICTURE = -1  # as a source: what goes into the network


@dataclass(frozen=True)
class Layer:
    """A layer that only passes on: dropout at inference; and the base of the others.

    index: in the cfg, from 0. sources: indices of the layers it reads, PICTURE for the input. shape: (height,
    width, channels) of its output.
    """

    index: int
    sources: tuple[int, ...]
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Convolutional(Layer):
    """channels: of its input, all groups together. padding: zeros at each of the four sides."""

    channels: int
    size: int
    stride: int
    padding: int
    groups: int
    activation: str
    normalised: bool

    @property
    def filters(self) -> int:
        return self.shape[2]


@dataclass(frozen=True)
class Shortcut(Layer):
    """The sum of its sources, all of one shape, then the activation."""

    activation: str


@dataclass(frozen=True)
class Route(Layer):
    """Its sources concatenated; of each the part `group_id` of `groups` equal parts of its channels."""

    groups: int
    group_id: int


@dataclass(frozen=True)
class Maxpool(Layer):
    """padding: in total, half of it (rounded down) before the map, of values that never win."""

    size: int
    stride: int
    padding: int


@dataclass(frozen=True)
class Upsample(Layer):
    """Each pixel repeated `stride` times in both directions."""

    stride: int


@dataclass(frozen=True)
class Yolo(Layer):
    """A head. anchors: (width, height) in pixels of the network input, those of its mask. scale: `scale_x_y`.
    new_coords: whether its input is already logistic, and sides are (2 t)^2 of the anchor's."""

    anchors: tuple[tuple[float, float], ...]
    classes: int
    scale: float
    new_coords: bool
    nms_kind: str
    beta_nms: float


@dataclass(frozen=True)
class Plan:
    """A cfg that is consistent. imgsz: (height, width) of the input. letter_box: whether pictures keep their
    aspect; otherwise they are stretched."""

    path: Path
    imgsz: tuple[int, int]
    letter_box: bool
    layers: tuple[Layer, ...]

    @property
    def convolutions(self) -> list[Convolutional]:
        return [layer for layer in self.layers if isinstance(layer, Convolutional)]

    @property
    def heads(self) -> list[Yolo]:
        return [layer for layer in self.layers if isinstance(layer, Yolo)]

    @property
    def outputs(self) -> list[int]:
        """Indices of the layers that feed the yolo layers, in order; without any, the last layer's."""
        return [head.sources[0] for head in self.heads] or [len(self.layers) - 1]


def read_plan(path: str | Path, imgsz: tuple[int, int] | None = None) -> Plan:
    """Reads a cfg. imgsz: (height, width) in place of the cfg's.

    Raises WeightsError as `plan_of` and `read_cfg`; UsageError for an imgsz that is no size.
    """
    return plan_of(read_cfg(path), imgsz)


def plan_of(sections: list[Section], imgsz: tuple[int, int] | None = None) -> Plan:
    """sections: of `read_cfg`; imgsz: as `read_plan`.

    Raises WeightsError, naming file, line, layer and what to do, for a layer that yoloseg does not read, a
    key that is missing or wrong, a reference to a layer that does not come before, and shapes that do not
    fit; UsageError for an imgsz that is no size.
    """
    net, *rest = sections
    if imgsz is not None and (len(imgsz) != 2 or not all(0 < side <= LARGEST for side in imgsz)):
        raise UsageError(f"imgsz must be height and width in pixels, not {tuple(imgsz)}")
    net.check_keys(("width", "height", "channels", "letter_box"), {})
    if net.integer("channels", 3) != 3:
        raise net.error("channels must be 3: pictures are RGB")
    height, width = imgsz or (net.integer("height", low=1), net.integer("width", low=1))
    if not rest:
        raise net.error("there is no layer after [net]")
    shapes: list[tuple[int, int, int]] = []
    layers: list[Layer] = []
    for section in rest:
        if section.kind not in READERS:
            known = ", ".join(f"[{kind}]" for kind in READERS)
            raise section.error(f"yoloseg does not read this layer; it reads {known}")
        layer = READERS[section.kind](section, Shapes(section, (height, width, 3), shapes))
        if any(isinstance(layers[source], Yolo) for source in layer.sources if source != PICTURE):
            raise section.error("reads the output of a [yolo] layer; route to a layer before it")
        layers.append(layer)
        shapes.append(layer.shape)
    letter_box = any(section.integer("letter_box", 0, 0, 1) for section in sections)
    plan = Plan(net.path, (int(height), int(width)), letter_box, tuple(layers))
    _check_whole(plan, rest)
    return plan


class Shapes:
    """The shapes of the layers before a section's."""

    def __init__(self, section: Section, picture: tuple[int, int, int], before: list):
        self.section, self.picture, self.before = section, picture, before

    @property
    def previous(self) -> int:
        return len(self.before) - 1  # PICTURE for the first layer

    def of(self, source: int) -> tuple[int, int, int]:
        return self.picture if source == PICTURE else self.before[source]

    def references(self, key: str) -> tuple[int, ...]:
        """Absolute indices of a list of layers; negative ones count back from the section's own layer."""
        found = []
        for number in self.section.integers(key):
            index = number + len(self.before) if number < 0 else number
            if not 0 <= index < len(self.before):
                line = self.section.text(key)[1]
                raise self.section.error(
                    f"{key} names layer {number}, which is not one of the {len(self.before)} before it", line
                )
            found.append(index)
        return tuple(found)

    def check_positive(self, height: int, width: int, channels: int) -> tuple[int, int, int]:
        if min(height, width, channels) < 1:
            before = self.of(self.previous)
            raise self.section.error(
                f"leaves nothing of its input of {before[0]} x {before[1]}; feed a larger input or lower size"
            )
        if max(height, width, channels) > LARGEST:
            raise self.section.error(f"gives {height} x {width} x {channels}; at most {LARGEST} can be read")
        return height, width, channels


def _convolutional(section: Section, shapes: Shapes) -> Convolutional:
    read = ("batch_normalize", "filters", "size", "stride", "pad", "padding", "activation", "groups", "cbn")
    read += ("stream", "assisted_excitation")  # a queue of the GPU, and training's
    neutral = {} if section.text("size", "")[0] == "1" else {"dilation": "1"}
    neutral |= {"antialiasing": "0", "binary": "0", "xnor": "0", "flipped": "0", "dot": "0"}
    neutral |= {"share_index": "-1000000000", "deform": "0", "sway": "0", "rotate": "0", "stretch": "0"}
    neutral |= {"stretch_sway": "0", "dontload": "0", "dontloadscales": "0"}
    neutral |= {"bin_output": "0", "coordconv": "0", "stride_x": "", "stride_y": ""}
    section.check_keys(read, neutral)
    size = section.integer("size", low=1, high=1023)
    height, width, channels = shapes.of(shapes.previous)
    stride = section.integer("stride", 1, low=1)
    padding = section.integer("padding", 0, high=1023)
    if section.integer("pad", 0, 0, 1):
        padding = size // 2
    filters, groups = section.integer("filters", low=1), section.integer("groups", 1, low=1)
    if channels % groups or filters % groups:
        raise section.error(f"groups={groups} does not divide {channels} channels and {filters} filters")
    rows, columns = ((side + 2 * padding - size) // stride + 1 for side in (height, width))
    return Convolutional(
        len(shapes.before),
        (shapes.previous,),
        shapes.check_positive(rows, columns, filters),
        channels,
        size,
        stride,
        padding,
        groups,
        section.choice("activation", ACTIVATIONS, "logistic"),
        any(section.integer(key, 0, 0, 2) for key in ("batch_normalize", "cbn")),  # across batches: 2
    )


def _dropout(section: Section, shapes: Shapes) -> Layer:
    section.check_keys((), {})
    return Layer(len(shapes.before), (shapes.previous,), shapes.of(shapes.previous))


def _shortcut(section: Section, shapes: Shapes) -> Shortcut:
    section.check_keys(("from", "activation"), {"weights_type": "none", "weights_normalization": "none"})
    sources = (shapes.previous, *shapes.references("from"))
    own = shapes.of(shapes.previous)
    for source in sources[1:]:
        if shapes.of(source) != own:
            raise section.error(
                f"adds layer {source} of {_size(shapes.of(source))} to {_size(own)} (height x width x "
                "channels); yoloseg adds equal shapes alone"
            )
    activation = section.choice("activation", ACTIVATIONS, "linear")
    return Shortcut(len(shapes.before), sources, own, activation)


def _route(section: Section, shapes: Shapes) -> Route:
    section.check_keys(("layers", "groups", "group_id", "stream"), {})
    sources = shapes.references("layers")
    groups = section.integer("groups", 1, low=1)
    group_id = section.integer("group_id", 0)
    if group_id >= groups:
        raise section.error(f"group_id={group_id} must be below groups={groups}")
    height, width, _ = shapes.of(sources[0])
    for source in sources:
        if shapes.of(source)[:2] != (height, width):
            raise section.error(
                f"joins layer {sources[0]} of {_size((height, width))} and layer {source} of "
                f"{_size(shapes.of(source)[:2])}; all must be as large. Is the input a multiple of 32?"
            )
        if shapes.of(source)[2] % groups:
            raise section.error(
                f"groups={groups} does not divide the {shapes.of(source)[2]} channels of layer {source}"
            )
    channels = sum(shapes.of(source)[2] // groups for source in sources)
    shape = shapes.check_positive(height, width, channels)
    return Route(len(shapes.before), sources, shape, groups, group_id)


def _maxpool(section: Section, shapes: Shapes) -> Maxpool:
    neutral = {"maxpool_depth": "0", "maxpool_zero_nonmax": "0", "antialiasing": "0"}
    neutral |= {"stride_x": "", "stride_y": ""}
    section.check_keys(("size", "stride", "padding"), neutral)
    height, width, channels = shapes.of(shapes.previous)
    stride = section.integer("stride", 1, low=1)
    size = section.integer("size", stride, low=1, high=1023)
    padding = section.integer("padding", size - 1, high=1023)
    if padding // 2 >= size:
        raise section.error(f"padding={padding} leaves windows of size={size} without a pixel; lower it")
    rows, columns = ((side + padding - size) // stride + 1 for side in (height, width))
    shape = shapes.check_positive(rows, columns, channels)
    for side, count in ((height, rows), (width, columns)):
        if (count - 1) * stride - padding // 2 >= side:
            raise section.error(f"padding={padding} leaves windows of size={size} without a pixel; lower it")
    return Maxpool(len(shapes.before), (shapes.previous,), shape, size, stride, padding)


def _upsample(section: Section, shapes: Shapes) -> Upsample:
    section.check_keys(("stride",), {"scale": "1"})
    stride = section.integer("stride", 2, low=1)
    height, width, channels = shapes.of(shapes.previous)
    shape = shapes.check_positive(height * stride, width * stride, channels)
    return Upsample(len(shapes.before), (shapes.previous,), shape, stride)


def _yolo(section: Section, shapes: Shapes) -> Yolo:
    read = ("mask", "anchors", "num", "classes", "scale_x_y", "new_coords", "nms_kind", "beta_nms")
    section.check_keys((*read, "letter_box"), {})
    if shapes.previous == PICTURE:
        raise section.error("is the first layer; a [convolutional] comes before it")
    sides, line = section.decimals("anchors"), section.text("anchors")[1]
    if len(sides) % 2 or min(sides) <= 0:
        raise section.error("anchors must be pairs of width and height above 0", line)
    pairs = list(zip(sides[::2], sides[1::2], strict=True))
    number = section.integer("num", len(pairs), low=1)
    if number > len(pairs):
        raise section.error(f"num={number}, but there are {len(pairs)} anchors", line)
    mask = section.integers("mask") if "mask" in section.values else list(range(number))
    if not all(0 <= index < number for index in mask):
        line = section.text("mask")[1]
        raise section.error(f"mask must name anchors from 0 to {number - 1}, not {mask}", line)
    classes = section.integer("classes", low=1)
    shape = shapes.of(shapes.previous)
    if shape[2] != len(mask) * (5 + classes):
        raise section.error(
            f"{len(mask)} anchors x (5 + {classes} classes) need {len(mask) * (5 + classes)} channels, layer "
            f"{shapes.previous} gives {shape[2]}; set filters={len(mask) * (5 + classes)} there"
        )
    return Yolo(
        len(shapes.before),
        (shapes.previous,),
        shape,
        tuple(pairs[index] for index in mask),
        classes,
        section.decimal("scale_x_y", 1.0),
        bool(section.integer("new_coords", 0, 0, 1)),
        section.choice("nms_kind", NMS_KINDS, "default"),
        section.decimal("beta_nms", 0.6),
    )


READERS: dict[str, Callable[[Section, Shapes], Layer]] = {
    "convolutional": _convolutional,
    "conv": _convolutional,
    "dropout": _dropout,
    "shortcut": _shortcut,
    "route": _route,
    "maxpool": _maxpool,
    "max": _maxpool,
    "upsample": _upsample,
    "yolo": _yolo,
}


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _check_whole(plan: Plan, sections: list[Section]) -> None:
    """Raises WeightsError where heads disagree on the classes, one of `new_coords` is fed what are no
    probabilities, or the outputs do not depend on a layer with weights."""
    for head in plan.heads:
        fed = plan.layers[head.sources[0]]
        while type(fed) is Layer or (isinstance(fed, Route) and len(fed.sources) == 1):
            if fed.sources[0] == PICTURE:
                break
            fed = plan.layers[fed.sources[0]]
        if head.new_coords and isinstance(fed, Convolutional) and fed.activation != "logistic":
            raise sections[fed.index].error(
                f"activation={fed.activation} before a [yolo] with new_coords=1, which takes probabilities; "
                "write activation=logistic here"
            )
        if head.classes != plan.heads[0].classes:
            raise sections[head.index].error(
                f"classes={head.classes}, but {plan.heads[0].classes} in layer {plan.heads[0].index}; all "
                "[yolo] layers must have the same"
            )
    needed = set(plan.outputs)
    for layer in reversed(plan.layers):
        if layer.index in needed:
            needed.update(layer.sources)
        elif isinstance(layer, Convolutional):
            raise sections[layer.index].error("no output depends on this layer; remove it, or end in [yolo]")
