"""Networks that no recipe or size offers, for `train/ablations.py`: one part exchanged while a run lasts.

The files of such a run hold nothing of the exchange: load them inside `variant`, or they compute something
else.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from unittest.mock import patch

import keras
from keras import layers

from yoloseg.data.anchor_fitting import fit_any_anchors
from yoloseg.modeling import architecture, network
from yoloseg.modeling.architecture import LEVELS
from yoloseg.modeling.blocks import BRANCH_GAMMA, conv, group_conv, linear, mixed
from yoloseg.modeling.sizes import SIZES
from yoloseg.training import run


def added_fpn(c2, c3, c4, c5, size):
    """The extended FPN by addition, as FPN (arXiv 1612.03144), where the report concatenates.

    Half the channels go into the first convolution after it.
    """
    c, act, pairs = size.channels, size.neck_activation, size.neck_pairs
    p = {"P5": c5}
    for level, below, lateral, f in (("P4", "P5", c4, 256), ("P3", "P4", c3, 128), ("P2", "P3", c2, 64)):
        up = conv(p[below], c(f), 1, act=act, name=f"{level}_reduce", gamma=BRANCH_GAMMA)
        up = layers.UpSampling2D(2, interpolation="nearest", name=f"{level}_up")(up)
        lateral = conv(lateral, c(f), 1, act=act, name=f"{level}_lateral")
        x = layers.Add(name=f"{level}_add")([lateral, up])
        p[level] = mixed(x, c(f), pairs=pairs, act=act, name=level)
    n = {"P2": p["P2"]}
    for level, above, f in (("P3", "P2", 128), ("P4", "P3", 256), ("P5", "P4", 512)):
        down = conv(n[above], c(f), 3, stride=2, act=act, name=f"N{level[1]}_down", gamma=BRANCH_GAMMA)
        x = layers.Add(name=f"N{level[1]}_add")([down, p[level]])
        n[level] = mixed(x, c(f), pairs=pairs, act=act, name=f"N{level[1]}")
    return n


def coarse_mask_subnet(size):
    """Branch a without deconvolution: 14 x 14 logits, interpolated to the 28 x 28 that the losses take."""
    c = size.mask_channels
    cuts = [keras.Input((14, 14, size.embedding), name=f"{level}_roi") for level in LEVELS]
    x = [group_conv(cut, c, name=f"{level}_mask") for level, cut in zip(LEVELS, cuts, strict=True)]
    x = layers.Maximum(name="fuse")(x)
    for name in ("mask1", "mask2", "mask_a"):
        x = group_conv(x, c, name=name)
    logits = linear(x, 1, 1, name="mask_a_logits", start="glorot_uniform", dtype="float32")
    logits = layers.UpSampling2D(2, interpolation="bilinear", name="mask_a_up")(logits)
    return keras.Model(cuts, layers.Reshape((28, 28), name="masks")(logits), name="mask_subnet")


def three_level_anchors(sizes, per_level, **kwargs):
    """As many anchors, on P3 to P5 alone: those of P2 are a thousandth of a pixel, which no object fits and
    no detection survives. Its embedding still serves the masks.
    """
    fitted, distinct = fit_any_anchors(sizes, per_level * 4 // 3, levels=3, **kwargs)
    finest = tuple((1e-3 + 1e-5 * i, 1e-3) for i in range(fitted.per_level))
    return replace(fitted, sizes=(finest, *fitted.sizes)), distinct


def sized(**fields):
    """Size n with other fields."""
    return patch.dict(SIZES, n=replace(SIZES["n"], **fields))


VARIANTS = {
    "addition": lambda: patch.object(architecture, "extended_fpn", added_fpn),
    "without the fourth level": lambda: patch.object(run, "fit_any_anchors", three_level_anchors),
    "masks 14 x 14": lambda: patch.object(network, "build_mask_subnet", coarse_mask_subnet),
    "dense mask branch": lambda: sized(dense_branch=True),
    "five convolutions in the neck": lambda: sized(neck_pairs=2),
    "48 embedding and 64 mask channels": lambda: sized(embedding=48, mask_channels=64),
    "both": lambda: sized(neck_pairs=2, embedding=48, mask_channels=64),
    "Mish backbone": lambda: sized(backbone_activation="mish"),
    "Mish everywhere": lambda: sized(backbone_activation="mish", neck_activation="mish"),
    "SiLU everywhere": lambda: sized(backbone_activation="silu", neck_activation="silu"),
    "ReLU everywhere": lambda: sized(backbone_activation="relu", neck_activation="relu"),
}


def variant(name: str) -> AbstractContextManager:
    """A block in which networks of size n are built as `name` says; as usual for other names."""
    return VARIANTS[name]() if name in VARIANTS else nullcontext()
