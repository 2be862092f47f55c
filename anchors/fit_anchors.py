"""Fits anchors by k-means with distance 1 - IoU: the same as `python -m yoloseg.anchors`.

    python anchors/fit_anchors.py --data FILE.yaml --per-level 3 --out anchors.json
"""

import sys

from yoloseg.anchors import main

if __name__ == "__main__":
    sys.exit(main())
