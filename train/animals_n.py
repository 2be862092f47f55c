"""Size n from scratch on 700 photographs of seven animals, flips only, 48 minutes on two cores.

    python train/animals_n.py PATH/TO/animals.yaml

No score yet of today's recipe.
"""

import sys
from pathlib import Path

from yoloseg.training.config import TrainConfig
from yoloseg.training.run import train

CONFIG = {"size": "n", "imgsz": (416,), "minutes": 48, "out": Path("runs/animals_n")}

if __name__ == "__main__":
    train(TrainConfig(data=sys.argv[1], **CONFIG))
