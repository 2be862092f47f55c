"""The whole architecture on one page: CSPDarknet53, SPP, extended FPN, heads, mask subnet.

YOLOv4+1 of Rossetti, Zharkynbek, Pirri, "Video Instance Segmentation Challenge 2021 with YoloV4+1Tr":
YOLOv4 (Bochkovskiy et al., arXiv 2004.10934) with a fourth pyramid level at stride 4, an embedding map a
level and a mask subnet on ROIs. Comments give stride and channels at size `l`. Concatenation orders are
Darknet's.
"""

from __future__ import annotations

import keras
from keras import layers

from yoloseg.modeling.blocks import BRANCH_GAMMA, conv, csp_stage, group_conv, linear, mixed
from yoloseg.modeling.sizes import Size

LEVELS = ("P2", "P3", "P4", "P5")
STRIDES = (4, 8, 16, 32)


def backbone(image, size: Size):
    """CSPDarknet53 without its classifier (YOLOv4, section 3.4). Returns C2, C3, C4 and the map of CSP5."""
    c, n, act = size.channels, size.repeats, size.backbone_activation
    x = conv(image, c(32), 3, act=act, name="stem")                                        # /1     32
    x = csp_stage(x, c(64), split=c(64), hidden=c(32), repeats=1, act=act, name="csp1")    # /2     64
    c2 = csp_stage(x, c(128), split=c(64), repeats=n(2), act=act, name="csp2")             # /4    128
    c3 = csp_stage(c2, c(256), split=c(128), repeats=n(8), act=act, name="csp3")           # /8    256
    c4 = csp_stage(c3, c(512), split=c(256), repeats=n(8), act=act, name="csp4")           # /16   512
    c5 = csp_stage(c4, c(1024), split=c(512), repeats=n(4), act=act, name="csp5")          # /32  1024
    return c2, c3, c4, c5


def spatial_pyramid_pooling(x, size: Size):
    """SPP (He et al., arXiv 1406.4729) as in YOLOv4: 1024 -> 512 channels at stride 32."""
    c, act = size.channels, size.neck_activation
    for i, (filters, kernel) in enumerate([(512, 1), (1024, 3), (512, 1)]):
        x = conv(x, c(filters), kernel, act=act, name=f"spp_in{i}")
    pools = [layers.MaxPooling2D(k, strides=1, padding="same", name=f"spp_pool{k}")(x) for k in (13, 9, 5)]
    x = layers.Concatenate(name="spp_concat")([*pools, x])                                 # /32  2048
    for i, (filters, kernel) in enumerate([(512, 1), (1024, 3), (512, 1)]):
        x = conv(x, c(filters), kernel, act=act, name=f"spp_out{i}")
    return x


def extended_fpn(c2, c3, c4, c5, size: Size):
    """Top-down, then bottom-up, by concatenation (PANet, arXiv 1803.01534); the "+1" is level 2."""
    c, act, pairs = size.channels, size.neck_activation, size.neck_pairs
    p = {"P5": c5}                                                                         # /32   512
    for level, below, lateral, f in (("P4", "P5", c4, 256), ("P3", "P4", c3, 128), ("P2", "P3", c2, 64)):
        up = conv(p[below], c(f), 1, act=act, name=f"{level}_reduce", gamma=BRANCH_GAMMA)
        up = layers.UpSampling2D(2, interpolation="nearest", name=f"{level}_up")(up)
        lateral = conv(lateral, c(f), 1, act=act, name=f"{level}_lateral")
        x = layers.Concatenate(name=f"{level}_concat")([lateral, up])
        p[level] = mixed(x, c(f), pairs=pairs, act=act, name=level)                   # /16 256, /8 128, /4 64
    n = {"P2": p["P2"]}                                                                    # /4     64
    for level, above, f in (("P3", "P2", 128), ("P4", "P3", 256), ("P5", "P4", 512)):
        down = conv(n[above], c(f), 3, stride=2, act=act, name=f"N{level[1]}_down", gamma=BRANCH_GAMMA)
        x = layers.Concatenate(name=f"N{level[1]}_concat")([down, p[level]])
        n[level] = mixed(x, c(f), pairs=pairs, act=act, name=f"N{level[1]}")        # /8 128, /16 256, /32 512
    return n


