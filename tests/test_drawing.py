"""Drawing marks what it should, leaves the rest alone, and stays inside the picture at any size."""

import numpy as np
import pytest
import supervision as sv

from yoloseg.data.instances import Instance
from yoloseg.data.samples import Sample
from yoloseg.inference.drawing import SHEET_GREY, draw_instances, draw_sample, grid

GREY = 114


def picture(height, width):
    return np.full((height, width, 3), GREY, np.uint8)


def test_mask_pixels_are_mixed_half_and_half_with_the_class_colour():
    image = picture(200, 300)
    mask = np.zeros((200, 300), bool)
    mask[100:150, 120:200] = True
    drawn = draw_instances(
        image, np.array([[120, 100, 200, 150]]), np.array([1]), ["owl"], mask_of=lambda i: mask
    )
    colour = np.array([255, 64, 64])  # supervision's second colour, as RGB
    assert np.abs(drawn[125, 160].astype(int) - (colour + GREY) / 2).max() <= 1
    assert (drawn[120, 117:123] == colour).all(axis=-1).any()  # the box
    assert (drawn[170:, :] == GREY).all() and (drawn[:, 210:] == GREY).all()
    assert (image == GREY).all()


def test_small_instances_lie_over_large_ones_whatever_their_order():
    masks = np.zeros((2, 240, 240), bool)
    masks[0, 110:130, 110:130] = True
    masks[1, 40:220, 20:220] = True
    boxes = np.array([[110, 110, 130, 130], [20, 40, 220, 220]])
    arguments = {"scores": np.array([0.9, 0.8])}
    one = draw_instances(
        picture(240, 240), boxes, np.array([0, 2]), ["", ""], **arguments, mask_of=masks.__getitem__
    )
    two = draw_instances(
        picture(240, 240),
        boxes[::-1],
        np.array([2, 0]),
        ["", ""],
        scores=np.array([0.8, 0.9]),
        mask_of=masks[::-1].__getitem__,
    )
    assert np.array_equal(one, two)
    assert (one[120, 120] != one[170, 170]).any()


def test_no_instances_gives_an_equal_copy():
    image = picture(50, 60)
    drawn = draw_instances(image, np.zeros((0, 4)), np.zeros(0, int), [], np.zeros(0), mask_of=None)
    assert np.array_equal(drawn, image) and not np.shares_memory(drawn, image)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (32, 400), (400, 32), (480, 640), (1500, 2000)])
def test_labels_are_written_in_every_size(height, width):
    boxes = np.array([[0, 0, width, height], [0.9 * width, 0.9 * height, width, height]], np.float32)
    arguments = (picture(height, width), boxes, np.array([0, 1]))
    names = ["rhesus monkey"] * 2
    plain = draw_instances(*arguments, ["", ""])
    drawn = draw_instances(*arguments, names, np.array([0.5, 0.25]))
    assert drawn.shape == (height, width, 3) and drawn.dtype == np.uint8
    assert (drawn != plain).any()


def test_label_at_the_upper_edge_is_moved_into_the_picture():
    drawn = draw_instances(picture(200, 300), np.array([[250.0, 0, 300, 60]]), np.array([0]), ["elephant"])
    colour = np.array([163, 81, 251])
    rows = np.flatnonzero((np.abs(drawn.astype(int) - colour).max(axis=2) < 3).sum(axis=1) > 40)
    assert len(rows) >= 8  # the filled background of a line of text, wider than half the box


def test_dark_letters_on_light_colours_and_light_ones_on_dark():
    for class_id, dark_ink in ((6, True), (15, False)):  # light green, dark blue
        drawn = draw_instances(
            picture(300, 300), np.array([[50.0, 100, 250, 250]]), np.array([class_id]), ["MMMM"]
        )
        assert (drawn < 30).all(axis=-1).any() == dark_ink  # OpenCV 4 smooths what 5 writes in black
        assert (drawn > 225).all(axis=-1).any() != dark_ink


