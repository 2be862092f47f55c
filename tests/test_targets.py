"""Which anchor learns which object, against plain loops written from the docstrings."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from yoloseg.modeling.boxes import anchor_boxes
from yoloseg.training import targets
from yoloseg.training.recipes import DEFAULT, PAPER
from yoloseg.training.targets import (
    assign_by_iou,
    assign_by_shape,
    best_anchor,
    grown,
    match_proposals,
    own_anchors,
)

# Two levels of a 64 x 96 input: 4 x 6 cells of 16 pixels, 2 x 3 cells of 32; two and three anchors a cell.
HEIGHT, WIDTH = 64, 96
STRIDE, GRID = 16, (4, 6)
SIDES = np.array([[12, 20], [40, 30]], np.float32)
ANCHORS = anchor_boxes(SIDES, STRIDE, *GRID)
LEVELS = [
    np.array([[8, 8], [9, 30], [30, 9]], np.float32),
    np.array([[20, 20], [60, 60], [90, 40]], np.float32),
]
GRIDS, STRIDES = [(4, 6), (2, 3)], [16, 32]
OBJECTS = 4


@st.composite
def ground_truth(draw):
    """boxes float32 [1, 4, 4] on a grid of 1/4 pixel (so that few ties arise), classes int32 [1, 4]."""
    boxes = np.zeros((OBJECTS, 4), np.float32)
    labels = np.full(OBJECTS, -1, np.int32)
    for i in range(OBJECTS):
        x = sorted(draw(st.integers(0, 4 * WIDTH)) / 4 for _ in range(2))
        y = sorted(draw(st.integers(0, 4 * HEIGHT)) / 4 for _ in range(2))
        labels[i] = draw(st.sampled_from([-2, -1, 0, 1, 2]))
        if labels[i] != -1:
            boxes[i] = x[0], y[0], x[1], y[1]
    return boxes[None], labels[None]


def iou(a, b) -> float:
    overlap = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / union if union > 0 else 0.0


def at_least_a_pixel(box):
    """Same centre, sides of one pixel at least."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    w, h = max(box[2] - box[0], 1.0), max(box[3] - box[1], 1.0)
    return [float(v) for v in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)]


def xyxy(anchor):
    x, y, w, h = (float(v) for v in anchor)
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def in_crowd(anchor, boxes, classes) -> bool | None:
    """Whether half of the anchor lies in one crowd region; None where that is a matter of rounding."""
    a = xyxy(anchor)
    for box, label in zip(boxes, classes, strict=True):
        if label == -2:
            b = at_least_a_pixel(box)
            width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            share = max(width, 0) * max(height, 0) / ((a[2] - a[0]) * (a[3] - a[1]))
            if abs(share - 0.5) < 1e-4:
                return None
            if share > 0.5:
                return True
    return False


def numpy_of(assignment):
    names = ("matched", "positive", "class_positive", "ignore")
    values = {name: ops.convert_to_numpy(getattr(assignment, name))[0] for name in names}
    values["index"] = None if assignment.index is None else ops.convert_to_numpy(assignment.index)[0]
    return values


def check_by_iou(boxes, classes, level: int, recipe):
    got = numpy_of(assign_by_iou(ANCHORS, GRID, boxes, classes, level, recipe))
    boxes, classes = boxes[0], classes[0]
    high = recipe.foreground * recipe.level_scale[level]
    low = recipe.background * recipe.level_scale[level]
    assert got["index"] is None and got["positive"].shape == (len(ANCHORS),)
    for n, anchor in enumerate(ANCHORS):
        overlaps = [
            iou(xyxy(anchor), at_least_a_pixel(box)) if label >= 0 else 0.0
            for box, label in zip(boxes, classes, strict=True)
        ]
        best = max(overlaps)
        if min(abs(best - high), abs(best - low)) < 1e-4:
            continue  # a matter of rounding
        foreground = best >= high
        assert got["positive"][n] == foreground
        if foreground:
            assert overlaps[got["matched"][n]] == pytest.approx(best, abs=1e-4)
        crowd = in_crowd(anchor, boxes, classes)
        if crowd is not None:
            assert got["ignore"][n] == (not foreground and (best >= low or crowd))
        if recipe.classes_at == "foreground":
            assert got["class_positive"][n] == foreground
            continue
        # The objects whose centre is in this anchor's cell, the border of the cell included.
        here = [
            i
            for i, box in enumerate(boxes)
            if classes[i] >= 0
            and abs((box[0] + box[2]) / 2 - anchor[0]) <= STRIDE / 2
            and abs((box[1] + box[3]) / 2 - anchor[1]) <= STRIDE / 2
        ]
        assert got["class_positive"][n] == (len(here) > 0)
        if here and not foreground:
            chosen = got["matched"][n]
            assert chosen in here
            assert overlaps[chosen] == pytest.approx(max(overlaps[i] for i in here), abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    ground_truth(),
    st.integers(0, 3),
    st.sampled_from(["centroid", "foreground"]),
    st.sampled_from([1, 3, 16]),
)
def test_by_iou_equals_the_loop(truth, level, classes_at, paired):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets, "PAIRED", paired)  # objects at a time: four are there
        check_by_iou(*truth, level, replace(PAPER, classes_at=classes_at))


