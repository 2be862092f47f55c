"""Darknet's cfg text of YOLOv4 and random but sane weights for it, written from a description of the network
(design: arXiv 2004.10934, and the table of its layers that everyone's readers agree on): for OpenCV, which is
the independent implementation that is compared with.
"""

import numpy as np

ANCHORS = "12,16, 19,36, 40,28, 36,75, 76,55, 72,146, 142,110, 192,243, 459,401"


class Cfg:
    """Sections of a cfg, one after the other, with the channels that each gives."""

    def __init__(self, height, width):
        self.text = [f"[net]\nbatch=1\nwidth={width}\nheight={height}\nchannels=3\n"]
        self.channels = []
        self.convolutions = []  # (filters, channels in, kernel size, batch normalisation)

    @property
    def last(self):
        """Index of the last layer."""
        return len(self.channels) - 1

    def add(self, kind, channels, **options):
        lines = "".join(f"{key}={value}\n" for key, value in options.items())
        self.text.append(f"[{kind}]\n{lines}")
        self.channels.append(channels)
        return self.last

    def conv(self, filters, size, stride=1, activation="leaky", normalised=True):
        before = self.channels[-1] if self.channels else 3
        self.convolutions.append((filters, before, size, normalised))
        first = {"batch_normalize": 1} if normalised else {}
        options = {"filters": filters, "size": size, "stride": stride, "pad": 1, "activation": activation}
        return self.add("convolutional", filters, **first, **options)

    def route(self, *layers):
        """By absolute index."""
        own = len(self.channels)
        numbers = ",".join(str(layer - own) for layer in layers)
        return self.add("route", sum(self.channels[layer] for layer in layers), layers=numbers)

    def shortcut(self, layer):
        number = layer - len(self.channels)
        return self.add("shortcut", self.channels[-1], **{"from": number, "activation": "linear"})

    def maxpool(self, size, stride=1):
        return self.add("maxpool", self.channels[-1], size=size, stride=stride)

    def upsample(self):
        return self.add("upsample", self.channels[-1], stride=2)

    def yolo(self, mask, classes, scale):
        options = {"mask": mask, "anchors": ANCHORS, "classes": classes, "num": 9, "scale_x_y": scale}
        return self.add("yolo", 0, **options)

    def __str__(self):
        return "\n".join(self.text)


def yolov4(height, width, classes=80):
    """The Cfg of YOLOv4; it has 110 convolutions."""
    cfg = Cfg(height, width)
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


def random_weights(cfg, seed=0):
    """The bytes of a weights file for a Cfg: header of version 0.2.5 and float32 values, He-scaled kernels,
    variances near 1."""
    rng = np.random.default_rng(seed)
    parts = [np.array([0, 2, 5], np.int32).tobytes(), np.array([0], np.int64).tobytes()]
    for filters, before, size, normalised in cfg.convolutions:
        values = [rng.normal(0, 0.1, filters)]
        if normalised:
            mean = rng.normal(0, 0.1, filters)
            values += [rng.uniform(0.8, 1.2, filters), mean, rng.uniform(0.8, 1.2, filters)]
        fan_in = before * size * size
        values.append(rng.normal(0, (2 / fan_in) ** 0.5, filters * fan_in))
        parts += [value.astype(np.float32).tobytes() for value in values]
    return b"".join(parts)
