"""Frames a second of `yoloseg track`, decoding to written mp4, beside the network's own time a frame.

    python tests/benchmarks/tracking_pipeline.py --weights animals.tflite --source clip.mp4 --instances 5

The threshold is set so that the clip has about so many instances a frame. Turn by turn: the network alone
on decoded frames (find: letterbox, network, masks), then the whole command; best and median of the repeats.
"""

import argparse
import contextlib
import io
import re
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from yoloseg.inference.exported import load_exported
from yoloseg.inference.sources import open_source
from yoloseg.track import Options, follow


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--instances", type=float, default=5.0)
    parser.add_argument("--threads", type=int, help="of the network; all cores if not given")
    parser.add_argument("--networks", type=int, help="at the same time; as the command chooses if not given")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    finder = load_exported(options.weights, options.threads)
    frames = [frame.image for frame in open_source(options.source)]
    scores = np.concatenate([finder.find([frame], 0.0, 100)[0].scores for frame in frames])
    keep = min(round(options.instances * len(frames)), len(scores))
    threshold = float(np.sort(scores)[-keep])
    alone, whole = [], []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "o.mp4"
        flags = Options(
            options.weights,
            options.source,
            out,
            save_json=True,
            conf=threshold,
            networks=options.networks,
            threads=options.threads,
        )
        for _ in range(options.repeats):
            started = time.perf_counter()
            for frame in frames:
                finder.find([frame], threshold, 100)
            alone.append(1000 * (time.perf_counter() - started) / len(frames))
            told = io.StringIO()
            with contextlib.redirect_stdout(told):
                follow(flags)
            whole.append(1000 / float(re.search(r"([\d.]+) frames/s; network", told.getvalue()).group(1)))
    height, width = frames[0].shape[:2]
    print(
        f"{len(frames)} frames of {width} x {height}, {keep / len(frames):.1f} instances a frame: network "
        f"alone {min(alone):.1f} ms ({median(alone):.1f}), the whole command {min(whole):.1f} ms "
        f"({median(whole):.1f}), {1000 / min(whole):.1f} frames/s, {min(whole) / min(alone) - 1:+.0%}"
    )


if __name__ == "__main__":
    main()