def test_labels_never_hide_a_crowd():
    boxes = np.array(
        [[x, y, x + 8, y + 8] for y in range(10, 290, 20) for x in range(10, 290, 20)], np.float32
    )
    ids, scores = np.zeros(len(boxes), int), np.linspace(0.1, 0.9, len(boxes))
    plain = draw_instances(picture(300, 300), boxes, ids, [""] * len(boxes), scores=None)
    drawn = draw_instances(picture(300, 300), boxes, ids, ["octahedron"] * len(boxes), scores)
    covered = (drawn != plain).any(axis=-1).mean()
    assert 0.03 < covered < 0.15
    assert (drawn != plain)[200:].any() and not (drawn != plain)[
        :150
    ].any()  # the best scored lie at the bottom


def test_ground_truth_is_drawn_as_predictions_are():
    mask = np.zeros((200, 300), bool)
    mask[100:150, 120:200] = True
    sample = Sample(picture(200, 300), (Instance.from_mask(mask, 1),))
    boxes, ids = np.array([[120, 100, 200, 150]]), np.array([1])
    expected = draw_instances(picture(200, 300), boxes, ids, ["owl"], mask_of=lambda i: mask)
    assert np.array_equal(draw_sample(sample, ["bear", "owl"]), expected)
    assert np.array_equal(draw_sample(Sample(picture(20, 30)), ["bear"]), picture(20, 30))


def test_grid_places_pictures_row_by_row():
    colours = [(10, 20, 30), (40, 50, 60), (70, 80, 90)]
    sheet = grid([np.full((60, 80, 3), colour, np.uint8) for colour in colours], columns=2)
    assert sheet.shape == (2 * 64 + 4, 2 * 84 + 4, 3)
    for colour, top, left in zip(colours, (4, 4, 68), (4, 88, 4), strict=True):
        assert (sheet[top : top + 60, left : left + 80] == colour).all()
    assert (sheet[68:, 88:] == SHEET_GREY).all() and (sheet[:4] == SHEET_GREY).all()


def test_grid_keeps_the_aspect_of_pictures_of_different_sizes():
    wide, tall = np.full((100, 200, 3), 255, np.uint8), np.full((300, 100, 3), 200, np.uint8)
    sheet = grid([wide, tall], columns=5, longest_side=150, captions=["prediction", "ground truth"])
    assert sheet.shape == (150 + 22 + 8, 2 * 104 + 4, 3)  # the tile is 300 x 200 halved
    body = sheet[26:]
    assert (body[:, 4:104] == 255).all(axis=-1).sum() == 50 * 100
    assert (body[:, 108:] == 200).all(axis=-1).sum() == 150 * 50
    assert (sheet[4:26] > 200).any()  # the captions


def test_grid_refuses_nothing():
    with pytest.raises(ValueError, match="needs pictures"):
        grid([], 2)
    with pytest.raises(ValueError, match="2 captions for 1"):
        grid([picture(4, 4)], 1, captions=["a", "b"])


def test_masks_are_blended_as_supervision_blends_them():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3), np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[5:30, 10:50] = rng.random((25, 40)) < 0.5
    drawn = draw_instances(image, [[0, 0, 1, 1]], [3], [""], mask_of=lambda i: mask)
    colour = sv.ColorPalette.DEFAULT.by_idx(3)
    swapped = sv.ColorPalette([sv.Color(colour.b, colour.g, colour.r)])  # the annotator writes BGR
    one = sv.Detections(xyxy=np.zeros((1, 4)), mask=mask[None], class_id=np.array([0]))
    expected = sv.MaskAnnotator(color=swapped, opacity=0.5).annotate(image.copy(), one)
    np.testing.assert_allclose(drawn[3:].astype(int), expected[3:].astype(int), atol=1)
    np.testing.assert_array_equal(drawn[3:][~mask[3:]], image[3:][~mask[3:]])
