"""The tracker on detections made by hand, and on the built-in clips with their true masks."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from yoloseg.data.shapes import load_shapes
from yoloseg.errors import UsageError
from yoloseg.tracking import Tracker, TrackerConfig
from yoloseg.tracking.detections import Detections
from yoloseg.tracking.reid import LEAST, NEWEST, UNLIKE, bidirectional_softmax, remembered

SIZE = (120, 200)


def detections(*objects, embeddings=None):
    """Of (x, y, side, class) or (x, y, side, class, score): squares."""
    masks = []
    for x, y, side, *_ in objects:
        mask = np.zeros(SIZE, np.uint8, order="F")
        mask[max(y, 0) : y + side, max(x, 0) : x + side] = 1
        masks.append(coco_mask.encode(mask))
    return Detections(
        boxes=np.array([(x, y, x + side, y + side) for x, y, side, *_ in objects], float).reshape(-1, 4),
        scores=np.array([one[4] if len(one) > 4 else 0.9 for one in objects]),
        class_ids=np.array([one[3] for one in objects], int),
        masks=masks,
        embeddings=embeddings,
    )


def followed(frames, config=None):
    tracker = Tracker(config)
    return [tracker.update(frame).tolist() for frame in frames]


def test_identities_last_and_classes_stay_apart():
    frames = [detections((10 + 4 * t, 20, 30, 0), (100 - 4 * t, 25, 30, 1)) for t in range(20)]
    assert followed(frames) == [[1, 2]] * 20  # they cross
    frames = [detections((10, 20, 30, 0)), detections((10, 20, 30, 1))]
    assert followed(frames) == [[1], [2]]
    assert followed(frames, TrackerConfig(across_classes=True)) == [[1], [1]]


def test_empty_frames():
    empty, one = detections(), detections((10, 10, 20, 0))
    assert followed([empty, one, empty, one]) == [[], [1], [], [1]]
    assert followed([empty, one, empty, one], TrackerConfig.report()) == [[], [1], [], [2]]


def test_memory_ends():
    seen, empty = detections((10, 10, 20, 0)), detections()
    for memory, ids in ((2, [1]), (1, [2])):
        frames = [seen, empty, empty, seen]
        assert followed(frames, TrackerConfig(memory=memory, motion=False))[-1] == ids
        tracker = Tracker(TrackerConfig(memory=memory))
        for frame in (seen, *[empty] * memory):
            tracker.update(frame)
        assert len(tracker.tracks) == 1 and (tracker.update(empty), len(tracker.tracks))[1] == 0


def test_a_lost_object_is_looked_for_where_it_should_be():
    """It moves 8 pixels a frame, is hidden for 6 frames, and comes back 56 pixels on."""
    frames = [detections((10 + 8 * t, 40, 20, 0)) if not 8 <= t < 14 else detections() for t in range(18)]
    assert followed(frames)[-1] == [1]
    assert followed(frames, TrackerConfig(motion=False))[-1] == [2]


def test_missing_frames_count():
    """Frames 8 to 13 are not given at all: the object has moved on by as much."""
    tracker = Tracker()
    for number in [*range(8), *range(14, 18)]:
        ids = tracker.update(detections((10 + 8 * number, 40, 20, 0)), number)
        assert ids.tolist() == [1]
    with pytest.raises(ValueError, match="frame 17 comes after frame 17"):
        tracker.update(detections(), 17)


def test_doubtful_detections():
    """Two detections of one object's place: which goes on is doubtful."""
    frames = [detections((50, 40, 30, 0)), detections((46, 40, 30, 0), (54, 40, 30, 0))]
    for doubtful, ids in (("best", [1, 2]), ("new", [2, 3]), ("drop", [0, 0])):
        found = followed(frames, TrackerConfig(doubtful=doubtful, motion=False))[1]
        assert sorted(found) == sorted(ids), doubtful


def test_weak_detections_open_no_track_but_continue_one():
    config = TrackerConfig(new_score=0.5)
    weak, strong = detections((10, 10, 20, 0, 0.3)), detections((10, 10, 20, 0, 0.6))
    assert followed([weak, strong], config) == [[0], [1]]
    assert followed([strong, weak], config) == [[1], [1]]


def test_classes_are_voted_on():
    tracker = Tracker(TrackerConfig(across_classes=True))
    for kind, score in ((3, 0.9), (5, 0.4), (5, 0.4), (5, 0.4)):
        tracker.update(detections((10, 10, 20, kind, score)))
    assert tracker.tracks[1].class_id == 5
    assert tracker.tracks[1].score == pytest.approx(2.1 / 4)


