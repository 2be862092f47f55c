"""Makes lvis_reference.json: scores of random sets by the official `lvis` package.

The package needs `np.float`, which NumPy has taken out, and is not installed for the tests:

    pip install lvis==0.5.3
    python tests/references/make_lvis_reference.py
"""

import copy
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
np.float = float

from lvis import LVIS, LVISEval, LVISResults  # noqa: E402
from random_detections import random_lvis  # noqa: E402

SETS = {
    **{f"set {seed}": {"seed": seed} for seed in range(12)},
    "more than 300 in a picture": {"seed": 20, "crowded": True},
    "more than 300, boxes alone": {"seed": 21, "crowded": True, "masks": None},
    "masks alone": {"seed": 22, "boxes": False},
    "polygons": {"seed": 23, "masks": "polygons"},
    "many pictures": {"seed": 24, "images": 60, "classes": 9},
}


def official(ground_truth, results, kind):
    """{name: value} as lvis prints them."""
    truth = LVIS.__new__(LVIS)
    truth.logger = __import__("logging").getLogger("lvis")
    truth.dataset = copy.deepcopy(ground_truth)
    truth._create_index()
    evaluation = LVISEval(truth, LVISResults(truth, copy.deepcopy(results)), kind)
    evaluation.run()
    return {name: float(value) for name, value in evaluation.get_results().items()}


def main():
    reference = {}
    for name, options in SETS.items():
        ground_truth, results = random_lvis(**options)
        kinds = ["bbox"] if options.get("masks", "rle") is None else ["bbox", "segm"]
        values = {kind: official(ground_truth, results, kind) for kind in kinds}
        reference[name] = {"options": options, "detections": len(results), **values}
    path = Path(__file__).with_name("lvis_reference.json")
    path.write_text(json.dumps(reference, indent=1) + "\n")


if __name__ == "__main__":
    main()
