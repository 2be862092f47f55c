import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from painted import COLOURS, GROUND, SIZE, blob, check_agreement, painted_set
from pixels import seeds

from yoloseg.data.augment import Augmentation
from yoloseg.data.copy_paste import CopyPaste, Scene, Seen, behind, comes_with, fit_to_paste, moved
from yoloseg.data.geometry import similarity
from yoloseg.data.instances import Instance
from yoloseg.data.samples import Flip, Sample


def look(*instances, size=(50, 50)):
    return [Seen(one, one.box(*size)) for one in instances]


def grey_sample(*instances, size=(96, 128), **fields):
    return Sample(np.full((*size, 3), GROUND, np.uint8), instances, **fields)


def test_objects_behind_lose_what_is_hidden():
    hidden = np.zeros((50, 50), bool)
    hidden[10:20, 10:20] = True
    apart, half, crowd = blob(0, 30, 30, 40, 40), blob(1, 15, 10, 25, 20), blob(2, 0, 0, 50, 50, crowd=True)
    kept = behind(look(apart, half, crowd), hidden)
    assert kept[0].instance is apart and kept[2].instance is crowd
    assert kept[1].instance.class_index == 1 and np.allclose(kept[1].box, [20, 10, 25, 20])
    assert kept[1].instance.rasterise(50, 50).sum() == 50
    assert behind(look(blob(1, 12, 10, 21, 20)), hidden) is None  # it would show a ninth of itself


def test_nothing_is_left_of_what_is_hidden_whole():
    hidden = np.zeros((50, 50), bool)
    hidden[10:20, 10:20] = True
    between_centres = blob(1, 12.6, 12.6, 13.4, 13.4)
    assert between_centres.rasterise(50, 50).sum() == 0
    assert behind(look(blob(0, 11, 11, 19, 19), between_centres), hidden) == []
    elsewhere = look(blob(1, 30.6, 30.6, 31.4, 31.4))
    assert behind(elsewhere, hidden) == elsewhere


def test_half_of_itself_is_counted_from_before_all_that_hides_it():
    """Three objects after one another, each over less than half of what the one before left."""
    seen = look(blob(0, 0, 0, 40, 10))
    for x1, expected in ((10, 300), (18, 220)):
        hidden = np.zeros((50, 50), bool)
        hidden[:10, :x1] = True
        seen = behind(seen, hidden)
        assert seen[0].instance.rasterise(50, 50).sum() == expected
    hidden[:10, :25] = True
    assert behind(seen, hidden) is None  # 150 of 400, though of 220 it is more than half


def test_objects_are_pasted_where_it_looks_like_home():
    # left half dark, right half bright; the object comes from bright surroundings
    image = np.full((128, 128, 3), 20, np.uint8)
    image[:, 64:] = 220
    scene = Scene(Sample(image, (blob(0, 100, 0, 128, 128),), region=(0, 0, 128, 128)))
    rng = np.random.default_rng(0)
    bright, sides = np.array([220.0] * 3), np.array([20.0, 20.0])
    likely = scene.places(bright, sides)
    places = [scene.draw_place(likely, rng) for _ in range(60)]
    assert all(place[0] > 64 for place in places)
    # nor on top of the object that stands there
    assert all(place[0] + 10 <= 108 for place in places)
    assert all(10 <= place[1] <= 118 for place in places)
    assert scene.places(bright, np.array([140.0, 20.0])) is None
    assert scene.places(np.array([255.0, 0, 0]), sides) is None
    assert Scene(Sample(image, (blob(0, 0, 0, 128, 128),))).places(bright, sides) is None


def test_only_the_surroundings_decide_not_what_will_be_hidden():
    """A bright spot on dark ground, as large as the object: dark surroundings are at home there."""
    image = np.full((128, 128, 3), 20, np.uint8)
    image[48:80, 48:80] = 220
    likely = Scene(Sample(image)).places(np.array([20.0] * 3), np.array([32.0, 32.0]))
    assert likely[7:9, 7:9].min() > 0.9 and likely[7:9, 3:5].max() < 0.9 < likely[2, 2]


def test_padding_is_no_surroundings():
    """A bright picture between grey bars: an object from bright ground is at home all over it."""
    image = np.full((128, 128, 3), 114, np.uint8)
    image[32:96] = 250
    scene = Scene(Sample(image, region=(0, 32, 128, 96)))
    likely = scene.places(np.array([250.0] * 3), np.array([30.0, 40.0]))
    rows = np.flatnonzero(likely.any(1))
    assert rows.tolist() == [6, 7, 8, 9] and (likely[rows][:, 2:14] > 0.99).all()