def test_instances_are_known_again_by_their_embeddings():
    """Two objects leave and come back with their places exchanged, too far for anything but embeddings."""
    own = np.eye(4)[:2]
    before = detections((5, 5, 20, 0), (150, 80, 20, 0), embeddings=own)
    after = detections((5, 80, 20, 0), (150, 5, 20, 0), embeddings=own[::-1])
    nothing = detections(embeddings=np.zeros((0, 4)))
    config = TrackerConfig(reid=True, motion=False)
    assert followed([before, nothing, after], config)[-1] == [2, 1]
    assert followed([before, nothing, after], TrackerConfig(motion=False))[-1] == [3, 4]
    strange = detections((5, 80, 20, 0), embeddings=np.eye(4)[3:])
    assert followed([before, nothing, strange], config)[-1] == [3]
    with pytest.raises(UsageError, match="embeddings"):
        followed([detections((5, 5, 20, 0)), detections(), detections((90, 80, 20, 0))], config)


def test_looks_count_before_places():
    """Two objects change places from one frame to the next, as after a cut, or while neither is seen."""
    own = np.eye(2)
    before = detections((20, 20, 30, 0), (90, 60, 30, 0), embeddings=own)
    after = detections((22, 20, 30, 0), (88, 60, 30, 0), embeddings=own[::-1])
    nothing = detections(embeddings=np.zeros((0, 2)))
    for frames in ([before, before, after], [before, before, nothing, after]):
        assert followed(frames)[-1] == [1, 2]
        assert followed(frames, TrackerConfig(reid=True))[-1] == [2, 1]


def test_what_looks_unlike_does_not_take_a_mask_over():
    """Alone, it is the object again where motion looks for it, and another one otherwise."""
    for cosine, ids in ((UNLIKE + 0.01, [1]), (UNLIKE - 0.01, [2])):
        later = np.array([[cosine, np.sqrt(1 - cosine**2)]])
        frames = [
            detections((20, 20, 30, 0), embeddings=np.eye(2)[:1]),
            detections((20, 20, 30, 0), embeddings=later),
        ]
        assert followed(frames, TrackerConfig(reid=True, motion=False))[-1] == ids
        assert followed(frames, TrackerConfig(reid=True))[-1] == [1]


def test_bidirectional_softmax_and_memory_by_their_formulas():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(3, 5)), rng.normal(size=(4, 5))
    one, other = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (one, other))
    powers = np.exp(20.0 * one @ other.T)
    expected = (powers / powers.sum(0) + powers / powers.sum(1, keepdims=True)) / 2
    expected[one @ other.T <= LEAST] = 0
    assert 0 < (expected > 0).sum() < expected.size
    np.testing.assert_allclose(bidirectional_softmax(one, other), expected)
    vectors = np.array([[1.0, 0.0], [0.0, 1.0]])
    weights = np.array([NEWEST + 2 / 4, NEWEST + 2 / 1])
    np.testing.assert_allclose(remembered(vectors, np.array([4, 1])), weights / weights.sum())


def test_true_masks_of_the_built_in_clips():
    """Nearly every object keeps one id, and no id is given to two objects."""
    dataset = load_shapes("val", clips=4, frames=30)
    owners, ids_of = {}, {}
    for start in range(0, len(dataset), 30):
        tracker = Tracker()
        for record in dataset.records[start : start + 30]:
            found = record.annotations
            ids = tracker.update(
                Detections(
                    np.array([one.box for one in found]).reshape(-1, 4),
                    np.ones(len(found)),
                    np.array([one.class_index for one in found], int),
                    [one.segmentation for one in found],
                )
            )
            for one, number in zip(found, ids.tolist(), strict=True):
                owners.setdefault((start, number), set()).add(one.track_id)
                ids_of.setdefault(one.track_id, set()).add(number)
    assert all(len(objects) == 1 for objects in owners.values())
    assert sum(len(ids) == 1 for ids in ids_of.values()) >= 0.9 * len(ids_of)


def test_numbers_that_make_no_sense():
    for wrong in ({"gating": 0.0}, {"margin": -0.1}, {"memory": -1}, {"new_score": 1.5}, {"doubtful": "x"}):
        with pytest.raises(UsageError):
            TrackerConfig(**wrong)
