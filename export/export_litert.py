"""Exports a trained network as one .tflite file; the same as `yoloseg export --format litert`.

    python export/export_litert.py --weights runs/animals/best.keras --out animals.tflite

`--help` says what else there is. The file runs without yoloseg: `run_litert.py` beside this.
"""

import sys

from yoloseg.export import main

if __name__ == "__main__":
    sys.exit(main([*sys.argv[1:], "--format", "litert"]))
