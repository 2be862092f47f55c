"""Exports a trained network as a SavedModel folder; the same as `yoloseg export --format savedmodel`.

    python export/export_savedmodel.py --weights runs/animals/best.keras --out animals_savedmodel

`--help` says what else there is. The file runs without yoloseg: `run_savedmodel.py` beside this.
"""

import sys

from yoloseg.export import main

if __name__ == "__main__":
    sys.exit(main([*sys.argv[1:], "--format", "savedmodel"]))
