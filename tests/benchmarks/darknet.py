"""Darknet's YOLOv4: time and memory of loading, and of prediction beside OpenCV's DNN on the same weights.

    python -m tests.benchmarks.darknet [--imgsz 416] [--threads 1] [--repeats 15] [--load|--parity|--export]

Random weights, 258 MB. A picture of 640 x 480 in, boxes after suppression out, turn by turn in one process;
the threshold is one that a hundred candidates pass. OpenCV decodes, its boxes are left unsuppressed; version
5 cannot read Darknet's files any more (`pip install "opencv-python-headless<5"`). --load: loading alone, with
what memory it adds. --parity: how far outputs are from OpenCV's instead of times. --export: YOLOv4 and
YOLOv4-tiny as exported files: bytes, how far boxes and scores are from the detector's own on pictures of
three shapes, and times; OpenCV's network is not run.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "references"))
CANDIDATES = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--imgsz", type=int, default=416)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--load", action="store_true")
    parser.add_argument("--parity", action="store_true")
    parser.add_argument("--export", action="store_true")
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(options.threads)  # read when TensorFlow starts, below
    from darknet_graphs import yolov4, yolov4_tiny

    with tempfile.TemporaryDirectory() as folder:
        cfg, weights = written(yolov4(options.imgsz, options.imgsz), Path(folder) / "yolov4.cfg")
        if options.export:
            exported(cfg, weights, options)
            tiny = yolov4_tiny(options.imgsz, options.imgsz)
            return exported(*written(tiny, Path(folder) / "yolov4-tiny.cfg"), options)
        if options.load:
            return load_times(cfg, weights)
        if options.parity:
            return parity(cfg, weights, options.imgsz)
        predict_times(cfg, weights, options)


def written(graph, cfg: Path) -> tuple[Path, Path]:
    from darknet_graphs import random_weights

    weights = cfg.with_suffix(".weights")
    cfg.write_text(str(graph))
    weights.write_bytes(random_weights(graph))
    return cfg, weights


def load_times(cfg: Path, weights: Path) -> None:
    """Memory is the peak over what the process held before; the model itself is in that."""
    import yoloseg.darknet
    from yoloseg.inference.benchmark import rendered_picture, untrained_network

    untrained_network("n", (64, 64), rendered_picture(80, 80))  # TensorFlow's start is not counted
    anchors = [[(16, 16)]] * 4
    from yoloseg.modeling.network import YoloSeg

    model = YoloSeg("l", ["thing"], anchors, (416, 416))
    before = reset_peak()
    begun = time.perf_counter()
    report = yoloseg.darknet.load_into(model, weights)
    seconds = time.perf_counter() - begun
    print(f"into l: {seconds:.2f} s, {peak() - before:.0f} MB at its peak over {before:.0f} MB")
    print(str(report).splitlines()[0])
    before = reset_peak()
    begun = time.perf_counter()
    yoloseg.darknet.load(cfg, weights)
    seconds = time.perf_counter() - begun
    print(f"as a detector, graph included: {seconds:.2f} s, {peak() - before:.0f} MB at its peak more")


def reset_peak() -> float:
    """Sets the peak to the memory held now; returns that, in MB. Linux."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def opencv_network(cfg: Path, weights: Path):
    import cv2

    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        sys.exit(f"OpenCV {cv2.__version__} does not read Darknet's files; install one below 5")
    return cv2.dnn.readNetFromDarknet(str(cfg), str(weights))


def parity(cfg: Path, weights: Path, imgsz: int) -> None:
    """Largest difference of each output, over its largest value; with OpenCV's epsilon in BatchNorm."""
    from unittest.mock import patch

    import cv2

    import yoloseg.darknet
    from yoloseg.darknet import graph

    network = opencv_network(cfg, weights)
    network.enableFusion(False)
    network.enableWinograd(False)
    image = np.random.default_rng(0).random((imgsz, imgsz, 3), np.float32)
    network.setInput(cv2.dnn.blobFromImage(image))
    with patch.object(graph, "BATCH_NORM_EPSILON", 1e-6):
        detector = yoloseg.darknet.load(cfg, weights)
    names = [f"conv_{index}" for index in detector.plan.outputs]
    for name, theirs, ours in zip(names, network.forward(names), detector.outputs(image), strict=True):
        theirs = theirs[0].transpose(1, 2, 0)
        print(f"{name} {theirs.shape}: {np.abs(ours - theirs).max() / np.abs(theirs).max():.1e}")