def test_a_thin_object_does_not_take_up_its_whole_box():
    line = Instance(
        0, polygons=(np.array([[0, 0], [4, 0], [128, 124], [128, 128], [124, 128], [0, 4]], float),)
    )
    image = np.full((128, 128, 3), 20, np.uint8)
    likely = Scene(Sample(image, (line,))).places(np.array([20.0] * 3), np.array([30.0, 30.0]))
    assert likely is not None and likely[2, 13] > 0 and likely[8, 8] == 0


def test_draws_follow_the_map():
    scene = Scene(grey_sample())
    likely = np.zeros((12, 16))
    likely[3, 5], likely[11, 15] = 3.0, 1.0
    rng = np.random.default_rng(0)
    places = np.array([scene.draw_place(likely, rng) for _ in range(400)])
    first = (places == (44.0, 28.0)).all(1)
    assert ((places == (124.0, 92.0)).all(1) | first).all() and 0.7 < first.mean() < 0.8


def test_only_whole_objects_of_middling_size_are_pasted():
    donor = Sample(np.zeros((100, 100, 3), np.uint8), region=(0, 20, 100, 80))
    assert fit_to_paste(blob(0, 20, 30, 50, 60), donor)
    assert not fit_to_paste(blob(0, 20, 30, 50, 60, crowd=True), donor)
    assert not fit_to_paste(blob(0, 20, 30, 26, 60), donor)  # too thin
    assert not fit_to_paste(blob(0, 3, 30, 97, 60), donor)  # too large
    assert not fit_to_paste(blob(0, 20, 50, 50, 80), donor)  # cut by the picture's lower edge
    large = Sample(np.zeros((800, 800, 3), np.uint8))
    assert fit_to_paste(blob(0, 9, 300, 500, 600), large)
    assert not fit_to_paste(blob(0, 5, 300, 500, 600), large)  # drawn short of the edge that cuts it


def test_what_lies_on_an_object_comes_with_it():
    table, cup, edge = blob(0, 20, 20, 60, 60), blob(1, 30, 30, 40, 40), blob(2, 59, 20, 90, 60)
    mostly = blob(3, 50, 40, 66, 50)
    donor = grey_sample(table, cup, edge, mostly, blob(4, 100, 10, 110, 20))
    size = donor.image.shape[:2]

    def with_it(one, among=donor):
        found = comes_with(one, among, one.rasterise(*size), one.box(*size))
        return found and [other.class_index for other in found]

    assert with_it(table) == [0, 1, 3]
    carried = comes_with(table, donor, table.rasterise(*size), table.box(*size))
    assert carried[1] is cup and np.allclose(carried[2].box(*size), [50, 40, 60, 50])
    assert with_it(cup) == [1], "of the table it shows little"
    assert with_it(table, grey_sample(table, blob(1, 50, 30, 80, 40))) is None, "a third of that one"
    assert with_it(table, grey_sample(table, blob(1, 0, 0, 128, 96, crowd=True))) is None
    assert with_it(table, grey_sample(table, blob(1, 58, 0, 128, 96, crowd=True))) == [0]


@pytest.mark.parametrize("count", [0, 1])
def test_copy_paste_adds_labelled_objects(count):
    rng = np.random.default_rng(3)
    image = np.full((96, 128, 3), GROUND, np.uint8)
    donor_image = image.copy()
    donor_image[30:60, 40:70] = COLOURS[2]
    donor = Sample(donor_image, (blob(2, 40, 30, 70, 60),) * count)
    sample = CopyPaste(1.0, most=1)(Sample(image), rng, [donor])
    assert len(sample.instances) == count
    if count:
        assert sample.instances[0].class_index == 2
        check_agreement(sample)
        assert np.array_equal(image, np.full_like(image, GROUND))


@settings(max_examples=60, deadline=None)
@given(seeds())
def test_what_is_pasted_agrees_with_its_labels(seed):
    """Pasted three times over, upon what was pasted before; never more than `most` new ones a time."""
    rng = np.random.default_rng(seed)
    samples = painted_set(rng)
    sample = samples[0]
    for most in (3, 1, 2):
        before = len(sample.instances)
        sample = CopyPaste(1.0, most=most)(sample, rng, samples)
        assert len(sample.instances) <= before + most
        check_agreement(sample)
        assert all(one.rasterise(*SIZE).any() for one in sample.instances)


def test_most_pastes_find_a_place():
    rng = np.random.default_rng(0)
    samples = painted_set(rng, 12)
    pasted = [
        len(CopyPaste(1.0, most=1)(one, rng, samples).instances) - len(one.instances) for one in samples * 10
    ]
    assert np.mean(np.array(pasted) == 1) > 0.8


def test_small_objects_under_a_large_one_do_not_stop_it():
    small = [blob(1, x, y, x + 8, y + 8) for y in range(8, 400, 40) for x in range(8, 400, 40)]
    crowded = grey_sample(*small, size=(416, 416))
    donor = grey_sample(blob(2, 100, 100, 180, 180), size=(416, 416))
    after = CopyPaste(1.0, most=1)(crowded, np.random.default_rng(1), [donor])
    assert [one.class_index for one in after.instances].count(2) == 1
    assert len(after.instances) < len(small) + 1


