"""A contact sheet of ground truth beside predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from yoloseg.data.records import Dataset
from yoloseg.data.samples import read_instances
from yoloseg.inference.drawing import draw_instances, grid
from yoloseg.inference.predictor import Predictor
from yoloseg.inference.results import save_picture
from yoloseg.modeling.network import YoloSeg


def save_prediction_sheet(model: YoloSeg, dataset: Dataset, path: str | Path, pictures: int = 8) -> None:
    """Writes `pictures` pictures spread over the dataset: ground truth left, predictions right.

    Predictions are those at the score threshold stored in the model.
    """
    predictor = Predictor(model)
    tiles, captions = [], []
    for index in np.unique(np.linspace(0, len(dataset) - 1, min(pictures, len(dataset))).astype(int)):
        image = dataset.read_image(int(index))
        tiles += [draw_ground_truth(image, dataset, int(index)), predictor.predict_image(image).draw()]
        captions += [f"{dataset.records[index].image_id}: ground truth", "predicted"]
    save_picture(path, grid(tiles, 4, captions, longest_side=400))


def draw_ground_truth(image: np.ndarray, dataset: Dataset, index: int) -> np.ndarray:
    """The annotations of record `index` over its picture, crowds left out."""
    height, width = image.shape[:2]
    found = [instance for instance in read_instances(dataset.records[index]) if not instance.crowd]
    boxes = np.array([instance.box(height, width) for instance in found], np.float32).reshape(-1, 4)
    ids = np.array([instance.class_index for instance in found], int)
    names = [dataset.classes[k] for k in ids]
    return draw_instances(image, boxes, ids, names, mask_of=lambda i: found[i].rasterise(height, width) > 0)
