"""The numbers of polygons and RLE, compared with pycocotools and OpenCV."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_utils

from yoloseg.data.coco_masks import decompress_counts, read_polygons, read_rle


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 200))
def test_compressed_counts_are_decoded_as_by_pycocotools(seed, height, width):
    rng = np.random.default_rng(seed)
    bitmap = np.asfortranarray(rng.random((height, width)) < rng.choice([0.02, 0.5, 0.99]), dtype=np.uint8)
    rle = mask_utils.encode(bitmap)
    runs = decompress_counts(rle["counts"])
    assert runs.min() >= 0 and runs.sum() == bitmap.size
    np.testing.assert_array_equal(
        np.repeat(np.arange(len(runs)) % 2, runs).reshape(bitmap.shape, order="F"), bitmap
    )
    shape = read_rle({"size": [height, width], "counts": rle["counts"].decode()}, (height, width))
    if bitmap.any():
        x, y, w, h = mask_utils.toBbox(rle)
        assert shape.area == bitmap.sum() and shape.box == (x, y, x + w, y + h)
        assert shape.segmentation == rle
    else:
        assert shape.segmentation is None


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40))
def test_any_text_as_counts_is_refused_or_sound(content):
    shape = read_rle({"size": [9, 11], "counts": content.decode("latin-1")}, (9, 11))
    if shape.segmentation is not None:
        assert mask_utils.decode(shape.segmentation).sum() == shape.area


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
@example(15897)  # no annotation has a part
def test_many_polygons_at_once_measure_as_each_alone(seed):
    rng = np.random.default_rng(seed)
    segmentations = [
        [rng.uniform(-5, 60, 2 * int(rng.integers(2, 9))).tolist() for _ in range(rng.integers(0, 4))]
        for _ in range(6)
    ]
    shapes = read_polygons(segmentations, [(40, 60)] * 6)
    for segmentation, shape in zip(segmentations, shapes, strict=True):
        parts = [np.float64(part).reshape(-1, 2) for part in segmentation if len(part) >= 6]
        parts = [p for p in parts if (p.max(0) > 0).all() and (p.min(0) < (60, 40)).all()]
        if not parts:
            assert shape.segmentation is None and shape.notes
            continue
        for part, polygon in zip(parts, shape.segmentation, strict=True):
            np.testing.assert_array_equal(part.astype(np.float32), polygon)
        everything = np.concatenate(parts)
        np.testing.assert_allclose(shape.box, [*everything.min(0), *everything.max(0)])
        areas = [cv2.contourArea(part.astype(np.float32)) for part in parts]
        assert shape.area == pytest.approx(sum(areas), rel=1e-4, abs=1e-3)
