"""Where the layers of our size `l` lie in the YOLOv4 graph of Darknet (arXiv 2004.10934).

Stem, backbone, SPP and the top-down path to P3 are the same, channel for channel. Our bottom-up path begins
at N3, which YOLOv4 does not have: its convolutions from N4 on agree in place and shape, but theirs are fed by
P3 and ours by N3. Our top-down step to P2, N3, the heads, embeddings and mask subnet have no counterpart; our
`predict` convolutions have half the filters of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from yoloseg.darknet.weights import Convolution

# Last cfg layers of the parts.
BACKBONE_END, SPP_END, TOP_DOWN_END, END = 104, 116, 136, 161
BACKBONE_CONVOLUTIONS = 72


@dataclass(frozen=True)
class Place:
    """One convolution of YOLOv4.

    layer: its index in the cfg. name: of ours in its place, whose layers are `{name}_conv` and `{name}_bn`;
    None where ours has none. stored: what the weights file holds of it.
    """

    layer: int
    name: str | None
    stored: Convolution


class _Counter:
    """Convolutions in the order of the cfg, and the index of the next layer."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.next = 0

    def conv(self, name: str | None, filters: int, channels: int, size: int, normalised: bool = True) -> None:
        label = f"conv_{self.next}" + (f" ({name})" if name else "")
        stored = Convolution(label, filters, channels, size, normalised)
        self.places.append(Place(self.next, name, stored))
        self.next += 1

    def skip(self, layers: int) -> None:
        """Layers without weights."""
        self.next += layers

    def mix(self, name: str, filters: int) -> None:
        for i in range(5):
            wide = i % 2
            channels = filters if wide else 2 * filters
            self.conv(f"{name}_mix{i}", filters * (1 + wide), channels, 3 if wide else 1)


@cache
def yolov4_places(head_filters: int = 255) -> tuple[Place, ...]:
    """The 110 convolutions of YOLOv4 in the order of its cfg, and of its weights file.

    head_filters: of the convolution before each yolo layer: 3 x (5 + classes).
    """
    count = _Counter()
    _backbone(count)
    channels = 1024
    for stage in ("in", "out"):
        for i, (filters, size) in enumerate([(512, 1), (1024, 3), (512, 1)]):
            count.conv(f"spp_{stage}{i}", filters, channels, size)
            channels = filters
        if stage == "in":
            count.skip(6)  # three max-poolings, two routes between them, the route that joins
            channels = 4 * 512
    for level, filters in (("P4", 256), ("P3", 128)):
        count.conv(f"{level}_reduce", filters, 2 * filters, 1)
        count.skip(2)  # upsample, route to the backbone's map
        count.conv(f"{level}_lateral", filters, 2 * filters, 1)
        count.skip(1)  # route that joins
        count.mix(level, filters)
    for level, filters in ((None, 128), ("N4", 256), ("N5", 512)):
        if level:
            count.skip(1)  # route past the head
            count.conv(f"{level}_down", filters, filters // 2, 3)
            count.skip(1)  # route that joins
            count.mix(level, filters)
        count.conv(None, 2 * filters, filters, 3)
        count.conv(None, head_filters, 2 * filters, 1, normalised=False)
        count.skip(1)  # yolo
    return tuple(count.places)


def _backbone(count: _Counter) -> None:
    """CSPDarknet53. The shortcut's 1x1 comes before the residual path's, as in the cfg."""
    count.conv("stem", 32, 3, 3)
    stages = ((64, 64, 32, 1), (128, 64, 64, 2), (256, 128, 128, 8), (512, 256, 256, 8), (1024, 512, 512, 4))
    before = 32
    for number, (filters, split, hidden, repeats) in enumerate(stages, 1):
        name = f"csp{number}"
        count.conv(f"{name}_down", filters, before, 3)
        count.conv(f"{name}_shortcut", split, filters, 1)
        count.skip(1)  # route back to the down convolution
        count.conv(f"{name}_split", split, filters, 1)
        for i in range(repeats):
            count.conv(f"{name}_res{i}_a", hidden, split, 1)
            count.conv(f"{name}_res{i}_b", split, hidden, 3)
            count.skip(1)  # shortcut
        count.conv(f"{name}_close", split, split, 1)
        count.skip(1)  # route that joins
        count.conv(f"{name}_merge", filters, 2 * split, 1)
        before = filters
