"""The sizes of the network: what differs between `n`, `s`, `m` and `l`, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """One size by compound scaling. `l` is the report's network; the smaller ones are ours.

    width, depth: multipliers of channels and of residual blocks.
    neck_pairs: pairs of a 1x1 and a 3x3 convolution wherever the neck mixes two maps, before a last 1x1;
        YOLOv4 has two.
    backbone_activation, neck_activation: names of keras.activations; LeakyReLU has slope 0.1.
    embedding: channels of the maps the ROIs are cut from (208 at `l`).
    mask_channels: channels of the mask subnet (256 at `l`); a multiple of 8.
    dense_branch: whether the mask subnet has the fully connected branch b.
    """

    name: str
    width: float
    depth: float
    neck_pairs: int
    backbone_activation: str
    neck_activation: str
    embedding: int
    mask_channels: int
    dense_branch: bool

    def channels(self, at_full_width: int) -> int:
        """Channels at this width: a multiple of 8, at least 8."""
        return max(8, int(round(at_full_width * self.width / 8)) * 8)

    def repeats(self, at_full_depth: int) -> int:
        """Residual blocks at this depth, at least one."""
        return max(1, round(at_full_depth * self.depth))


SIZES = {
    size.name: size
    for size in (
        Size("n", 0.25, 0.33, 1, "leaky_relu", "leaky_relu", 32, 32, dense_branch=False),
        Size("s", 0.50, 0.33, 1, "leaky_relu", "leaky_relu", 104, 128, dense_branch=False),
        Size("m", 0.75, 0.67, 2, "mish", "leaky_relu", 156, 192, dense_branch=True),
        Size("l", 1.00, 1.00, 2, "mish", "leaky_relu", 208, 256, dense_branch=True),
    )
}
