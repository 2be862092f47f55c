"""Every loss against NumPy, the balance of eq. 1 by hand, the choice of ROIs and the masks they learn."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from yoloseg.modeling.boxes import anchor_boxes, ciou, decode, encode
from yoloseg.modeling.roi_align import crop_masks
from yoloseg.training.balance import LossBalance
from yoloseg.training.losses import (
    box_loss,
    class_loss,
    class_shift,
    mask_losses,
    objectness_loss,
    sigmoid_cross_entropy,
    smooth_l1,
)
from yoloseg.training.recipes import DEFAULT, PAPER
from yoloseg.training.rois import JITTER, sample_rois
from yoloseg.training.targets import Assignment

ANCHORS = anchor_boxes([[12, 20], [40, 30]], 16, 4, 6)
COUNT = len(ANCHORS)
RNG = np.random.default_rng(5)
BOXES = np.float32([[[10, 10, 30, 40], [50, 5, 90, 60]], [[0, 0, 16, 16], [0, 0, 0, 0]]])
CLASSES = np.int32([[2, 0], [1, -1]])


def value(tensor) -> np.ndarray:
    return ops.convert_to_numpy(tensor)


def cross_entropy(logits, targets):
    """In float64, straight from the definition."""
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return -(targets * np.log(p) + (1 - targets) * np.log1p(-p))


def candidates(index, matched, positive, class_positive=None, ignore=None) -> Assignment:
    positive = np.float32(positive)
    return Assignment(
        None if index is None else np.int32(index),
        np.int32(matched),
        positive,
        positive if class_positive is None else np.float32(class_positive),
        np.zeros((len(positive), COUNT), np.float32) if ignore is None else ignore,
    )


# Five candidates a picture; in the first, candidates 0 and 1 name the same anchor, 4 is not foreground.
SPARSE = candidates(
    [[7, 7, 20, 33, 7], [0, 1, 2, 47, 4]],
    [[0, 1, 1, 0, 0], [0, 0, 0, 0, 0]],
    [[1, 1, 1, 1, 0], [1, 0, 0, 1, 0]],
)


def test_cross_entropy_and_huber_values():
    logits, targets = RNG.normal(0, 3, 50).astype(np.float32), RNG.uniform(0, 1, 50).astype(np.float32)
    np.testing.assert_allclose(
        value(sigmoid_cross_entropy(ops.convert_to_tensor(logits), targets)),
        cross_entropy(logits, targets),
        rtol=1e-5,
    )
    huge = value(
        sigmoid_cross_entropy(ops.convert_to_tensor(np.float32([-1e4, 1e4, 1e4])), np.float32([0, 1, 0]))
    )
    np.testing.assert_allclose(huge, [0, 0, 1e4])
    np.testing.assert_allclose(value(smooth_l1(np.float32([-3, -0.5, 0, 1, 2]))), [2.5, 0.125, 0, 0.5, 1.5])


def test_box_loss_is_the_mean_over_foreground():
    deltas = RNG.normal(0, 0.3, (2, COUNT, 4)).astype(np.float32)
    rows = [(b, n) for b in range(2) for n in range(5) if SPARSE.positive[b, n]]
    picked = np.stack([deltas[b, SPARSE.index[b, n]] for b, n in rows])
    anchors = np.stack([ANCHORS[SPARSE.index[b, n]] for b, n in rows])
    goals = np.stack([BOXES[b, SPARSE.matched[b, n]] for b, n in rows])
    overlap = value(ciou(decode(picked, anchors), goals))

    loss, had, quality = box_loss(deltas, ANCHORS, SPARSE, BOXES, DEFAULT)
    assert value(had) == 1
    assert value(loss) == pytest.approx((1 - overlap).mean(), rel=1e-5)
    expected = np.array([value(quality)[b, n] for b, n in rows])
    np.testing.assert_allclose(expected, np.clip(overlap, 0, 1), atol=1e-6)

    loss, _, _ = box_loss(deltas, ANCHORS, SPARSE, BOXES, PAPER)
    difference = np.abs(picked - value(encode(goals, anchors)))
    huber = np.where(difference < 1, difference**2 / 2, difference - 0.5).sum(-1).mean()
    assert value(loss) == pytest.approx(huber, rel=1e-5)


def test_box_loss_with_all_anchors_in_order():
    """Perfect deltas of the foreground give no loss, whatever the others are."""
    positive = np.zeros((2, COUNT), np.float32)
    positive[0, [3, 9]], positive[1, 5] = 1, 1
    dense = candidates(None, np.zeros((2, COUNT)), positive)
    perfect = value(encode(BOXES[:, :1], ANCHORS[None]))
    deltas = np.where(positive[..., None] > 0, perfect, 7).astype(np.float32)
    for recipe in (DEFAULT, PAPER):
        loss, had, quality = box_loss(deltas, ANCHORS, dense, BOXES, recipe)
        assert value(loss) == pytest.approx(0, abs=1e-5) and value(had) == 1
        np.testing.assert_allclose(value(quality)[positive > 0], 1, atol=1e-5)


def test_objectness_of_an_anchor_named_twice_takes_the_larger_target():
    logits = RNG.normal(-1, 2, (2, COUNT)).astype(np.float32)
    quality = RNG.uniform(0.1, 1, (2, 5)).astype(np.float32)
    quality[0, :2] = 0.3, 0.8
    ignore = np.zeros((2, COUNT), np.float32)
    ignore[:, [5, 7]] = 1  # 7 is foreground in the first picture, so it counts there all the same
    found = replace(SPARSE, ignore=ignore)
    targets, weight = np.zeros((2, COUNT)), 1 - ignore
    for b in range(2):
        for n in range(5):
            if SPARSE.positive[b, n]:
                anchor = SPARSE.index[b, n]
                targets[b, anchor] = max(targets[b, anchor], quality[b, n])
                weight[b, anchor] = 1
    assert targets[0, 7] == pytest.approx(0.8)
    plain = replace(DEFAULT, focus=0.0)
    expected = (cross_entropy(logits, targets) * weight).sum() / 6
    got = objectness_loss(ops.convert_to_tensor(logits), found, quality, 6.0, plain)
    assert value(got) == pytest.approx(expected, rel=1e-5)
    off = (targets - 1 / (1 + np.exp(-logits.astype(np.float64)))) ** 2
    expected = (cross_entropy(logits, targets) * weight * off).sum() / 6
    got = objectness_loss(ops.convert_to_tensor(logits), found, quality, 6.0, replace(DEFAULT, focus=2.0))
    assert value(got) == pytest.approx(expected, rel=1e-5)
    expected = (cross_entropy(logits, targets > 0) * weight).sum() / 6
    got = objectness_loss(ops.convert_to_tensor(logits), found, quality, 6.0, PAPER)
    assert value(got) == pytest.approx(expected, rel=1e-5)


def test_objectness_with_all_anchors_in_order():
    positive = np.zeros((2, COUNT), np.float32)
    positive[0, 3] = 1
    ignore = np.zeros((2, COUNT), np.float32)
    ignore[1, :10] = 1
    dense = candidates(None, np.zeros((2, COUNT)), positive, ignore=ignore)
    logits = RNG.normal(-1, 2, (2, COUNT)).astype(np.float32)
    got = objectness_loss(ops.convert_to_tensor(logits), dense, ops.ones((2, COUNT)), 1.0, PAPER)
    expected = (cross_entropy(logits, positive) * (1 - ignore)).sum()
    assert value(got) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("exhaustive", [None, [[1, 1, 0], [1, 0, 0]]])
@pytest.mark.parametrize("per_anchor", [True, False])
@pytest.mark.parametrize("dense", [True, False])
def test_class_loss_is_softmax_cross_entropy_of_the_matched_object(per_anchor, dense, exhaustive):
    learns = np.zeros((2, COUNT if dense else 5), np.float32)
    learns[0, [0, 2, 3]], learns[1, 3] = 1, 1
    matched = np.zeros_like(learns) if dense else SPARSE.matched
    if dense:
        matched[0, 3] = 1  # two anchors of one cell, each with its own object
    index = None if dense else SPARSE.index
    found = candidates(index, matched, learns, learns)
    logits = RNG.normal(0, 2, (2, COUNT if per_anchor else COUNT // 2, 3)).astype(np.float32)
    each = []
    for b, n in np.argwhere(learns > 0):
        anchor = n if dense else SPARSE.index[b, n]
        row = logits[b, anchor if per_anchor else anchor // 2].astype(np.float64)
        own = CLASSES[b, int(found.matched[b, n])]
        known = [k for k in range(3) if exhaustive is None or exhaustive[b][k] or k == own]
        each.append(np.log(np.exp(row[known]).sum()) - row[own])
    exhaustive = exhaustive and ops.convert_to_tensor(exhaustive, "float32")
    loss, had = class_loss(ops.convert_to_tensor(logits), 2, found, CLASSES, exhaustive=exhaustive)
    assert value(loss) == pytest.approx(np.mean(each), rel=1e-5) and value(had) == 1


def test_rare_classes_are_made_up_for():
    """The shift is the log of each class's share; an unseen one counts as one object; logits move by it."""
    shift = class_shift([30, 10, 0], 0.5)
    np.testing.assert_allclose(shift, 0.5 * np.log(np.array([30, 10, 1]) / 41), rtol=1e-6)
    np.testing.assert_array_equal(class_shift([30, 10, 0], 0.0), 0)
    found = candidates(SPARSE.index, SPARSE.matched, np.ones((2, 5)), np.ones((2, 5)))
    logits = RNG.normal(0, 2, (2, COUNT, 3)).astype(np.float32)
    with_shift, _ = class_loss(ops.convert_to_tensor(logits), 2, found, CLASSES, shift)
    moved, _ = class_loss(ops.convert_to_tensor(logits + shift), 2, found, CLASSES)
    plain, _ = class_loss(ops.convert_to_tensor(logits), 2, found, CLASSES)
    assert value(with_shift) == pytest.approx(value(moved), rel=1e-6) != value(plain)


