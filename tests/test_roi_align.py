"""ROIAlign by matrix products against loops over sampling points; mask targets against pixels."""

import cv2
import keras
import numpy as np
import pytest
from keras import ops

from yoloseg.modeling.roi_align import adaptive_feature_pooling, crop_masks, roi_align

STRIDES = (4, 8, 16, 32)


def bilinear(values, y, x):
    """Value at continuous cell-centre coordinates; beyond the outermost centres, the border's."""
    height, width = values.shape[:2]
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    y0, x0 = min(int(y), max(height - 2, 0)), min(int(x), max(width - 2, 0))
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    fy, fx = y - y0, x - x0
    upper = values[y0, x0] * (1 - fx) + values[y0, x1] * fx
    lower = values[y1, x0] * (1 - fx) + values[y1, x1] * fx
    return upper * (1 - fy) + lower * fy


def samples(low, high, out):
    """[out][2]: the sampling points of each bin, in the units of low and high."""
    step = (high - low) / out
    return [[low + step * (i + (j + 0.5) / 2) for j in range(2)] for i in range(out)]


def loop_roi_align(values, roi, stride, out):
    """Aligned ROIAlign as Mask R-CNN has it, 2 x 2 samples a bin: cell i has its centre at i + 0.5."""
    x0, y0, x1, y1 = (float(v) / stride for v in roi)
    result = np.zeros((out, out, values.shape[2]))
    for i, rows in enumerate(samples(y0, y1, out)):
        for j, columns in enumerate(samples(x0, x1, out)):
            result[i, j] = np.mean(
                [bilinear(values, y - 0.5, x - 0.5) for y in rows for x in columns], axis=0
            )
    return result


def make_rois(height, width):
    fixed = [
        (0, 0, width, height),  # everything
        (0, 0, 3, 2),  # the corner, smaller than a cell
        (width - 5, height - 7, width, height),  # the other corner
        (10.2, 20.7, 10.3, 20.8),  # far smaller than a cell
        (30, 0, 30, height),  # no width
    ]
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, [width, height, width, height], (3, 4))
    rest = np.concatenate([np.minimum(*np.split(corners, 2, 1)), np.maximum(*np.split(corners, 2, 1))], 1)
    return np.concatenate([fixed, rest]).astype(np.float32)


