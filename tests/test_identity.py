"""HOTA, IDF1, switches and fragmentations: by hand, by loops, and against values of TrackEval."""

import json
from pathlib import Path

import numpy as np
import pytest
from random_tracks import iou_of, random_vis, read, scene

from yoloseg.evaluation.identity import COUNTS, IDENTITY_NAMES, identity_metrics

REFERENCE = json.loads((Path(__file__).parent / "references" / "trackeval_reference.json").read_text())
A, B = (0, 10), (20, 30)


@pytest.mark.parametrize("seed", REFERENCE)
def test_values_of_trackeval(seed):
    """HOTA, DetA, AssA, IDF1 and identity switches of random sets (fragmentations are counted otherwise)."""
    ground_truth, results = random_vis(int(seed), clips=3, frames=6, classes=2, size=(20, 60), most=6)
    for annotation in ground_truth["annotations"]:
        annotation["iscrowd"] = 0
    classes = identity_metrics(ground_truth, results, 0.2)["per_class"]
    for name, expected in REFERENCE[seed].items():
        found = [classes[name][key] for key in (*IDENTITY_NAMES, "switches")]
        assert found == pytest.approx(expected, abs=1e-9), name


@pytest.mark.parametrize(
    "truths, found, expected",
    [
        ([[A] * 10, [B] * 10], [[B] * 10, [A] * 10], (1, 1, 1, 1, 0, 0)),
        # Halves by two tracks: each match agrees in 5 of 10 frames.
        ([[A] * 10], [[A] * 5 + [None] * 5, [None] * 5 + [A] * 5], (0.5**0.5, 1, 0.5, 0.5, 1, 0)),
        # Two objects change their tracks in the middle: 5 of 15 frames agree.
        (
            [[A] * 10, [B] * 10],
            [[A] * 5 + [B] * 5, [B] * 5 + [A] * 5],
            ((1 / 3) ** 0.5, 1, 1 / 3, 0.5, 2, 0),
        ),
        # Lost for 2 of 10 frames: 8 of 10 are found.
        ([[A] * 10], [[A] * 4 + [None] * 2 + [A] * 4], (0.8, 0.8, 0.8, 16 / 18, 0, 1)),
        # Not seen for 2 frames: nothing is lost.
        (
            [[A] * 4 + [None] * 2 + [A] * 4],
            [[A] * 4 + [None] * 2 + [A] * 4],
            (1, 1, 1, 1, 0, 0),
        ),
        # IoU 0.6: found at 12 of 19 thresholds.
        ([[A] * 3], [[(0, 6)] * 3], (12 / 19, 12 / 19, 12 / 19, 1, 0, 0)),
        ([[A] * 3], [], (0, 0, 0, 0, 0, 0)),
    ],
)
def test_identity_by_hand(truths, found, expected):
    metrics = identity_metrics(*scene(truths, found))
    names = IDENTITY_NAMES + COUNTS
    assert [metrics[name] for name in names] == pytest.approx(list(expected))
    assert [metrics["per_class"]["fish"][name] for name in names] == pytest.approx(list(expected))


def test_a_match_is_kept_while_it_can_be():
    """A better track beside it takes nothing over, and where the first one is lost, that is one switch."""
    worse, better = (0, 7), (0, 9)
    ground_truth, results = scene([[A] * 4], [[worse] * 4, [None] + [better] * 3])
    assert identity_metrics(ground_truth, results)["switches"] == 0
    ground_truth, results = scene([[A] * 4], [[worse] * 2 + [None] * 2, [None] + [better] * 3])
    assert identity_metrics(ground_truth, results)["switches"] == 1


def test_identity_leaves_out_what_lies_on_crowds_and_low_scores():
    truths, crowds = [[A] * 4], [[(40, 80)] * 4]
    for extra, expected in (((45, 50), 1), ((75, 84), 1), ((77, 84), 0.5), ((90, 95), 0.5)):
        ground_truth, results = scene(truths, [[A] * 4, [extra] * 4], crowds)
        assert identity_metrics(ground_truth, results)["DetA"] == pytest.approx(expected)
        results[1]["score"] = 0.4
        higher = identity_metrics(ground_truth, results, score_threshold=0.5)
        assert higher["HOTA"] == 1 and higher["score_threshold"] == 0.5


