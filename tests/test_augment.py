import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from painted import COLOURS, GROUND, SIZE, check_agreement, painted_set
from pixels import seeds

from yoloseg.data.augment import Affine, Augmentation, Colour, Erase, place
from yoloseg.data.copy_paste import CopyPaste
from yoloseg.data.geometry import similarity
from yoloseg.data.instances import Instance
from yoloseg.data.records import Record
from yoloseg.data.samples import Flip, Sample, read_sample


def chain_of(flags, rng):
    transforms = [
        CopyPaste(1.0),
        Affine((0.6, 1.4), 0.2, 20.0, 0.0),
        Affine((0.6, 1.4), 0.2, 8.0, 1.0),
        Flip(1.0),
        Affine((0.3, 0.55), 0.2, 20.0, 0.0),
    ]
    return [transforms[i] for i in flags]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=3), seeds())
def test_pictures_masks_boxes_and_classes_agree(flags, seed):
    rng = np.random.default_rng(seed)
    samples = painted_set(rng)
    sample = samples[0]
    for transform in chain_of(flags, rng):
        sample = transform(sample, rng, samples)
    assert sample.image.shape == (*SIZE, 3) and sample.image.dtype == np.uint8
    check_agreement(sample)


@settings(max_examples=20, deadline=None)
@given(seeds())
def test_inputs_are_left_alone_and_draws_repeat(seed):
    samples = painted_set(np.random.default_rng(seed))
    before = [(one.image.copy(), one.instances) for one in samples]
    every = Augmentation(0.5, 0.1, 0.5, 0.5, (0.5, 1.5), 0.1, 5.0, 0.5, 0.7, 0.5)

    def run():
        rng, sample = np.random.default_rng(seed), samples[0]
        for transform in every.transforms():
            sample = transform(sample, rng, samples)
        return sample

    first, second = run(), run()
    assert np.array_equal(first.image, second.image) and len(first.instances) == len(second.instances)
    for one, (image, instances) in zip(samples, before, strict=True):
        assert np.array_equal(one.image, image) and one.instances is instances


def test_affine_moves_the_picture_by_the_matrix_it_gives_the_instances():
    square = np.array([[40, 30], [60, 30], [60, 50], [40, 50]], np.float64)
    image = np.full((80, 100, 3), GROUND, np.uint8)
    image[30:50, 40:60] = 250
    sample = Sample(image, (Instance(0, polygons=(square,)),))
    moved = Affine((2.0, 2.0), 0.0, 0.0)(sample, np.random.default_rng(0))
    # twice as large around the centre (50, 40)
    assert np.allclose(moved.instances[0].box(80, 100), [30, 20, 70, 60])
    assert (moved.image[21:59, 31:69] == 250).all() and (moved.image[:19] == GROUND).all()


def test_mosaic_shows_four_pictures_that_meet_without_a_gap():
    samples = [Sample(np.full((64, 64, 3), 10 * (i + 1), np.uint8)) for i in range(4)]
    seen = set()
    for seed in range(40):
        mosaic = Affine((1.0, 1.0), 0.0, 0.0, 1.0)(samples[0], np.random.default_rng(seed), samples)
        values = set(np.unique(mosaic.image).tolist())
        assert max(values) <= 40 and 10 in values  # no grey: at scale 1 each tile is a whole frame
        seen |= values & {10, 20, 30, 40}
    assert seen == {10, 20, 30, 40}


def test_padding_of_a_letterbox_is_not_carried_into_a_mosaic():
    image = np.full((40, 80, 3), 200, np.uint8)
    record = Record(0, lambda: image, 40, 80)
    sample = read_sample(record, (64, 64))
    assert sample.region == (0, 16, 64, 48)
    mosaic = Affine((1.0, 1.0), 0.0, 0.0, 1.0)
    pictures = [mosaic(sample, np.random.default_rng(seed), [sample]).image for seed in range(20)]
    for picture in pictures:
        covered = (picture[:, :, 0] == 200).any(1)  # rows around the meeting point, without a grey line
        rows = np.flatnonzero(covered)
        assert np.array_equal(rows, np.arange(rows[0], rows[-1] + 1))


