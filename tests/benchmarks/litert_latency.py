"""Latency of the LiteRT file of an untrained network, beside any ONNX network: one thread, turn by turn.

    python -m tests.benchmarks.litert_latency [--size n] [--imgsz 416] [--repeats 15] [--onnx FILE.onnx]

A frame of the network's own size in, 20 mask slots out, all of them computed. The ONNX network is run alone,
on float32 noise of its input's shape, without whatever post-processing it needs.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter

from yoloseg.exporting import export_model
from yoloseg.inference.benchmark import rendered_picture, untrained_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", default="n")
    parser.add_argument("--imgsz", type=int, default=416)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--onnx")
    options = parser.parse_args()
    picture = rendered_picture(options.imgsz, options.imgsz)
    model = untrained_network(options.size, picture.shape[:2], picture)
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        path = export_model(model, Path(folder) / "untrained.tflite", "litert", threshold=0.0)
        runner = Interpreter(str(path), num_threads=1).get_signature_runner("serving_default")
        runs[f"{options.size} LiteRT"] = lambda: runner(frames=picture[None])
        if options.onnx:
            settings = onnxruntime.SessionOptions()
            settings.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(options.onnx, settings)
            entry = session.get_inputs()[0]
            noise = np.random.default_rng(0).random(entry.shape, np.float32)
            runs[options.onnx] = lambda: session.run(None, {entry.name: noise})
        seconds = {name: [] for name in runs}
        for step in range(options.repeats + 3):
            for name, run in runs.items():
                begun = time.perf_counter()
                run()
                if step >= 3:
                    seconds[name].append(time.perf_counter() - begun)
    for name, values in seconds.items():
        print(f"{name}: {1e3 * min(values):.1f} ms at best, median {1e3 * np.median(values):.1f}")


if __name__ == "__main__":
    main()
