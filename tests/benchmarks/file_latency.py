"""Latency of the exported file of an untrained network beside other networks, turn by turn in one process.

    python -m tests.benchmarks.file_latency [--size n] [--format litert] [--imgsz 416] [--threads 1]
        [--repeats 15] [--onnx FILE.onnx] [--yolov4]

A frame of the network's own size in, 20 instances with masks out. An ONNX network is run alone, on float32
noise of its input's shape, without whatever post-processing it needs. --yolov4: Darknet's YOLOv4 with random
weights in OpenCV, boxes alone; OpenCV 5 cannot read it any more (`pip install "opencv-python-headless<5"`).
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", default="n")
    parser.add_argument("--format", default="litert", choices=("litert", "onnx", "savedmodel"))
    parser.add_argument("--imgsz", type=int, default=416)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--onnx")
    parser.add_argument("--yolov4", action="store_true")
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(options.threads)  # read when TensorFlow starts, below
    with tempfile.TemporaryDirectory() as folder:
        runs = {f"{options.size} {options.format}": ours(options, Path(folder))}
        if options.onnx:
            runs[options.onnx] = onnx_network(options.onnx, options.threads)
        if options.yolov4:
            runs["YOLOv4 in OpenCV"] = yolov4_network(options.imgsz, options.threads, Path(folder))
        seconds = {name: [] for name in runs}
        for step in range(options.repeats + 3):
            for name, run in runs.items():
                begun = time.perf_counter()
                run()
                if step >= 3:
                    seconds[name].append(time.perf_counter() - begun)
    for name, values in seconds.items():
        print(f"{name}: {1e3 * min(values):.1f} ms at best, median {1e3 * np.median(values):.1f}")


def ours(options, folder: Path) -> Callable[[], object]:
    """Exports the network and loads the file."""
    from yoloseg.exporting import export_model
    from yoloseg.exporting.export import SUFFIXES
    from yoloseg.inference.benchmark import rendered_picture, untrained_network

    picture = rendered_picture(options.imgsz, options.imgsz)
    model = untrained_network(options.size, picture.shape[:2], picture)
    path = folder / f"untrained{SUFFIXES[options.format]}"
    export_model(model, path, options.format, threshold=0.0, max_detections=20)
    frames = picture[None]
    if options.format == "litert":
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(str(path), num_threads=options.threads).get_signature_runner("serving_default")
        return lambda: runner(frames=frames)
    if options.format == "onnx":
        session = onnx_session(str(path), options.threads)
        return lambda: session.run(None, {"frames": frames})
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda: loaded.signatures["serving_default"](frames=tf.constant(frames))


def onnx_session(path: str, threads: int):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])


def onnx_network(path: str, threads: int) -> Callable[[], object]:
    session = onnx_session(path, threads)
    entry = session.get_inputs()[0]
    noise = np.random.default_rng(0).random(entry.shape, np.float32)
    return lambda: session.run(None, {entry.name: noise})


def yolov4_network(imgsz: int, threads: int, folder: Path) -> Callable[[], object]:
    """With its own decoding, whose boxes still need suppression."""
    import cv2

    sys.path.insert(0, str(Path(__file__).parents[1] / "references"))
    from darknet_graphs import random_weights, yolov4

    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        sys.exit(f"OpenCV {cv2.__version__} does not read Darknet's files; install one below 5")
    cv2.setNumThreads(threads)
    cfg = yolov4(imgsz, imgsz)
    (folder / "yolov4.cfg").write_text(str(cfg))
    (folder / "yolov4.weights").write_bytes(random_weights(cfg))
    network = cv2.dnn.readNetFromDarknet(str(folder / "yolov4.cfg"), str(folder / "yolov4.weights"))
    names = network.getUnconnectedOutLayersNames()
    blob = cv2.dnn.blobFromImage(np.random.default_rng(0).random((imgsz, imgsz, 3), np.float32))

    def run() -> object:
        network.setInput(blob)
        return network.forward(names)

    return run


if __name__ == "__main__":
    main()