def predict_times(cfg: Path, weights: Path, options) -> None:
    import cv2
    import keras

    import yoloseg.darknet
    from yoloseg.exporting.fold import folded
    from yoloseg.inference.benchmark import rendered_picture

    cv2.setNumThreads(options.threads)
    opencv = opencv_network(cfg, weights)
    heads = opencv.getUnconnectedOutLayersNames()
    detector = yoloseg.darknet.load(cfg, weights)
    fold = folded(detector.network, detector.imgsz)
    fold.compile(jit_compile=keras.backend.backend() == "jax")
    picture = rendered_picture()
    image = detector.image(picture)
    threshold = threshold_of(detector, image)

    def in_opencv() -> object:
        opencv.setInput(cv2.dnn.blobFromImage(picture, 1 / 255, detector.imgsz[::-1]))
        return opencv.forward(heads)

    runs = {
        "OpenCV": in_opencv,
        "yoloseg, find": lambda: detector.find([picture], threshold, CANDIDATES),
        "yoloseg, network alone": lambda: detector.outputs(image),
        "yoloseg, network with BatchNorm folded": lambda: fold.predict_on_batch(image[None]),
    }
    seconds = {name: [] for name in runs}
    for step in range(options.repeats + 3):
        for name, run in runs.items():
            begun = time.perf_counter()
            run()
            if step >= 3:
                seconds[name].append(time.perf_counter() - begun)
    print(f"OpenCV {cv2.__version__}, {options.imgsz} x {options.imgsz}, {options.threads} threads")
    for name, values in seconds.items():
        median, ratio = 1e3 * np.median(values), min(values) / min(seconds["OpenCV"])
        print(f"{name}: {1e3 * min(values):.0f} ms at best, median {median:.0f}; {ratio:.2f} of OpenCV's")


def threshold_of(detector, image: np.ndarray) -> float:
    """A score between those of box CANDIDATES and of the next, boxes counted once for each class."""
    from yoloseg.darknet.decode import candidates

    scores = [
        candidates(output, head, detector.imgsz, 0.0)[1]
        for output, head in zip(detector.outputs(image), detector.plan.heads, strict=True)
    ]
    return float(np.sort(np.concatenate(scores))[-CANDIDATES - 1 :][:2].mean())


def exported(cfg: Path, weights: Path, options) -> None:
    import yoloseg
    from yoloseg.exporting import export_model
    from yoloseg.inference.benchmark import rendered_picture

    detector = yoloseg.darknet.load(cfg, weights)
    picture = rendered_picture()
    pictures = [np.ascontiguousarray(part) for part in (picture, picture.swapaxes(0, 1), picture[:416, :416])]
    thresholds = [threshold_of(detector, detector.image(picture)) for picture in pictures]
    asked = list(zip(pictures, thresholds, strict=True))
    expected = [detector.find([picture], threshold, CANDIDATES)[0] for picture, threshold in asked]
    kinds = [("savedmodel", "float32", ""), ("onnx", "float32", ".onnx")]
    kinds += [("litert", precision, ".tflite") for precision in ("float32", "float16", "dynamic-int8")]
    for format, precision, suffix in kinds:
        path = weights.with_name(f"{weights.stem}-{precision}{suffix}")
        export_model(detector, path, format, threshold=min(thresholds), precision=precision)
        size = sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())
        model = yoloseg.load(path, threads=options.threads)
        found = [model.find([picture], threshold, CANDIDATES)[0] for picture, threshold in asked]
        seconds = []
        for _ in range(options.repeats):
            begun = time.perf_counter()
            model.find([picture], thresholds[0], CANDIDATES)
            seconds.append(time.perf_counter() - begun)
        print(
            f"{weights.stem} {format} {precision}: {size:,} bytes, {difference(found, expected)}; "
            f"{1e3 * min(seconds):.0f} ms at best, median {1e3 * np.median(seconds):.0f}"
        )


def difference(found: list, expected: list) -> str:
    """Each box of the detector beside the nearest of its class in the file's; of those that have one, pixels
    and score: the largest difference, and the median."""
    boxes, scores = [], []
    for ours, theirs in zip(found, expected, strict=True):
        for box, score, number in zip(theirs.boxes, theirs.scores, theirs.class_ids, strict=True):
            same = np.nonzero(ours.class_ids == number)[0]
            if len(same):
                apart = np.abs(ours.boxes[same] - box).max(1)
                boxes.append(apart.min())
                scores.append(abs(ours.scores[same[apart.argmin()]] - score))
    counts = " + ".join(f"{len(ours)} of {len(theirs)}" for ours, theirs in zip(found, expected, strict=True))
    return (
        f"{counts} boxes, off by {max(boxes):.1e} pixels and {max(scores):.1e} of score at most, "
        f"medians {np.median(boxes):.1e} and {np.median(scores):.1e}"
    )


if __name__ == "__main__":
    main()