def test_mask_losses_are_split_by_level():
    logits = RNG.normal(0, 2, (2, 3, 28, 28)).astype(np.float32)
    targets = (RNG.uniform(size=logits.shape) > 0.5).astype(np.float32)
    valid, levels = np.float32([[1, 1, 0], [1, 1, 1]]), np.int32([[0, 2, 3], [2, 0, 0]])
    each = cross_entropy(logits, targets).mean((-2, -1))
    got = mask_losses(ops.convert_to_tensor(logits), targets, valid, levels, 4)
    expected = [each[(levels == i) & (valid > 0)] for i in range(4)]
    for (loss, had), those in zip(got, expected, strict=True):
        assert value(had) == (len(those) > 0)
        assert value(loss) == pytest.approx(those.mean() if len(those) else 0, rel=1e-5)


def test_without_targets_nothing_counts():
    none = candidates(SPARSE.index, SPARSE.matched, np.zeros((2, 5)))
    deltas = RNG.normal(size=(2, COUNT, 4)).astype(np.float32)
    for recipe in (DEFAULT, PAPER):
        loss, had, quality = box_loss(deltas, ANCHORS, none, BOXES, recipe)
        assert value(loss) == 0 and value(had) == 0 and np.isfinite(value(quality)).all()
    loss, had = class_loss(ops.ones((2, COUNT, 3)), 2, none, CLASSES)
    assert value(loss) == 0 and value(had) == 0
    logits = RNG.normal(size=(2, COUNT)).astype(np.float32)
    loss = objectness_loss(ops.convert_to_tensor(logits), none, ops.ones((2, 5)), 1.0, PAPER)
    assert value(loss) == pytest.approx(cross_entropy(logits, 0).sum(), rel=1e-5), (
        "background is still learned"
    )