def test_identity_is_a_mean_over_classes_with_ground_truth():
    ground_truth, results = scene(
        [[A] * 4, [B] * 4, [A] * 4], [[A] * 4, [B] * 2 + [None] * 2, [A] * 4], [[A] * 4]
    )
    ground_truth["categories"] += [
        {"id": k, "name": name} for k, name in ((2, "cat"), (3, "dog"), (4, "cow"))
    ]
    for entry, category in zip(ground_truth["annotations"], (1, 2, 2, 4), strict=True):
        entry["category_id"] = category
    for entry, category in zip(results, (1, 2, 3), strict=True):
        entry["category_id"] = category
    metrics = identity_metrics(ground_truth, results)
    assert metrics["per_class"]["fish"]["IDF1"] == 1
    assert metrics["per_class"]["cat"]["IDF1"] == pytest.approx(4 / 10)
    assert metrics["IDF1"] == pytest.approx(0.7)
    for name in ("dog", "cow"):
        assert metrics["per_class"][name] == {"HOTA": -1, "DetA": -1, "AssA": -1, "IDF1": -1,
                                              "switches": 0, "fragmentations": 0}  # fmt: skip


def pairings(rows, columns):
    """Every one-to-one pairing of these, as lists of pairs."""
    if not rows:
        return [[]]
    rest = pairings(rows[1:], columns)
    for column in columns:
        others = [one for one in columns if one != column]
        rest = rest + [[(rows[0], column), *more] for more in pairings(rows[1:], others)]
    return rest


def literal_identity(ground_truth, results, category):
    """HOTA, DetA, AssA, IDF1 of a class by loops: dictionaries of masks, and every pairing tried."""
    tp, agreement, seen, detected, same = np.zeros(19), np.zeros(19), 0, 0, 0
    for (_, k), (truths, found) in read(ground_truth, results).items():
        if k != category:
            continue
        g_frames = [[f for f in range(len(g["masks"])) if g["masks"][f].any()] for g in truths]
        d_frames = [[f for f in range(len(d["masks"])) if d["masks"][f].any()] for d in found]
        frames = range(len(truths[0]["masks"]) if truths else 0)
        iou = {
            (f, g, d): iou_of(truths[g]["masks"][f], found[d]["masks"][f])
            for f in frames
            for g in range(len(truths))
            for d in range(len(found))
        }
        seen += sum(map(len, g_frames))
        detected += sum(map(len, d_frames))
        soft = dict.fromkeys(((g, d) for g in range(len(truths)) for d in range(len(found))), 0.0)
        for (f, g, d), value in iou.items():
            rivals = sum(iou[f, g, other] for other in range(len(found))) - value
            rivals += sum(iou[f, other, d] for other in range(len(truths)))
            soft[g, d] += value / rivals if value else 0
        aligned = {
            (g, d): value / (len(g_frames[g]) + len(d_frames[d]) - value)
            for (g, d), value in soft.items()
            if value
        }
        every = pairings(list(range(len(truths))), list(range(len(found))))
        matches = [dict.fromkeys(soft, 0) for _ in range(19)]
        for f in frames:
            best = max(every, key=lambda pairs: sum(aligned.get(p, 0) * iou[f, *p] for p in pairs))  # noqa: B023
            for a in range(19):
                for pair in best:
                    matches[a][pair] += iou[f, *pair] >= (a + 1) * 0.05 - 1e-12
        for a in range(19):
            for (g, d), c in matches[a].items():
                tp[a] += c
                agreement[a] += c and c * c / (len(g_frames[g]) + len(d_frames[d]) - c)
        common = {p: sum(iou[f, *p] >= 0.5 for f in frames) for p in soft}
        same += max(sum(common[p] for p in pairs) for pairs in every)
    if not seen:
        return [-1] * 4
    det = tp / (seen + detected - tp)
    ass = agreement / np.maximum(tp, 1)
    return [np.sqrt(det * ass).mean(), det.mean(), ass.mean(), 2 * same / (seen + detected)]


def test_identity_parity():
    """Tracks of random intervals of a line: IoUs that differ, so that no two pairings are as good."""
    switches = fragmentations = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        tracks = []
        for number in (rng.integers(1, 4), rng.integers(0, 5)):
            tracks.append([])
            for _ in range(number):
                start, track = int(rng.integers(0, 60)), []
                for _ in range(6):
                    start = int(np.clip(start + rng.integers(-15, 16), 0, 60))
                    track.append(None if rng.random() < 0.2 else (start, start + int(rng.integers(11, 40))))
                tracks[-1].append(track)
        ground_truth, results = scene(*tracks)
        metrics = identity_metrics(ground_truth, results)
        expected = literal_identity(ground_truth, results, 1)
        assert [metrics[name] for name in IDENTITY_NAMES] == pytest.approx(expected, abs=1e-9), seed
        switches += metrics["switches"]
        fragmentations += metrics["fragmentations"]
    assert switches > 20 and fragmentations > 10