def test_an_outline_beyond_its_picture_claims_nothing_of_the_neighbour():
    image = np.full((64, 64, 3), GROUND, np.uint8)
    image[20:40, 44:] = COLOURS[1]
    beyond = np.array([[44, 20], [90, 20], [90, 40], [44, 40]], np.float64)
    sample = Sample(image, (Instance(1, polygons=(beyond,)),))
    for seed in range(10):
        mosaic = Affine((0.8, 0.8), 0.0, 0.0, 1.0)(sample, np.random.default_rng(seed), [sample])
        check_agreement(mosaic)


def test_place_is_bilinear_sampling():
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    canvas = np.full((45, 65, 3), 7, np.uint8)
    matrix = similarity(1.2, 10.0, np.array([15.0, 10.0]), np.array([31.3, 22.6]))
    place(canvas, picture, matrix)
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    checked = 0
    for row in range(45):
        for column in range(65):
            x, y, _ = back @ [column + 0.5, row + 0.5, 1] - 0.5
            if not (0.1 < x < 28.9 and 0.1 < y < 18.9):
                continue
            i, j = int(y), int(x)
            fy, fx = y - i, x - j
            near = picture[i : i + 2, j : j + 2].astype(float)
            wanted = (near[0, 0] * (1 - fx) + near[0, 1] * fx) * (1 - fy)
            wanted = wanted + (near[1, 0] * (1 - fx) + near[1, 1] * fx) * fy
            assert np.abs(canvas[row, column] - wanted).max() < 10  # OpenCV's weights have 5 bits
            checked += 1
    assert checked > 300
    assert (canvas[0, 0] == 7).all()


def test_colour_changes_what_it_says():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:] = (200, 100, 50)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[0, 0].astype(int)
    rng = np.random.default_rng(0)
    sample = Sample(image)
    for _ in range(50):
        value = cv2.cvtColor(Colour(0, 0, 0.4)(sample, rng).image, cv2.COLOR_RGB2HSV)[0, 0].astype(int)
        assert abs(value[0] - hsv[0]) <= 2 and 0.59 * hsv[2] <= value[2] <= min(255, 1.41 * hsv[2])
        turned = cv2.cvtColor(Colour(0.05, 0, 0)(sample, rng).image, cv2.COLOR_RGB2HSV)[0, 0].astype(int)
        assert abs((turned[0] - hsv[0] + 90) % 180 - 90) <= 10 and abs(turned[2] - hsv[2]) <= 1
    assert np.array_equal(Colour(0, 0, 0)(sample, rng).image, image)


def test_erase_fills_one_box_of_the_asked_area():
    sample = Sample(np.full((100, 100, 3), 128, np.uint8))
    for seed in range(20):
        changed = (Erase(1.0)(sample, np.random.default_rng(seed)).image != 128).any(-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        area = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1) / 1e4
        assert 0.01 < area < 0.25 and changed.sum() > 0.95 * area * 1e4
    assert Erase(0.0)(sample, np.random.default_rng(0)) is sample


def test_what_changes_nothing_is_not_in_the_chain():
    assert Augmentation(flip=0.0).transforms() == []
    assert [type(one) for one in Augmentation().transforms()] == [Flip]
    full = Augmentation(0.5, 0.1, 0.5, 0.5, (0.5, 1.5), 0.1, 5.0, 0.5, 0.7, 0.5)
    assert [type(one) for one in full.transforms()] == [CopyPaste, Affine, Flip, Colour, Erase]
    late = full.without_mixing().transforms()
    assert [type(one) for one in late] == [Affine, Flip, Colour, Erase] and late[0].mosaic == 0.0