def test_shrunken_objects_are_averaged():
    """A checkerboard of single pixels becomes grey, as in a smaller photograph of it, and its edge stays."""
    image = np.full((96, 128, 3), GROUND, np.uint8)
    image[20:80, 40:100] = 255 * (np.indices((60, 60)).sum(0) % 2)[:, :, None]
    object_ = blob(0, 40, 20, 100, 80)
    matrix = similarity(0.4, 0.0, np.array([70.0, 50.0]), np.array([60.0, 40.0]))
    mask = object_.rasterise(96, 128)
    pixels, cover, (x0, y0, x1, y1) = moved(image, mask, object_.box(96, 128), matrix, (96, 128))
    inside = cover == 255
    assert np.abs(pixels[inside].astype(int) - 127).max() <= 2
    canvas = np.zeros((96, 128), np.uint8)
    canvas[y0:y1, x0:x1] = cover
    assert np.array_equal(canvas > 127, object_.transform(matrix).rasterise(96, 128) > 0)
    assert abs(canvas.sum() / 255 - 24 * 24) < 12


@settings(max_examples=40, deadline=None)
@given(seeds())
def test_a_window_holds_what_the_whole_frame_would(seed):
    """Pixels and cover are those of warping the whole picture, where it is not halved first."""
    rng = np.random.default_rng(seed)
    samples = [one for one in painted_set(rng, 6) if one.instances]
    if not samples:
        return
    donor = samples[0]
    one = donor.instances[0]
    mask, box = one.rasterise(*SIZE), one.box(*SIZE)
    matrix = similarity(rng.uniform(0.6, 1.2), 0.0, (box[:2] + box[2:]) / 2, rng.uniform([30, 30], [98, 66]))
    pixels, cover, (x0, y0, x1, y1) = moved(donor.image, mask, box, matrix, SIZE)
    assert pixels.shape[:2] == cover.shape == (y1 - y0, x1 - x0)
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2].sum(1) / 2 - 0.5
    whole = cv2.warpAffine(mask * np.uint8(255), shifted, SIZE[::-1], flags=cv2.INTER_LINEAR)
    frame = np.zeros(SIZE, np.uint8)
    frame[y0:y1, x0:x1] = cover
    assert np.abs(frame.astype(int) - whole).max() <= 16  # OpenCV's weights have 5 bits
    flags = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
    colours = cv2.warpAffine(donor.image, shifted, SIZE[::-1], **flags)[y0:y1, x0:x1]
    assert np.abs(pixels.astype(int) - colours)[cover > 127].max(initial=0) <= 16


@pytest.mark.parametrize("flip, both", [(0.5, True), (0.0, False), (1.0, False)])
def test_where_sides_matter_nothing_is_mirrored(flip, both):
    """An object black on its left and white on its right."""
    image = np.full((96, 128, 3), GROUND, np.uint8)
    image[30:60, 40:55], image[30:60, 55:70] = 0, 255
    donor = Sample(image, (blob(0, 40, 30, 70, 60),))
    augmentation = Augmentation(flip=flip, copy_paste=1.0)
    paste = augmentation.transforms()[0]
    assert isinstance(paste, CopyPaste) and augmentation.transforms()[1:] == ([Flip(flip)] if flip else [])
    mirrored = []
    for seed in range(30):
        sample = paste(grey_sample(), np.random.default_rng(seed), [donor])
        x0, y0, x1, y1 = sample.instances[0].box(*SIZE).astype(int)
        left, right = sample.image[y0:y1, x0 + 3].mean(), sample.image[y0:y1, x1 - 4].mean()
        mirrored.append(left > right)
    assert any(mirrored) == both and not all(mirrored)


def test_pictures_without_objects_are_passed_over():
    donor = grey_sample(blob(2, 40, 30, 70, 60))
    empty = grey_sample()
    pasted = [
        len(CopyPaste(1.0, most=1)(empty, np.random.default_rng(seed), [empty, donor]).instances)
        for seed in range(60)
    ]
    assert np.mean(pasted) > 0.7  # one draw alone would give half
    assert CopyPaste(1.0)(empty, np.random.default_rng(0), [empty]) is empty
    assert CopyPaste(1.0)(empty, np.random.default_rng(0), []) is empty


def test_classes_that_are_known_stay_as_the_picture_has_them():
    donor = grey_sample(blob(2, 40, 30, 70, 60), exhaustive=frozenset({2}))
    sample = CopyPaste(1.0)(grey_sample(exhaustive=frozenset({1})), np.random.default_rng(0), [donor])
    assert len(sample.instances) == 1 and sample.exhaustive == frozenset({1})