# Gradients and steps through Keras alone, so that every backend can run them.


class Probe(keras.Model):
    """Learns one weight, `point`, by a given loss."""

    def __init__(self, start: np.ndarray, loss):
        super().__init__()
        self.point = self.add_weight(shape=start.shape, initializer="zeros", name="point")
        self.point.assign(start)
        self.loss_of = loss

    def call(self, inputs):
        return self.loss_of(self.point) + 0 * ops.sum(inputs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return y_pred


def gradient(start: np.ndarray, loss) -> np.ndarray:
    model = Probe(np.float32(start), loss)
    model.compile(keras.optimizers.SGD(1.0))
    model.train_on_batch(np.zeros((1, 1), np.float32))
    return np.float32(start) - value(model.point)


@pytest.mark.parametrize("recipe", [DEFAULT, PAPER], ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("size", [0.0, 1e3, 1e6], ids=str)
def test_box_gradients_are_finite_for_any_delta_and_zero_size_boxes(recipe, size):
    boxes = np.float32([[[10, 10, 10, 10], [50, 5, 50, 60]], [[0, 0, 1e-6, 1e-6], [0, 0, 96, 64]]])
    start = np.where(np.arange(2 * COUNT * 4).reshape(2, COUNT, 4) % 2, size, -size)
    slope = gradient(start, lambda deltas: box_loss(deltas, ANCHORS, SPARSE, boxes, recipe)[0])
    assert np.isfinite(slope).all()
    foreground = {(b, SPARSE.index[b, n]) for b in range(2) for n in range(5) if SPARSE.positive[b, n]}
    others = [(b, n) for b in range(2) for n in range(COUNT) if (b, n) not in foreground]
    assert (slope[tuple(np.transpose(others))] == 0).all(), "only foreground learns boxes"


def test_balance_is_equation_one_and_ignores_what_had_no_targets():
    layer = LossBalance(["P2", "P3"], ["box", "mask"])
    w, losses = np.float32([[0.5, -1], [2, 0]]), np.float32([[1, 2], [3, 4]])
    had = np.float32([[1, 1], [0, 1]])
    layer.w.assign(w)
    by_hand = 0.5 * ((np.exp(-0.5) * 1 + 0.5) + (np.exp(1) * 2 - 1) + (np.exp(0) * 4 + 0))
    assert value(layer(losses, had)) == pytest.approx(by_hand, rel=1e-6)

    model = Probe(np.zeros(1, np.float32), lambda point: layer(losses, had) + 0 * ops.sum(point))
    model.balance = layer
    model.compile(keras.optimizers.SGD(1.0))
    model.train_on_batch(np.zeros((1, 1), np.float32))
    slope = w - value(layer.w)
    np.testing.assert_allclose(slope, had * 0.5 * (1 - np.exp(-w) * losses), rtol=1e-4, atol=1e-5)
    assert slope[1, 0] == 0


def test_one_weight_a_loss_and_fixed_weights():
    losses, had = np.float32([[1, 2], [3, 4]]), np.ones((2, 2), np.float32)
    shared = LossBalance(["P2", "P3"], ["box", "mask"], kind="loss")
    shared.w.assign(np.float32([[0.5, -1]]))
    by_hand = 0.5 * (np.exp(-0.5) * (1 + 3) + 2 * 0.5 + np.exp(1) * (2 + 4) - 2)
    assert value(shared(losses, had)) == pytest.approx(by_hand, rel=1e-6)
    assert shared.values().tolist() == [[0.5, -1], [0.5, -1]]
    fixed = LossBalance(["P2", "P3"], ["box", "mask"], (1.0, 4.0), kind="fixed")
    assert fixed.trainable_variables == []
    assert value(fixed(losses, had)) == pytest.approx(0.5 * (1 + 3 + 4 * (2 + 4)))


def test_gains_scale_whole_terms():
    layer = LossBalance(["P2"], ["box", "class"], gains=(1.0, 4.0))
    layer.w.assign(np.float32([[0.5, -1]]))
    by_hand = 0.5 * ((np.exp(-0.5) * 1 + 0.5) + 4 * (np.exp(1) * 2 - 1))
    assert value(layer(np.float32([[1, 2]]), np.float32([[1, 1]]))) == pytest.approx(by_hand, rel=1e-6)


def balanced(losses: np.ndarray, had: np.ndarray, rate: float, steps: int) -> np.ndarray:
    """The weights of a LossBalance after some steps of SGD under constant losses."""

    class Balanced(Probe):
        def __init__(self):
            keras.Model.__init__(self)
            self.layer = LossBalance(["P2"], [str(i) for i in range(len(losses))])

        def call(self, inputs):
            return self.layer(losses[None], had[None]) + 0 * ops.sum(inputs)

    model = Balanced()
    model.compile(keras.optimizers.SGD(rate))
    for _ in range(steps):
        model.train_on_batch(np.zeros((1, 1), np.float32))
    return value(model.layer.w)[0]


def test_balancing_weights_reach_the_logarithm_of_their_loss_and_stay_within_five():
    """dL/dw = 0 where exp(w) = L. A loss of zero or a huge one ends at the limits."""
    losses, had = np.float32([4.0, 0.25, 0.0, 1e6, 3.0]), np.float32([1, 1, 1, 1, 0])
    w = balanced(losses, had, rate=0.5, steps=60)
    np.testing.assert_allclose(w, [np.log(4), np.log(0.25), -5, 5, 0], atol=1e-3)


# ROIs

LIMIT = (64, 96)


@st.composite
def pictures(draw):
    """Two pictures of four slots: boxes (zero sizes too) inside the picture, classes from -2 to 2."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corner = rng.uniform(0, 1, (2, 4, 2)) * [LIMIT[1], LIMIT[0]]
    far = corner + rng.uniform(0, 1, (2, 4, 2)) ** 2 * ([LIMIT[1], LIMIT[0]] - corner)
    boxes = np.concatenate([corner, far], -1).astype(np.float32)
    flat = rng.uniform(size=(2, 4)) < 0.1
    boxes[flat, 2] = boxes[flat, 0]
    classes = rng.integers(-2, 3, (2, 4)).astype(np.int32)
    boxes[classes == -1] = 0
    proposals = np.repeat(boxes, 3, axis=1) + rng.uniform(-8, 8, (2, 12, 4))
    low = np.clip(proposals[..., :2], 0, [LIMIT[1], LIMIT[0]])
    high = np.clip(np.maximum(proposals[..., 2:], low), 0, [LIMIT[1], LIMIT[0]])
    found = {
        "boxes": np.concatenate([low, high], -1).astype(np.float32),
        "scores": rng.choice([0.0, 0.5], (2, 12)).astype(np.float32),
        "levels": rng.integers(0, 4, (2, 12)).astype(np.int32),
    }
    return boxes, classes, found, rng.integers(0, 4, (2, 4)).astype(np.int32)


def overlap_of(a, b) -> float:
    inner = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return inner / max(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inner, 1e-6)


@settings(max_examples=60, deadline=None)
@given(pictures(), st.integers(0, 1000), st.sampled_from([1, 6, 8]))
def test_sample_rois(truth, seed, count):
    boxes, classes, found, levels = truth
    rois, matched, roi_levels, valid = (
        value(v)
        for v in sample_rois(found, boxes, classes, levels, count, LIMIT, keras.random.SeedGenerator(seed))
    )
    assert rois.shape == (2, count, 4) and matched.shape == roi_levels.shape == valid.shape == (2, count)
    assert np.isfinite(rois).all() and rois.min() >= 0
    assert rois[..., [0, 2]].max() <= LIMIT[1] and rois[..., [1, 3]].max() <= LIMIT[0]
    assert (rois[..., 2:] - rois[..., :2]).min() >= 1 - 1e-4
    for b in range(2):
        real = np.flatnonzero(classes[b] >= 0)
        assert (valid[b] == (len(real) > 0)).all()
        shown = {tuple(p): i for i, p in enumerate(found["boxes"][b]) if min(p[2:] - p[:2]) >= 1}
        for slot in range(count if len(real) else 0):
            assert matched[b, slot] in real
            goal = boxes[b, matched[b, slot]]
            proposal = shown.get(tuple(rois[b, slot])) if slot < count // 2 else None
            if proposal is not None and found["scores"][b, proposal] > 0:
                if roi_levels[b, slot] == found["levels"][b, proposal]:
                    assert overlap_of(rois[b, slot], goal) >= 0.5 - 1e-4
                    continue
            sides = np.tile(goal[2:] - goal[:2], 2)
            moved = np.abs(rois[b, slot] - goal)
            assert (moved <= JITTER * sides + 1.001).all(), "a jittered object, or a proposal that matches"
            assert roi_levels[b, slot] == levels[b, matched[b, slot]]


def test_what_is_a_target_or_a_place_to_look_at_carries_no_gradient():
    """The quality that objectness learns moves no box; no ROI moves the proposal it is."""

    def moves(start, loss) -> bool:  # Keras refuses a loss without any gradient: a sum gives it one of 1
        slope = gradient(start, lambda point: ops.sum(loss(point)) + ops.sum(point))
        return not np.allclose(slope, 1, atol=1e-5)

    start = value(encode(np.repeat(BOXES[:, :1], COUNT, 1), ANCHORS[None])) + np.float32(0.1)
    loss, quality = (
        lambda deltas, part=part: box_loss(deltas, ANCHORS, SPARSE, BOXES, DEFAULT)[part] for part in (0, 2)
    )
    assert (value(quality(start)) > 0.5).any()
    assert moves(start, loss) and not moves(start, quality)
    boxes, classes = np.float32([[[10, 10, 50, 50]]]), np.int32([[1]])
    rest = {"scores": np.float32([[0.9]]), "levels": np.int32([[2]])}
    seed = keras.random.SeedGenerator(1)

    def rois(proposals):
        found = {"boxes": proposals, **rest}
        return sample_rois(found, boxes, classes, np.int32([[1]]), 2, LIMIT, seed)[0]

    proposals = np.float32([[[12, 10, 50, 48]]])
    assert proposals.tolist()[0][0] in value(rois(proposals)).tolist()[0], "it is looked at"
    assert not moves(proposals, rois)


def test_matching_proposals_are_used_and_others_are_not():
    """Two proposals show the object, one does not, one is an empty slot: the first half takes those two."""
    boxes, classes = np.float32([[[10, 10, 50, 50], [0, 0, 0, 0]]]), np.int32([[1, -1]])
    found = {
        "boxes": np.float32([[[12, 10, 50, 48], [60, 10, 90, 50], [10, 12, 50, 50], [10, 10, 50, 50]]]),
        "scores": np.float32([[0.9, 0.8, 0.1, 0.0]]),
        "levels": np.int32([[2, 1, 0, 3]]),
    }
    levels = np.int32([[1, 0]])
    rois, matched, origin, valid = (
        value(v)[0]
        for v in sample_rois(found, boxes, classes, levels, 6, LIMIT, keras.random.SeedGenerator(1))
    )
    taken = {(tuple(roi), level) for roi, level in zip(rois[:3].tolist(), origin[:3].tolist(), strict=True)}
    assert {((12, 10, 50, 48), 2), ((10, 12, 50, 50), 0)} <= taken
    assert (matched == 0).all() and (valid == 1).all()
    assert sorted(origin.tolist())[1:5] == [1, 1, 1, 1] and len({tuple(roi) for roi in rois}) == 6


# Mask targets


def test_an_identity_roi_gives_the_mask_back():
    """Mask 56 x 56 of blocks of 2 x 2: cut to 28 x 28 by its own box, each block gives its value."""
    blocks = (RNG.uniform(size=(1, 2, 28, 28)) > 0.5).astype(np.float32)
    masks = blocks.repeat(2, axis=2).repeat(2, axis=3)
    boxes = np.float32([[[10, 20, 66, 48], [0.25, 3, 5, 90]]])
    np.testing.assert_allclose(value(crop_masks(masks, boxes, boxes)), blocks, atol=1e-4)


def test_a_roi_beside_the_box_sees_the_part_it_covers():
    """The ROI is the right half of the box and as much beyond it: only its left half is mask."""
    masks, boxes = np.ones((1, 1, 56, 56), np.float32), np.float32([[[10, 10, 30, 30]]])
    cut = value(crop_masks(masks, boxes, np.float32([[[20, 10, 40, 30]]])))[0, 0]
    np.testing.assert_allclose(cut[:, :14], 1, atol=1e-5)
    np.testing.assert_allclose(cut[:, 14:], 0, atol=1e-5)


def test_mask_targets_of_zero_size_boxes_are_finite():
    masks = np.ones((1, 1, 56, 56), np.float32)
    cut = value(crop_masks(masks, np.zeros((1, 1, 4), np.float32), np.float32([[[95, 63, 96, 64]]])))
    assert np.isfinite(cut).all() and cut.max() <= 1
