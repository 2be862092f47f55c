"""Exports a trained network as one .onnx file; the same as `yoloseg export --format onnx`.

    python export/export_onnx.py --weights runs/animals/best.keras --out animals.onnx

`--help` says what else there is. The file runs without yoloseg: `run_onnx.py` beside this.
"""

import sys

from yoloseg.export import main

if __name__ == "__main__":
    sys.exit(main([*sys.argv[1:], "--format", "onnx"]))
