"""What a training is asked for, as the command's flags, and what becomes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from yoloseg.errors import UsageError

SHAPES_EPOCHS = 5  # six and a half minutes on two cores
DEFAULT_EPOCHS = 100


@dataclass(frozen=True)
class TrainConfig:
    """Train a network. Without any flag: size n on the built-in shapes, in under ten minutes on two cores."""

    data: str = "shapes"
    """A data file (YAML, see docs/formats.md), a folder that an annotation tool exported, or `shapes` (built
    in)."""
    size: Literal["n", "s", "m", "l"] = "n"
    """Size of the network; `l` is YOLOv4+1 as published."""
    imgsz: Annotated[tuple[int, ...], tyro.conf.arg(metavar="H [W]")] = ()
    """Network input, multiples of 32: one number for a square. Default 416; 192 256 for the shapes."""
    epochs: int | None = None
    """Passes over the training pictures; 100 if neither --epochs nor --minutes is given, 5 for the shapes.
    Ten and more begin on smaller pictures and augment by more than flips."""
    minutes: float | None = None
    """Train for this long instead, from the command's start to its report: the number of epochs is fixed by
    the speed measured at the start."""
    batch: int | None = None
    """Pictures a step; the recipe's if not given: 16, `paper` 8. Fewer need less memory and learn less."""
    accumulate: int = 1
    """Batches whose gradients make one step of the optimiser: a large batch in the memory of a small one."""
    patience: int | None = None
    """Stop when mask AP has not risen for this many evaluations; never if not given."""
    recipe: str = "default"
    """`paper` has the choices of the YOLOv4+1 report and its code; `default` is ours
    (six epochs of the shapes: mask AP50 .036, by an earlier version, against .648); or a YAML file of what
    differs from one of them: learning rate, augmentation, gains (README, "Your own recipe")."""
    sampling: Literal["uniform", "repeat-factor", "class-aware"] = "uniform"
    """How often pictures come: all alike; those of rare classes more (Gupta et al. 2019); or all classes
    alike."""
    repeat_threshold: float = 0.001
    """Share of the pictures below which a class is rare, for --sampling repeat-factor."""
    weights: Path | None = None
    """Weights to start from: a .keras or .weights.h5 file, also of other classes, or Darknet's
    (yolov4.weights, yolov4.conv.137, csdarknet53-omega; --size l). Layers that fit are loaded, the rest is
    listed."""
    until: int | None = None
    """The last layer of a Darknet file to load, as its cfg counts: 104 for the backbone, 136 for all to
    P3."""
    freeze: Literal["none", "backbone"] | None = None
    """Leave these layers of --weights and their BatchNorm statistics as they are. By default none; recipe
    `paper` with --weights: the backbone for two epochs."""
    freeze_epochs: int | None = None
    """Do so in the first epochs only."""
    loaded_rate: float = 1.0
    """Factor on the learning rate of the layers that --weights loaded."""
    anchors: Path | None = None
    """Anchors that `yoloseg anchors` wrote; fitted to the training boxes if not given."""
    max_detections: int | None = None
    """Detections that the network keeps of a picture, 1,000 at most; if not given 100, or as many as the
    fullest training picture has objects. Many take memory, and time in every evaluation."""
    seed: int = 0
    """Of weights, order of pictures and augmentation."""
    out: Path | None = None
    """Run folder; runs/train, runs/train2, ... if not given."""
    resume: bool = False
    """Go on with the run in --out that was stopped, after the last epoch that was saved."""
    workers: int = 2
    """Threads that read pictures."""
    devices: int = 1
    """Devices of this machine that share each batch; more than one needs KERAS_BACKEND=jax."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Number format of the layers; weights and losses stay float32. mixed_bfloat16 takes a quarter less
    memory and time on a processor with AVX512-BF16; on others it was not measured."""

    def __post_init__(self):
        if self.epochs is not None and self.minutes is not None:
            raise UsageError("give --epochs or --minutes, not both")
        for name in ("epochs", "minutes", "batch", "accumulate", "patience", "devices", "freeze_epochs"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"--{name.replace('_', '-')} must be above 0 and finite, got {value}")
        if not 0 < self.loaded_rate <= 1:
            raise UsageError(f"--loaded-rate must lie in 0..1, above 0, got {self.loaded_rate}")
        if self.weights is None and (self.until is not None or self.loaded_rate != 1):
            raise UsageError("--until and --loaded-rate are for --weights")
        if self.weights is None and self.freeze == "backbone":
            raise UsageError("--freeze backbone is for --weights: a fresh one would stay as it was drawn")
        if self.freeze_epochs is not None and self.freeze != "backbone":
            raise UsageError("--freeze-epochs needs --freeze backbone")
        if not 0 < self.repeat_threshold <= 1:
            raise UsageError(f"--repeat-threshold must lie in 0..1, got {self.repeat_threshold}")
        if self.max_detections is not None and not 0 < self.max_detections <= 1000:
            raise UsageError(f"--max-detections must lie in 1..1000, got {self.max_detections}")
        if self.seed < 0 or self.workers < 0:
            raise UsageError(f"--seed and --workers must not be negative, got {self.seed} and {self.workers}")
        if self.seed >= 2**32:
            raise UsageError(f"--seed must be below 2 ** 32, got {self.seed}")
        if self.resume and self.out is None:
            raise UsageError("--resume needs --out, the folder of the run to go on with")
        if len(self.imgsz) > 2 or any(side <= 0 or side % 32 for side in self.imgsz):
            given = " ".join(map(str, self.imgsz))
            raise UsageError(f"--imgsz must be one or two multiples of 32, got {given}")

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the network input."""
        if not self.imgsz:
            return (192, 256) if self.data == "shapes" else (416, 416)
        return (self.imgsz[0], self.imgsz[-1])

    @property
    def duration(self) -> tuple[int | None, float | None]:
        """(epochs, minutes), exactly one of them given."""
        if self.epochs is None and self.minutes is None:
            return (SHAPES_EPOCHS if self.data == "shapes" else DEFAULT_EPOCHS), None
        return self.epochs, self.minutes
