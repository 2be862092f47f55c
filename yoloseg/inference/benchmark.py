"""Time of each part of prediction: one picture in, masks at its full size out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from yoloseg.data.letterbox import letterbox
from yoloseg.errors import UsageError
from yoloseg.inference.keras_finder import KerasFinder
from yoloseg.inference.predictor import Predictor
from yoloseg.modeling.architecture import STRIDES
from yoloseg.modeling.detector import Detector
from yoloseg.modeling.network import YoloSeg

WARM_UP = 3


@dataclass
class PredictionTimes:
    """What `time_prediction` measured: seconds of every repeat for each part, by name; "total" is measured
    on its own, not added up. cores: CPU time over wall time of the totals."""

    model: YoloSeg
    picture: tuple[int, int]
    masks: int
    parts: dict[str, list[float]]
    cores: float


class Suppression(keras.Model):
    """Decoding and suppression alone: dense outputs -> proposals."""

    def __init__(self, model: YoloSeg, most: int):
        super().__init__()
        self.model, self.most = model, most

    def call(self, outputs, training=False):
        return self.model.propose(outputs, self.most)


def time_prediction(model: YoloSeg, picture: np.ndarray, masks: int, repeats: int) -> PredictionTimes:
    """Times every part and the whole. picture: uint8 [H, W, 3] RGB; masks: how many are computed and pasted.

    The dense network and suppression are timed apart, though prediction runs them as one graph.
    Raises UsageError when the network finds fewer boxes than `masks` in the picture.
    """
    most = model.max_detections
    if masks > most:
        raise UsageError(f"--masks must be at most {most}, as many as this network keeps, got {masks}")
    detector = Detector(model)
    predictor = Predictor(KerasFinder(model, detector=detector), score_threshold=0.0, max_detections=most)
    everything = predictor.predict_image(picture)
    if len(everything) < masks:
        raise UsageError(f"the network sees {len(everything)} boxes in this picture; ask for fewer --masks")
    predictor.score_threshold = float(everything.scores[masks - 1])
    jit = keras.backend.backend() == "jax"
    dense = keras.Sequential([keras.Input((*model.imgsz, 3)), model.network])
    suppression = Suppression(model, most)
    dense.compile(jit_compile=jit)
    suppression.compile(jit_compile=jit)
    images = letterbox(picture, model.imgsz)[None]
    outputs = dense.predict_on_batch(images)
    found = detector.propose(images, most)
    result = predictor.predict_image(picture)

    def paste() -> None:
        for index in range(masks):
            result.mask(index)

    def whole() -> None:
        predicted = predictor.predict_image(picture)
        for index in range(len(predicted)):
            predicted.mask(index)

    parts = {
        "letterbox": _seconds(lambda: letterbox(picture, model.imgsz), repeats),
        "dense network": _seconds(lambda: dense.predict_on_batch(images), repeats),
        "decoding and suppression": _seconds(lambda: suppression.predict_on_batch(outputs), repeats),
        f"mask subnet, {masks} masks": _seconds(lambda: detector.masks(found, 0, masks), repeats),
        f"{masks} masks pasted": _seconds(paste, repeats),
    }
    cpu, wall = time.process_time(), time.perf_counter()
    parts["total"] = _seconds(whole, repeats)
    cores = (time.process_time() - cpu) / (time.perf_counter() - wall)
    return PredictionTimes(model, picture.shape[:2], masks, parts, cores)


def print_prediction(times: PredictionTimes, threads: int, console: Console | None = None) -> None:
    """A table of the parts, in milliseconds."""
    console = console or Console(highlight=False)
    (height, width), (h, w) = times.picture, times.model.imgsz
    table = Table()
    for name in ("part", "least ms", "median ms"):
        table.add_column(name, justify="left" if name == "part" else "right")
    for name, seconds in times.parts.items():
        if name == "total":
            table.add_section()
        table.add_row(name, f"{1e3 * min(seconds):.1f}", f"{1e3 * float(np.median(seconds)):.1f}")
    console.print(
        f"size {times.model.size}, {width} x {height} picture, input {h} x {w}; {times.masks} masks"
    )
    console.print(table)
    console.print(f"{keras.backend.backend()}, {threads} threads; {times.cores:.2f} cores busy in the total")


def untrained_network(size: str, imgsz: tuple[int, int], picture: np.ndarray) -> YoloSeg:
    """Random weights, 80 classes, 3 anchors a level with one set of class logits a cell (recipe `default`);
    BatchNorm has the statistics of this picture.

    Without those, activations of a deep network with random weights grow until all scores are 0 or 1.
    """
    keras.utils.set_random_seed(0)
    anchors = [[(s * 2.0, s * 2.0), (s * 2.0, s * 4.0), (s * 4.0, s * 2.0)] for s in STRIDES]
    model = YoloSeg(size, [f"class {k}" for k in range(80)], anchors, imgsz, classes_per_anchor=False)
    norms = [layer for layer in model.network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momentum = norms[0].momentum
    for layer in norms:
        layer.momentum = 0.0
    model(letterbox(picture, imgsz)[None], training=True)
    for layer in norms:
        layer.momentum = momentum
    return model


def resized_input(model: YoloSeg, imgsz: tuple[int, int] | None) -> YoloSeg:
    """The network, to be run at another input size; its own when `imgsz` is None."""
    if imgsz is not None:
        model.imgsz = imgsz
    return model


def rendered_picture(height: int = 480, width: int = 640) -> np.ndarray:
    """uint8 [height, width, 3]: smooth random colours, always the same."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 40, width // 40, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _seconds(function: Callable[[], object], repeats: int) -> list[float]:
    for _ in range(WARM_UP):
        function()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds
