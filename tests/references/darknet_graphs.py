"""Darknet's cfg text of YOLOv4 and random but sane weights for it, written from a description of the network
(design: arXiv 2004.10934, and the table of its layers that everyone's readers agree on): for OpenCV, which is
the independent implementation that is compared with.
"""

import numpy as np

ANCHORS = "12,16, 19,36, 40,28, 36,75, 76,55, 72,146, 142,110, 192,243, 459,401"
TINY_ANCHORS = "10,14, 23,27, 37,58, 81,82, 135,169, 344,319"


class Cfg:
    """Sections of a cfg, one after the other, with the channels that each gives.

    narrow: divides the filters of every convolution with batch normalisation.
    """

    def __init__(self, height, width, narrow=1):
        self.text = [f"[net]\nbatch=1\nwidth={width}\nheight={height}\nchannels=3\n"]
        self.narrow = narrow
        self.channels = []
        self.convolutions = []  # (filters, channels in of a group, kernel size, batch normalisation)
        self.branches = set()  # those that end a residual branch

    @property
    def last(self):
        """Index of the last layer."""
        return len(self.channels) - 1

    def add(self, kind, channels, **options):
        lines = "".join(f"{key}={value}\n" for key, value in options.items())
        self.text.append(f"[{kind}]\n{lines}")
        self.channels.append(channels)
        return self.last

    def conv(self, filters, size, stride=1, activation="leaky", normalised=True, groups=1):
        before = self.channels[-1] if self.channels else 3
        filters = filters // self.narrow if normalised else filters
        self.convolutions.append((filters, before // groups, size, normalised))
        first = {"batch_normalize": 1} if normalised else {}
        first |= {"groups": groups} if groups > 1 else {}
        options = {"filters": filters, "size": size, "stride": stride, "pad": 1, "activation": activation}
        return self.add("convolutional", filters, **first, **options)

    def route(self, *layers, groups=1, group_id=0):
        """By absolute index, written as a relative one."""
        own = len(self.channels)
        numbers = ",".join(str(layer - own) for layer in layers)
        part = {"groups": groups, "group_id": group_id} if groups > 1 else {}
        channels = sum(self.channels[layer] // groups for layer in layers)
        return self.add("route", channels, layers=numbers, **part)

    def shortcut(self, layer, activation="linear"):
        number = layer - len(self.channels)
        self.branches.add(len(self.convolutions) - 1)
        return self.add("shortcut", self.channels[-1], **{"from": number, "activation": activation})

    def maxpool(self, size, stride=1, **padding):
        return self.add("maxpool", self.channels[-1], size=size, stride=stride, **padding)

    def upsample(self, stride=2):
        return self.add("upsample", self.channels[-1], stride=stride)

    def yolo(self, mask, classes, scale, anchors=ANCHORS, **more):
        num = len(anchors.split(",")) // 2
        options = {"mask": mask, "anchors": anchors, "classes": classes, "num": num, "scale_x_y": scale}
        return self.add("yolo", self.channels[-1], **options, **more)

    def __str__(self):
        return "\n".join(self.text)


def yolov4(height, width, classes=80, narrow=1):
    """The Cfg of YOLOv4; it has 110 convolutions."""
    cfg = Cfg(height, width, narrow)
    cfg.conv(32, 3, activation="mish")
    stages = []
    for filters, blocks in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        half = 64 if filters == 64 else filters // 2
        down = cfg.conv(filters, 3, 2, activation="mish")
        part = cfg.conv(half, 1, activation="mish")
        cfg.route(down)
        x = cfg.conv(half, 1, activation="mish")
        for _ in range(blocks):
            cfg.conv(32 if filters == 64 else half, 1, activation="mish")
            cfg.conv(half, 3, activation="mish")
            x = cfg.shortcut(x)
        end = cfg.conv(half, 1, activation="mish")
        cfg.route(end, part)
        stages.append(cfg.conv(filters, 1, activation="mish"))
    for filters, size in ((512, 1), (1024, 3), (512, 1)):
        x = cfg.conv(filters, size)
    pools = [cfg.maxpool(5)]
    for size in (9, 13):
        cfg.route(x)
        pools.append(cfg.maxpool(size))
    cfg.route(pools[2], pools[1], pools[0], x)
    for filters, size in ((512, 1), (1024, 3), (512, 1)):
        p5 = cfg.conv(filters, size)

    def mix(filters):
        for k in range(5):
            end = cfg.conv(filters * (1 + k % 2), 3 if k % 2 else 1)
        return end

    tops = [p5]
    for filters, stage in ((256, stages[3]), (128, stages[2])):
        cfg.conv(filters, 1)
        up = cfg.upsample()
        cfg.route(stage)
        lateral = cfg.conv(filters, 1)
        cfg.route(lateral, up)
        tops.append(mix(filters))
    below = tops[2]
    heads = ((256, "0,1,2", 1.2), (512, "3,4,5", 1.1), (1024, "6,7,8", 1.05))
    for level, (filters, mask, scale) in enumerate(heads):
        if level:
            cfg.route(below)
            down = cfg.conv(filters // 2, 3, 2)
            cfg.route(down, tops[2 - level])
            below = mix(filters // 2)
        cfg.conv(filters, 3)
        cfg.conv(3 * (5 + classes), 1, activation="linear", normalised=False)
        cfg.yolo(mask, classes, scale)
    return cfg


def yolov4_tiny(height, width, classes=80, narrow=1):
    """The Cfg of YOLOv4-tiny; it has 21 convolutions."""
    cfg = Cfg(height, width, narrow)
    cfg.conv(32, 3, 2)
    cfg.conv(64, 3, 2)
    for filters in (64, 128, 256):
        whole = cfg.conv(filters, 3)
        cfg.route(whole, groups=2, group_id=1)
        first = cfg.conv(filters // 2, 3)
        second = cfg.conv(filters // 2, 3)
        cfg.route(second, first)
        stage = cfg.conv(filters, 1)
        cfg.route(whole, stage)
        cfg.maxpool(2, 2)
    cfg.conv(512, 3)
    below = cfg.conv(256, 1)
    cfg.conv(512, 3)
    cfg.conv(3 * (5 + classes), 1, activation="linear", normalised=False)
    cfg.yolo("3,4,5", classes, 1.05, TINY_ANCHORS)
    cfg.route(below)
    cfg.conv(128, 1)
    up = cfg.upsample()
    cfg.route(up, stage)
    cfg.conv(256, 3)
    cfg.conv(3 * (5 + classes), 1, activation="linear", normalised=False)
    cfg.yolo("1,2,3", classes, 1.05, TINY_ANCHORS)
    return cfg


def random_weights(cfg, seed=0):
    """The bytes of a weights file for a Cfg: header of version 0.2.5 and float32 values. Kernels are
    He-scaled, a fifth of that where a residual branch ends; variances near 1."""
    rng = np.random.default_rng(seed)
    parts = [np.array([0, 2, 5], np.int32).tobytes(), np.array([0], np.int64).tobytes()]
    for number, (filters, before, size, normalised) in enumerate(cfg.convolutions):
        values = [rng.normal(0, 0.1, filters)]
        if normalised:
            mean = rng.normal(0, 0.1, filters)
            values += [rng.uniform(0.8, 1.2, filters), mean, rng.uniform(0.8, 1.2, filters)]
        fan_in = before * size * size
        gain = 0.2 if number in cfg.branches else 1.0
        values.append(rng.normal(0, gain * (2 / fan_in) ** 0.5, filters * fan_in))
        parts += [value.astype(np.float32).tobytes() for value in values]
    return b"".join(parts)
