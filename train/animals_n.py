"""Size n from scratch on 700 photographs of seven animals, 48 minutes on two cores.

    python train/animals_n.py PATH/TO/animals.yaml

As `yoloseg train --data animals.yaml --minutes 48`, in float32. docs/measured.md has what it and the same in
bfloat16 reached.
"""

import sys
from pathlib import Path

from yoloseg.training.config import TrainConfig
from yoloseg.training.run import train

CONFIG = {"size": "n", "imgsz": (416,), "minutes": 48, "out": Path("runs/animals_n")}

if __name__ == "__main__":
    train(TrainConfig(data=sys.argv[1], **CONFIG))