def anchors_of_levels():
    levels = zip(LEVELS, STRIDES, GRIDS, strict=True)
    return [anchor_boxes(sides, stride, *grid) for sides, stride, grid in levels]


def owned(boxes, classes, count: int):
    """Owner and first choice of the anchors of all levels, one after the other: arrays [N]."""
    own = own_anchors(anchors_of_levels(), GRIDS, boxes, classes, count)
    joined = [np.concatenate([ops.convert_to_numpy(level[i])[0] for level in own]) for i in (0, 1)]
    assert (joined[0][joined[1]] >= 0).all(), "nobody's anchor is nobody's first choice"
    return joined


def scores_near(box) -> dict[int, float]:
    """IoU less a hundredth of the largest factor between the sides, by number among the anchors of all
    levels: those at the cell of the centre and at the nearer neighbour in x and in y."""
    found, offset = {}, 0
    box = at_least_a_pixel(box)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    for sides, stride, (rows, columns) in zip(LEVELS, STRIDES, GRIDS, strict=True):
        column, row = min(int(x // stride), columns - 1), min(int(y // stride), rows - 1)
        beside = column + (1 if x / stride - column >= 0.5 else -1)
        below = row + (1 if y / stride - row >= 0.5 else -1)
        for r, c in ((row, column), (row, beside), (below, column)):
            for a, (w, h) in enumerate(sides) if 0 <= r < rows and 0 <= c < columns else ():
                anchor = xyxy(((c + 0.5) * stride, (r + 0.5) * stride, w, h))
                factors = [(box[2] - box[0]) / w, (box[3] - box[1]) / h]
                factor = max(max(f, 1 / f) for f in factors)
                found[offset + (r * columns + c) * len(sides) + a] = iou(anchor, box) - 0.01 * factor
        offset += rows * columns * len(sides)
    return found


@settings(max_examples=60, deadline=None)
@given(ground_truth(), st.integers(1, 15))
def test_an_object_owns_the_anchors_that_fit_it_best(truth, count):
    boxes, classes = truth
    for i in range(OBJECTS):
        alone = np.where(np.arange(OBJECTS) == i, classes, np.minimum(classes, -1))
        owner, first = owned(boxes, alone, count)
        if classes[0, i] < 0:
            assert (owner == -1).all() and not first.any()
            continue
        expected = scores_near(boxes[0, i])
        found = np.flatnonzero(owner == i)
        assert (owner >= 0).sum() == len(found) == min(count, len(expected)) and first.sum() == 1
        best = sorted(expected.values(), reverse=True)[:count]
        assert sorted((expected[n] for n in found), reverse=True) == pytest.approx(best, abs=1e-4)
        assert expected[np.flatnonzero(first)[0]] == pytest.approx(best[0], abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(ground_truth())
def test_an_anchor_that_several_objects_want_is_of_the_one_that_ranks_it_higher(truth):
    """Then of the last of them."""
    boxes, classes = truth
    ranks = {}  # (anchor, object): 0 for its first choice
    for i in np.flatnonzero(classes[0] >= 0):
        alone = np.where(np.arange(OBJECTS) == i, classes, -1)
        for rank in reversed(range(3)):
            for n in np.flatnonzero(owned(boxes, alone, rank + 1)[0] == i):
                ranks[n, i] = rank
    owner, first = owned(boxes, classes, 3)
    assert set(np.flatnonzero(owner >= 0)) == {n for n, _ in ranks}
    for n in np.flatnonzero(owner >= 0):
        wanted = {i: rank for (anchor, i), rank in ranks.items() if anchor == n}
        assert owner[n] == max(i for i, rank in wanted.items() if rank == min(wanted.values()))
        assert first[n] == (wanted[owner[n]] == 0)


@settings(max_examples=40, deadline=None)
@given(ground_truth(), st.sampled_from(["centroid", "foreground"]))
def test_by_iou_objects_learn_at_their_own_anchors(truth, classes_at):
    """Beside what the bands give; an anchor that is foreground for another object is an object's own only as
    its first choice."""
    boxes, classes = truth
    anchors, recipe = anchors_of_levels(), replace(DEFAULT, classes_at=classes_at)
    for level, own in enumerate(own_anchors(anchors, GRIDS, boxes, classes, 4)):
        plain = numpy_of(assign_by_iou(anchors[level], GRIDS[level], boxes, classes, level, recipe))
        got = numpy_of(assign_by_iou(anchors[level], GRIDS[level], boxes, classes, level, recipe, own))
        owner, first = (ops.convert_to_numpy(values)[0] for values in own)
        for n in range(len(anchors[level])):
            mine = first[n] or (owner[n] >= 0 and not plain["positive"][n])
            assert got["matched"][n] == (owner[n] if mine else plain["matched"][n])
            assert got["positive"][n] == max(plain["positive"][n], owner[n] >= 0)
            assert got["ignore"][n] == (plain["ignore"][n] and owner[n] < 0)
            if classes_at == "centroid":
                assert got["class_positive"][n] == plain["class_positive"][n]
            else:
                assert got["class_positive"][n] == got["positive"][n]


def test_of_two_objects_with_one_box_the_last_owns_the_anchors():
    boxes = np.array([[[9, 9, 12, 12], [9, 9, 12, 12]]], np.float32)
    owner, first = owned(boxes, np.array([[0, 1]], np.int32), 4)
    assert sorted(owner.tolist())[-5:] == [-1, 1, 1, 1, 1] and first.sum() == 1


def test_objects_smaller_than_a_cell_own_anchors_of_their_shape():
    """Two pixels in the corner of a cell, which no anchor of their size overlaps."""
    sides = [np.array([[2, 2], [12, 12]], np.float32), np.array([[20, 20], [40, 40]], np.float32)]
    anchors = [anchor_boxes(*level) for level in zip(sides, STRIDES, (4, 2), (6, 3), strict=True)]
    boxes = np.array([[[32.5, 32.5, 34.5, 34.5]]], np.float32)
    own = own_anchors(anchors, GRIDS, boxes, np.zeros((1, 1), np.int32), 1)
    owner, first = (ops.convert_to_numpy(values)[0] for values in own[0])
    assert np.flatnonzero(owner == 0).tolist() == [2 * (2 * 6 + 2)] == np.flatnonzero(first).tolist()


def test_by_iou_thresholds_grow_with_the_level():
    """One box whose IoU with its anchor is 0.35: foreground where 0.4 x scale is at most that."""
    anchor = xyxy(ANCHORS[0])
    box = np.array([[[anchor[0], anchor[1], anchor[0] + 12 * 0.35, anchor[3]]]], np.float32)
    seen = []
    for level in range(4):
        got = numpy_of(assign_by_iou(ANCHORS, GRID, box, np.array([[0]]), level, PAPER))
        seen.append((got["positive"][0], got["ignore"][0]))
    # Foreground from .24, .32, .40, .48 on; ignored from .18, .24, .30, .36 on.
    assert seen == [(1, 0), (1, 0), (0, 1), (0, 0)]


def test_by_iou_learns_the_class_at_the_centroid_only():
    """A wide object: many anchors are foreground, only its centre's cell learns the class."""
    box = np.array([[[3, 20, 43, 50]]], np.float32)
    got = numpy_of(assign_by_iou(ANCHORS, GRID, box, np.array([[1]]), 0, PAPER))
    cell = 2 * GRID[1] + 1  # the centre (23, 35) lies in column 1, row 2
    assert np.flatnonzero(got["class_positive"]).tolist() == [2 * cell, 2 * cell + 1]
    assert got["positive"].sum() > 2


def check_by_shape(boxes, classes, recipe):
    best = best_anchor(LEVELS, boxes)
    learned = set()
    for level, sides in enumerate(LEVELS):
        height, width = GRIDS[level]
        anchors = anchor_boxes(sides, STRIDES[level], height, width)
        got = numpy_of(assign_by_shape(anchors, GRIDS[level], boxes, classes, best[level], recipe))
        found = {}
        for index, matched, positive, class_positive in zip(
            got["index"], got["matched"], got["positive"], got["class_positive"], strict=True
        ):
            assert 0 <= index < len(anchors) and 0 <= matched < OBJECTS
            assert class_positive <= positive
            if positive:
                assert (int(matched), int(index)) not in found, "a candidate is named once"
                found[int(matched), int(index)] = bool(class_positive)
        learned |= {i for i, _ in found}
        assert found == expected_by_shape(boxes[0], classes[0], level, recipe)
        for n, anchor in enumerate(anchors):
            crowd = in_crowd(anchor, boxes[0], classes[0])
            assert crowd is None or got["ignore"][n] == crowd
    assert learned == set(np.flatnonzero(classes[0] >= 0).tolist()), (
        "every object has an anchor, nothing else has"
    )


def misfit(sides, box) -> float:
    box = at_least_a_pixel(box)
    w, h = box[2] - box[0], box[3] - box[1]
    return max(w / sides[0], sides[0] / w, h / sides[1], sides[1] / h)


def expected_by_shape(boxes, classes, level: int, recipe) -> dict[tuple[int, int], bool]:
    """{(object, anchor index of the level): learns the class}."""
    height, width = GRIDS[level]
    every = [(lv, a) for lv, sides in enumerate(LEVELS) for a in range(len(sides))]
    expected = {}
    for i, (box, label) in enumerate(zip(boxes, classes, strict=True)):
        if label < 0:
            continue
        closest = min(every, key=lambda place: np.float32(misfit(LEVELS[place[0]][place[1]], box)))
        x, y = (float(box[0]) + float(box[2])) / 2, (float(box[1]) + float(box[3])) / 2
        x, y = min(x / STRIDES[level], width - 1e-3), min(y / STRIDES[level], height - 1e-3)
        column, row = int(x), int(y)
        cells = [
            (column, row),
            (column + (-1 if x - column < 0.5 else 1), row),
            (column, row + (-1 if y - row < 0.5 else 1)),
        ]
        for a, sides in enumerate(LEVELS[level]):
            if misfit(sides, box) < recipe.shape_ratio or closest == (level, a):
                for number, (c, r) in enumerate(cells):
                    if 0 <= c < width and 0 <= r < height:
                        index = (r * width + c) * len(LEVELS[level]) + a
                        expected[i, index] = recipe.classes_at == "foreground" or number == 0
    return expected


@settings(max_examples=40, deadline=None)
@given(ground_truth(), st.sampled_from(["centroid", "foreground"]))
def test_by_shape_equals_the_loop(truth, classes_at):
    # A ratio no two sides on a grid of 1/4 pixel have, so that nothing is a matter of rounding.
    check_by_shape(*truth, replace(DEFAULT, classes_at=classes_at, shape_ratio=3.9371))


EDGE_CASES = {
    "zero size": [[10, 10, 10, 10], [50, 20, 50, 40]],
    "one pixel": [[31, 31, 32, 32], [95, 63, 96, 64]],
    "corners": [[0, 0, 4, 4], [92, 60, 96, 64]],
    "whole picture and a thin line": [[0, 0, 96, 64], [0, 63.5, 96, 64]],
    "the same object twice": [[20, 20, 40, 40], [20, 20, 40, 40]],
    "centres on borders of cells": [[24, 24, 40, 40], [0, 0, 32, 64]],
}


@pytest.mark.parametrize("case", EDGE_CASES)
def test_edge_cases(case):
    boxes, classes = np.zeros((1, OBJECTS, 4), np.float32), np.full((1, OBJECTS), -1, np.int32)
    boxes[0, :2], classes[0, :2] = EDGE_CASES[case], (2, 0)
    check_by_iou(boxes, classes, 0, PAPER)
    check_by_shape(boxes, classes, replace(DEFAULT, shape_ratio=3.9371))


@pytest.mark.parametrize("label", [-1, -2], ids=["no objects", "all crowds"])
def test_without_objects_nothing_is_foreground(label):
    boxes = np.zeros((1, OBJECTS, 4), np.float32)
    if label == -2:
        boxes[0] = [[0, 0, 48, 64], [10, 10, 10, 10], [60, 0, 96, 20], [0, 0, 1, 1]]
    classes = np.full((1, OBJECTS), label, np.int32)
    check_by_iou(boxes, classes, 1, PAPER)
    check_by_shape(boxes, classes, DEFAULT)
    got = numpy_of(assign_by_iou(ANCHORS, GRID, boxes, classes, 1, PAPER))
    assert got["positive"].sum() == got["class_positive"].sum() == 0
    left_half = ANCHORS[:, 0] < 30
    assert got["ignore"][left_half].min() == got["ignore"].max() == (1.0 if label == -2 else 0.0)


def test_pictures_of_a_batch_do_not_mix():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 60, (3, OBJECTS, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 30, corner.shape)], -1).astype(np.float32)
    classes = rng.integers(-2, 3, (3, OBJECTS)).astype(np.int32)
    best = best_anchor(LEVELS, boxes)[0]
    anchors = anchor_boxes(LEVELS[0], 16, 4, 6)
    whole = [
        assign_by_iou(ANCHORS, GRID, boxes, classes, 0, PAPER),
        assign_by_shape(anchors, GRID, boxes, classes, best, DEFAULT),
    ]
    own = own_anchors(anchors_of_levels(), GRIDS, boxes, classes, 4)
    for i in range(3):
        one, label = boxes[i : i + 1], classes[i : i + 1]
        alone = [
            assign_by_iou(ANCHORS, GRID, one, label, 0, PAPER),
            assign_by_shape(anchors, GRID, one, label, best_anchor(LEVELS, one)[0], DEFAULT),
        ]
        found = own_anchors(anchors_of_levels(), GRIDS, one, label, 4)
        for together, single in zip(sum(own, ()), sum(found, ()), strict=True):
            single = ops.convert_to_numpy(single)[0]
            np.testing.assert_array_equal(ops.convert_to_numpy(together)[i], single)
        for together, single in zip(whole, alone, strict=True):
            for name in ("matched", "positive", "class_positive", "ignore"):
                np.testing.assert_array_equal(
                    ops.convert_to_numpy(getattr(together, name))[i],
                    ops.convert_to_numpy(getattr(single, name))[0],
                )


@settings(max_examples=30, deadline=None)
@given(ground_truth())
def test_best_anchor_is_one_of_all_levels(truth):
    boxes, _ = truth
    marks = [ops.convert_to_numpy(mark)[0] for mark in best_anchor(LEVELS, boxes)]
    assert [mark.shape for mark in marks] == [(OBJECTS, 3), (OBJECTS, 3)]
    marks, sides = np.concatenate(marks, -1), np.concatenate(LEVELS)
    assert (marks.sum(-1) == 1).all()
    for box, mark in zip(boxes[0], marks, strict=True):
        least = min(misfit(side, box) for side in sides)
        assert misfit(sides[mark.argmax()], box) == pytest.approx(least, rel=1e-5)


def test_grown_keeps_centres_and_larger_sides():
    boxes = np.array([[10, 10, 10, 10], [4, 4, 4.5, 9], [0, 0, 8, 2]], np.float32)
    expected = [[9.5, 9.5, 10.5, 10.5], [3.75, 4, 4.75, 9], [0, 0, 8, 2]]
    np.testing.assert_allclose(ops.convert_to_numpy(grown(ops.convert_to_tensor(boxes))), expected)


@settings(max_examples=40, deadline=None)
@given(ground_truth(), st.integers(0, 2**32 - 1))
def test_match_proposals_equals_the_loop(truth, seed):
    boxes, classes = truth
    rng = np.random.default_rng(seed)
    # Objects moved a little, so that many IoU are around one half; every third slot is empty.
    proposals = (np.repeat(boxes, 3, axis=1) + rng.uniform(-6, 6, (1, 3 * OBJECTS, 4))).astype(np.float32)
    scores = np.tile(np.float32([0.9, 0.0, 0.2]), OBJECTS)[None]
    matched, valid = (ops.convert_to_numpy(v)[0] for v in match_proposals(proposals, scores, boxes, classes))
    for n, proposal in enumerate(proposals[0]):
        proper = proposal[2] > proposal[0] and proposal[3] > proposal[1]
        overlaps = [
            iou(proposal.astype(float), box.astype(float)) if label >= 0 and proper else 0.0
            for box, label in zip(boxes[0], classes[0], strict=True)
        ]
        if abs(max(overlaps) - 0.5) < 1e-4:
            continue
        assert valid[n] == (max(overlaps) >= 0.5 and scores[0, n] > 0)
        if valid[n]:
            assert overlaps[matched[n]] == pytest.approx(max(overlaps), abs=1e-4)