def test_all_levels_against_loops():
    height, width, out = 96, 128, 7
    rng = np.random.default_rng(0)
    rois = np.stack([make_rois(height, width), make_rois(height, width)[::-1]])
    maps = [rng.normal(size=(2, height // s, width // s, 3)).astype(np.float32) for s in STRIDES]
    cuts = adaptive_feature_pooling([ops.convert_to_tensor(m) for m in maps], rois, STRIDES, out)
    for values, stride, cut in zip(maps, STRIDES, cuts, strict=True):
        cut = ops.convert_to_numpy(cut).reshape(2, rois.shape[1], out, out, 3)
        for image in range(2):
            for r, roi in enumerate(rois[image]):
                expected = loop_roi_align(values[image].astype(float), roi, stride, out)
                np.testing.assert_allclose(cut[image, r], expected, atol=2e-5)


def test_a_linear_map_gives_the_centres_of_the_bins():
    """ROIAlign of f(x, y) = x + 10 y is f at the centres of the bins: no half-pixel shift anywhere."""
    stride, cells = 8, 16
    centre = (np.arange(cells) + 0.5) * stride
    values = (centre[None, :] + 10 * centre[:, None]).astype(np.float32)[None, :, :, None]
    x0, y0, x1, y1 = roi = (20.0, 31.0, 76.0, 87.0)
    found = roi_align(ops.convert_to_tensor(values), np.float32([[roi]]), stride)
    found = ops.convert_to_numpy(found)[0, 0, :, :, 0]
    x, y = x0 + (np.arange(14) + 0.5) / 14 * (x1 - x0), y0 + (np.arange(14) + 0.5) / 14 * (y1 - y0)
    np.testing.assert_allclose(found, x[None, :] + 10 * y[:, None], rtol=1e-5)


def test_half_precision_stays_half():
    values = ops.cast(np.random.default_rng(0).normal(size=(1, 8, 8, 4)), "float16")
    cut = roi_align(values, np.float32([[[0, 0, 32, 32]]]), 4)
    assert keras.backend.standardize_dtype(cut.dtype) == "float16"
    assert np.isfinite(ops.convert_to_numpy(cut)).all()


def test_crop_masks_against_loops():
    """Each bin's mean of four bilinear samples of the mask in its box; nothing outside the box."""
    rng = np.random.default_rng(2)
    size, out = 12, 6
    masks = rng.uniform(size=(1, 4, size, size)).astype(np.float32)
    boxes = np.float32([[[10, 20, 50, 44], [0, 0, 30, 30], [5, 5, 6, 6], [40, 40, 80, 90]]])
    rois = np.float32([[[5, 10, 60, 50], [0, 0, 30, 30], [0, 0, 20, 20], [0, 0, 30, 30]]])
    found = ops.convert_to_numpy(crop_masks(masks, boxes, rois, out))[0]
    for mask, box, roi, crop in zip(masks[0], boxes[0], rois[0], found, strict=True):
        expected = np.zeros((out, out))
        for i, rows in enumerate(samples(roi[1], roi[3], out)):
            for j, columns in enumerate(samples(roi[0], roi[2], out)):
                for y in rows:
                    for x in columns:
                        u = (x - box[0]) / (box[2] - box[0]) * size
                        v = (y - box[1]) / (box[3] - box[1]) * size
                        if 0 < u < size and 0 < v < size:
                            expected[i, j] += bilinear(mask, v - 0.5, u - 0.5) / 4
        np.testing.assert_allclose(crop, expected, atol=1e-4)
    assert found[3].max() == 0  # no overlap


@pytest.mark.parametrize(
    "roi", [(30, 40, 130, 140), (60, 20, 160, 100), (10, 10, 190, 150), (45, 55, 80, 90)]
)
def test_crop_masks_against_pixels(roi):
    """An ellipse: the target of a ROI is what its pixels show of it, up to the outline."""
    picture = np.zeros((200, 240), np.uint8)
    cv2.ellipse(picture, (90, 80), (50, 35), 20, 0, 360, 1, -1)
    x, y, width, height = cv2.boundingRect(picture)
    own = cv2.resize(picture[y : y + height, x : x + width] * 255, (56, 56), interpolation=cv2.INTER_AREA)
    box = (x, y, x + width, y + height)
    found = crop_masks(own[None, None] / 255.0, np.float32([[box]]), np.float32([[roi]]))
    found = ops.convert_to_numpy(found)[0, 0] > 0.5
    x0, y0, x1, y1 = roi
    columns = (x0 + (np.arange(28) + 0.5) / 28 * (x1 - x0)).astype(int)
    rows = (y0 + (np.arange(28) + 0.5) / 28 * (y1 - y0)).astype(int)
    expected = picture[np.ix_(rows, columns)] > 0
    assert 0.1 < expected.mean()
    assert (found != expected).mean() < 0.02
    outline = cv2.dilate(expected.astype(np.uint8), np.ones((3, 3))) != cv2.erode(
        expected.astype(np.uint8), np.ones((3, 3))
    )
    assert not ((found != expected) & ~outline).any()


def test_crop_masks_of_the_own_box_is_the_mask():
    mask = (np.random.default_rng(3).uniform(size=(1, 1, 28, 28)) > 0.5).astype(np.float32)
    mask = mask.repeat(2, 2).repeat(2, 3)
    box = np.float32([[[7, 9, 63, 93]]])
    found = ops.convert_to_numpy(crop_masks(mask, box, box))
    np.testing.assert_array_equal(found[0, 0] > 0.5, mask[0, 0, ::2, ::2] > 0.5)


def test_boxes_without_size_have_finite_crops():
    boxes = np.float32([[[5, 5, 5, 5], [0, 0, 0, 0], [9, 9, 3, 3]]])
    found = ops.convert_to_numpy(crop_masks(np.ones((1, 3, 8, 8), np.float32), boxes, boxes[:, ::-1]))
    assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1


def test_gradients_reach_the_map_and_are_finite():
    """The gradient of a ROI's sum spreads one unit of weight for each of its bins over the map."""
    values = np.random.default_rng(0).normal(size=(1, 6, 8, 2)).astype(np.float32)
    rois = np.float32([[[0, 0, 0, 0], [4, 4, 20, 20], [0, 0, 32, 24]]])
    if keras.backend.backend() == "jax":
        import jax

        gradient = np.asarray(jax.grad(lambda x: ops.sum(roi_align(x, rois, 4)))(values))
    else:
        tensorflow = pytest.importorskip("tensorflow")
        variable = tensorflow.Variable(values)
        with tensorflow.GradientTape() as tape:
            total = ops.sum(roi_align(tensorflow.convert_to_tensor(variable), rois, 4))
        gradient = tape.gradient(total, variable).numpy()
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient[..., 0].sum(), 3 * 14 * 14, rtol=1e-4)
