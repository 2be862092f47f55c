"""Size n on the built-in moving shapes: the main job, in under ten minutes on two cores.

    python train/shapes_n.py            (the same as `python -m yoloseg.train --out runs/shapes_n`)

Five epochs, 375 steps of batch 16, about eight minutes; docs/measured.md has what it reaches on the 120
validation frames.
"""

from pathlib import Path

from yoloseg.training.config import TrainConfig
from yoloseg.training.run import train

CONFIG = TrainConfig(data="shapes", size="n", out=Path("runs/shapes_n"))

if __name__ == "__main__":
    train(CONFIG)
