"""Contact sheets: a training batch as the network gets it, and ground truth beside predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yoloseg.data.loader import Loader
from yoloseg.data.records import Dataset
from yoloseg.evaluation.report import draw_ground_truth
from yoloseg.inference.drawing import draw_sample, grid, shrunk
from yoloseg.inference.predictor import Predictor
from yoloseg.inference.results import save_picture
from yoloseg.modeling.network import YoloSeg

SIDE = 400  # pixels of a tile


def save_label_sheet(dataset: Dataset, path: str | Path, pictures: int = 16) -> None:
    """Writes the ground truth of `pictures` pictures spread over the dataset."""
    chosen = spread(len(dataset), pictures)
    tiles = [shrunk(draw_ground_truth(dataset.read_image(index), dataset, index), SIDE) for index in chosen]
    save_picture(path, grid(tiles, 4, longest_side=SIDE))


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the indices 0..count - 1, evenly."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()


def save_prediction_sheet(model: YoloSeg, dataset: Dataset, path: str | Path, pictures: int = 8) -> None:
    """Writes `pictures` pictures spread over the dataset: ground truth left, predictions right.

    Predictions are those at the score threshold stored in the model.
    """
    predictor = Predictor(model)
    tiles, captions = [], []
    for index in spread(len(dataset), pictures):
        image = dataset.read_image(index)
        drawn = draw_ground_truth(image, dataset, index), predictor.predict_image(image).draw()
        tiles += [shrunk(picture, SIDE) for picture in drawn]
        captions += [f"{dataset.records[index].short_name}: ground truth", "predicted"]
    save_picture(path, grid(tiles, 4, captions, longest_side=SIDE))


def save_batch_sheet(loader: Loader, classes: Sequence[str], path: str | Path, pictures: int = 16) -> None:
    """Writes the first samples of the loader's epoch as the network gets them, their masks drawn."""
    count = min(pictures, loader.batch_size * len(loader))
    tiles = [shrunk(draw_sample(loader.sample(index), classes), SIDE) for index in range(count)]
    save_picture(path, grid(tiles, 4, longest_side=SIDE))