def heads(x, level: str, size: Size, num_anchors: int, num_classes: int, classes_per_anchor: bool):
    """One level: float32 logits of boxes A x 4, objectness A and classes (A x) K, and the embedding map.

    Channels are anchor-major: channel a * 4 + j of `boxes` is delta j of anchor a. One class needs no class
    logits.
    """
    at_full_width = {"P2": 64, "P3": 128, "P4": 256, "P5": 512}[level]
    filters = max(64, size.channels(at_full_width))  # fewer are too few to tell classes apart
    features = conv(x, filters, 3, act=size.neck_activation, name=f"{level}_predict")
    channels = {"boxes": num_anchors * 4, "objectness": num_anchors}
    if num_classes > 1:
        channels["classes"] = num_classes * (num_anchors if classes_per_anchor else 1)
    bias = {"objectness": -6.0}  # few anchors hold an object
    outputs = {
        name: linear(
            features,
            count,
            1,
            name=f"{level}_{name}",
            start=keras.initializers.RandomNormal(stddev=0.01),
            bias=bias.get(name, 0.0),
            dtype="float32",
        )
        for name, count in channels.items()
    }
    return outputs | {"embedding": linear(x, size.embedding, 3, name=f"{level}_embedding")}


def build_network(size: Size, num_anchors: int, num_classes: int, classes_per_anchor: bool) -> keras.Model:
    """Picture [B, H, W, 3] in 0..255 (H, W multiples of 32) -> {"P2": {"boxes", "objectness", "classes",
    "embedding"}, ...}, as `heads` says.
    """
    image = keras.Input((None, None, 3), name="image")
    x = layers.Rescaling(1 / 255, name="rescale")(image)
    c2, c3, c4, c5 = backbone(x, size)
    c5 = spatial_pyramid_pooling(c5, size)
    n = extended_fpn(c2, c3, c4, c5, size)
    outputs = {
        level: heads(n[level], level, size, num_anchors, num_classes, classes_per_anchor) for level in LEVELS
    }
    return keras.Model(image, outputs, name="network")


def build_mask_subnet(size: Size) -> keras.Model:
    """Four ROI cuts [R, 14, 14, E] (one from each level) -> mask logits [R, 28, 28], float32.

    Adaptive feature pooling fused by element-wise max and, in branch b, fully-connected fusion: PANet,
    sections 3.2 and 3.3.
    """
    c = size.mask_channels
    cuts = [keras.Input((14, 14, size.embedding), name=f"{level}_roi") for level in LEVELS]
    x = [group_conv(cut, c, name=f"{level}_mask") for level, cut in zip(LEVELS, cuts, strict=True)]
    x = layers.Maximum(name="fuse")(x)
    x = group_conv(x, c, name="mask1")
    x = group_conv(x, c, name="mask2")                                                     # 14 x 14  256
    a = group_conv(x, c, name="mask_a")
    a = layers.Conv2DTranspose(c, 2, strides=2, activation="relu", name="mask_a_up")(a)    # 28 x 28  256
    logits = linear(a, 1, 1, name="mask_a_logits", start="glorot_uniform", dtype="float32")
    if size.dense_branch:
        b = group_conv(x, c, name="mask_b1")
        b = group_conv(b, c // 2, name="mask_b2")                                          # 14 x 14  128
        b = layers.Dense(784, name="mask_b_dense", dtype="float32")(layers.Flatten(name="mask_b_flat")(b))
        b = layers.Reshape((28, 28, 1), name="mask_b_logits", dtype="float32")(b)
        logits = layers.Concatenate(name="mask_concat", dtype="float32")([logits, b])
        logits = linear(logits, 1, 1, name="mask_logits", start="glorot_uniform", dtype="float32")
    masks = layers.Reshape((28, 28), name="masks", dtype="float32")(logits)
    return keras.Model(cuts, masks, name="mask_subnet")
