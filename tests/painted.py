"""Pictures whose objects are painted in the colour of their class: picture and labels can be compared."""

import cv2
import numpy as np
from pixels import pixel_centres, point_in_polygon

from yoloseg.data.instances import Instance
from yoloseg.data.letterbox import PADDING
from yoloseg.data.records import Annotation, Record
from yoloseg.data.samples import read_sample

COLOURS = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250]], np.uint8)  # of class 0, 1, 2
GROUND = 60
SIZE = (96, 128)


def painted_set(rng, pictures=5):
    """Letterboxed samples whose every object is a convex blob painted in the colour of its class."""
    samples = []
    for number in range(pictures):
        height, width = (int(v) for v in rng.integers(60, 160, 2))
        image = np.full((height, width, 3), GROUND, np.uint8)
        taken = np.zeros((height, width), bool)
        annotations = []
        x, y = pixel_centres(height, width)
        for _ in range(int(rng.integers(0, 4))):
            radius = rng.uniform(8, 22, 2)
            centre = rng.uniform(radius, [width - radius[0], height - radius[1]])
            angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
            polygon = (centre + radius * np.stack([np.cos(angles), np.sin(angles)], 1)).astype(np.float32)
            inside = point_in_polygon(x, y, polygon)
            if (inside & taken).any() or inside.sum() < 150:
                continue
            kind = int(rng.integers(3))
            image[inside] = COLOURS[kind]
            taken |= cv2.dilate(inside.astype(np.uint8), np.ones((7, 7))) > 0
            segmentation = (polygon,)
            annotations.append(Annotation(kind, segmentation, (0, 0, 1, 1), 1.0))
        record = Record(number, lambda image=image: image, height, width, tuple(annotations))
        samples.append(read_sample(record, SIZE))
    return samples


def shown_class(image):
    """int [h, w]: the class whose colour a pixel has, -1 for ground and padding, -2 for mixtures."""
    distance = np.abs(image[:, :, None].astype(int) - COLOURS).max(-1)
    kind = np.where(distance.min(-1) < 30, distance.argmin(-1), -2)
    grey = image[:, :, 0].astype(int)
    plain = (np.ptp(image.astype(int), -1) < 8) & (grey > GROUND - 8) & (grey < PADDING + 8)
    return np.where(plain, -1, kind)


def uniform(labels):
    """bool [h, w]: where the 5 x 5 pixels around have one label."""
    labels, around = labels.astype(np.float32), np.ones((5, 5))
    return cv2.dilate(labels, around) == cv2.erode(labels, around)


def check_agreement(sample):
    """Picture, masks, boxes and classes tell the same story, but for two pixels along the outlines."""
    height, width = sample.image.shape[:2]
    kinds = shown_class(sample.image)
    told = np.full((height, width), -1)
    for one in sample.instances:
        mask = one.rasterise(height, width)
        told[mask > 0] = one.class_index
        if mask.any():
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            x0, y0, x1, y1 = one.box(height, width)
            assert x0 <= columns[0] + 0.8 and y0 <= rows[0] + 0.8
            assert x1 >= columns[-1] + 0.2 and y1 >= rows[-1] + 0.2
            assert 0 <= x0 and 0 <= y0 and x1 <= width and y1 <= height
    clear = (kinds != -2) & uniform(kinds) & uniform(told)
    assert clear.mean() > 0.3
    assert np.array_equal(kinds[clear], told[clear])


def blob(kind, x0, y0, x1, y1, **labels):
    polygon = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)
    return Instance(kind, polygons=(polygon,), **labels)
