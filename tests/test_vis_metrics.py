"""The YouTube-VIS score: parity with a slow literal version of its definition, files and the command."""

import copy
import itertools
import json

import numpy as np
import pytest
from random_tracks import iou_of, random_vis, read, scene

from yoloseg.errors import DataError
from yoloseg.evaluate import main
from yoloseg.evaluation.accumulator import encode_mask
from yoloseg.evaluation.coco_metrics import METRIC_NAMES
from yoloseg.evaluation.identity import identity_metrics
from yoloseg.evaluation.vis_metrics import vis_metrics

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
BANDS = ((0, 1e10), (0, 128**2), (128**2, 256**2), (256**2, 1e10))


def outside(track, band):
    return track["area"] < band[0] or track["area"] > band[1]


def match(truths, found, ious, threshold, band):
    """Of each detection, by falling score, (it is right, it is ignored); and the number of truths."""
    ignored = [bool(truth["iscrowd"]) or outside(truth, band) for truth in truths]
    order = [i for i in range(len(truths)) if not ignored[i]] + [i for i in range(len(truths)) if ignored[i]]
    taken, rows = set(), []
    for d, detection in enumerate(found):
        best, chosen = min(threshold, 1 - 1e-10), None
        for g in order:
            if g in taken and not truths[g]["iscrowd"]:
                continue
            if chosen is not None and not ignored[chosen] and ignored[g]:
                break
            if ious[d][g] >= best:
                best, chosen = ious[d][g], g
        if chosen is not None:
            taken.add(chosen)
        right = chosen is not None and truths[chosen]["id"] != 0
        skip = (chosen is not None and ignored[chosen]) or (not right and outside(detection, band))
        rows.append((right, skip))
    return rows, len(truths) - sum(ignored)


def curve(per_clip, limit):
    """Precision at the 101 recalls and the largest recall, from each clip's (scores, rows, truths)."""
    entries = [
        (score, right)
        for scores, (rows, _) in per_clip
        for score, (right, skip) in list(zip(scores, rows, strict=True))[:limit]
        if not skip
    ]
    truths = sum(number for _, (_, number) in per_clip)
    if not truths:
        return None
    entries.sort(key=lambda entry: -entry[0])
    right = np.cumsum([entry[1] for entry in entries])
    precision = right / (np.arange(1, len(entries) + 1) + np.spacing(1))
    recall = right / truths
    if not entries:
        return np.zeros(101), 0.0
    return ((recall[None] >= RECALLS[:, None]) * precision[None]).max(axis=1), recall[-1]


def literal_vis(ground_truth, results):
    """Class id -> the twelve numbers, and None -> those of all classes."""
    groups = read(ground_truth, results)
    curves = {}
    for category in (category["id"] for category in ground_truth["categories"]):
        clips = []
        for clip in sorted(video["id"] for video in ground_truth["videos"]):
            truths, found = groups[clip, category]
            found = sorted(found, key=lambda track: -track["score"])[:100]
            ious = [[iou_of(one["masks"], truth["masks"]) for truth in truths] for one in found]
            if truths or found:
                clips.append((truths, found, ious))
        for (b, band), (t, threshold) in itertools.product(enumerate(BANDS), enumerate(THRESHOLDS)):
            per_clip = [
                ([one["score"] for one in found], match(truths, found, ious, threshold, band))
                for truths, found, ious in clips
            ]
            for limit in (1, 10, 100) if b == 0 else (100,):
                curves[category, b, t, limit] = curve(per_clip, limit) if clips else None

    def mean(kind, classes, band=0, thresholds=range(10), limit=100):
        found = [curves[k, band, t, limit] for k in classes for t in thresholds]
        found = [one[kind] for one in found if one is not None]
        return np.mean(found) if found else -1

    every = [category["id"] for category in ground_truth["categories"]]
    numbers = {}
    for key, classes in {None: every, **{k: [k] for k in every}}.items():
        values = [mean(0, classes), mean(0, classes, thresholds=[0]), mean(0, classes, thresholds=[5])]
        values += [mean(0, classes, band) for band in (1, 2, 3)]
        values += [mean(1, classes, limit=limit) for limit in (1, 10, 100)]
        values += [mean(1, classes, band) for band in (1, 2, 3)]
        numbers[key] = dict(zip(METRIC_NAMES, values, strict=True))
        numbers[key]["by_iou"] = [mean(0, classes, thresholds=[t]) for t in range(10)]
    return numbers


SETS = {
    "small": [(seed, {}) for seed in range(270)],
    "large": [(seed, {"size": (290, 300), "frames": 2, "clips": 1}) for seed in range(1000, 1024)],
    "crowded": [(seed, {"most": 200, "classes": 1, "size": (20, 30)}) for seed in range(2000, 2006)],
}


@pytest.mark.parametrize("name", SETS)
def test_parity_with_the_definition(name):
    measured = 0
    for seed, options in SETS[name]:
        ground_truth, results = random_vis(seed, **options)
        before = copy.deepcopy((ground_truth, results))
        metrics = vis_metrics(ground_truth, results)["segm"]
        assert (ground_truth, results) == before
        expected = literal_vis(ground_truth, results)
        for category in [None, *ground_truth["categories"]]:
            own = metrics if category is None else metrics["per_class"][category["name"]]
            numbers = expected[category and category["id"]]
            for key in METRIC_NAMES:
                assert own[key] == pytest.approx(numbers[key], abs=1e-9), (seed, category, key)
                measured += 0 < own[key] < 1
            if category is not None:
                assert own["instances"] == sum(
                    one["category_id"] == category["id"] and not one["iscrowd"]
                    for one in ground_truth["annotations"]
                )
        assert list(metrics["AP_by_IoU"].values()) == pytest.approx(expected[None]["by_iou"], abs=1e-9)
    assert measured > 10 * len(SETS[name])  # not all 0, 1 or -1


A, B = (0, 10), (20, 30)


def test_iou_of_a_track_counts_frames_with_one_of_both():
    truth, found = [[A, A, None, A]], [[(0, 5), None, A, A]]
    metrics = vis_metrics(*scene(truth, found))["segm"]
    assert metrics["AP"] == 0  # 150 pixels shared, 400 covered
    metrics = vis_metrics(*scene(truth, [[A, A, None, (0, 5)]]))["segm"]
    assert metrics["AP_by_IoU"]["0.80"] == pytest.approx(1)  # 250 of 300
    assert metrics["AP_by_IoU"]["0.85"] == 0


def test_crowds_are_ignored_by_their_ordinary_iou():
    crowd = [(40, 80)] * 2
    twice = [[A, A], [(40, 80), (40, 78)], [(40, 80), (40, 79)]]
    assert vis_metrics(*scene([[A, A]], twice, [crowd]))["segm"]["AP"] == pytest.approx(1)
    inside = [[(40, 45)] * 2, [A, A]]  # all of it on the crowd, but a small part of the crowd
    assert vis_metrics(*scene([[A, A]], inside, [crowd]))["segm"]["AP"] == pytest.approx(0.5)


def test_groups_of_occlusion():
    """Each group finds its own objects; what finds others is not held against it."""
    truths = [[A] * 4, [B] * 4, [(50, 60)] * 4]
    ground_truth, results = scene(truths, [[A] * 4, [(50, 60)] * 4, [(80, 90)] * 4])
    for entry, levels in zip(
        ground_truth["annotations"],
        (["no_occlusion"] * 4, ["slight_occlusion", "severe_occlusion"] * 2, ["severe_occlusion", None] * 2),
        strict=True,
    ):
        entry["occlusion"] = levels
    results[2]["score"] = 0.1
    metrics = vis_metrics(ground_truth, results)["segm"]
    assert metrics["APso"] == pytest.approx(1) and metrics["APho"] == pytest.approx(0.5 + 0.5 / 101, abs=0.01)
    assert metrics["APmo"] == 0  # its mean is 0.5: of this group, and of the last
    for levels in (["no_occlusion"] * 3, ["hidden"] * 4, "no", [["slight_occlusion"]] * 4):
        ground_truth["annotations"][0]["occlusion"] = levels
        with pytest.raises(DataError, match="'occlusion' must be a list with no_occlusion, slight_occlusion"):
            vis_metrics(ground_truth, results)


def test_nothing_to_find():
    ground_truth, results = scene([[A] * 2], [[A] * 2])
    ground_truth["annotations"] = []
    metrics = vis_metrics(ground_truth, results)["segm"]
    assert metrics["AP"] == metrics["AR100"] == -1 and metrics["per_class"]["fish"]["instances"] == 0


@pytest.fixture
def files(tmp_path):
    """The flags of the command, and a function that writes its two files."""
    truth, found, out = tmp_path / "gt.json", tmp_path / "found.json", tmp_path / "metrics.json"

    def write(ground_truth, results):
        truth.write_text(json.dumps(ground_truth))
        found.write_text(json.dumps(results))

    flags = ["--task", "vis", "--annotations", str(truth), "--results", str(found), "--out", str(out)]
    return flags, write, out


def test_scores_below_zero_count(files):
    flags, write, out = files
    ground_truth, results = random_vis(6)
    write(ground_truth, [entry | {"score": entry["score"] - 2} for entry in results])
    assert main(flags) == 0
    assert (
        json.loads(out.read_text())["identity"]["HOTA"] == identity_metrics(ground_truth, results)["HOTA"] > 0
    )


def test_command(files, capsys):
    flags, write, out = files
    ground_truth, results = random_vis(6)
    write(ground_truth, results)
    assert main([*flags, "--conf", "0.3"]) == 0
    written = json.loads(out.read_text())
    assert written["segm"] == vis_metrics(ground_truth, results)["segm"]
    assert written["identity"] == identity_metrics(ground_truth, results, 0.3)
    shown = capsys.readouterr()
    for text in ("YouTube-VIS metrics", "AR100", "AP at IoU 0.95", "HOTA", "class 1", "from score 0.3"):
        assert text in shown.out
    assert "note" not in shown.err
    ground_truth["annotations"][0]["id"] = 0
    write(ground_truth, [])
    assert main(flags) == 0
    assert "id 0" in capsys.readouterr().err
    assert json.loads(out.read_text())["segm"]["AP"] == 0


def test_command_needs_files(capsys):
    assert main(["--task", "vis", "--weights", "w.keras"]) == 2
    assert "--results and --annotations" in capsys.readouterr().err


def short(entry):
    entry["segmentations"].pop()


def cut_off(entry):
    entry["segmentations"][0] = {"size": [10, 100], "counts": [0, 100]}


TRUTH_ERRORS = {
    "videos[0] (id 1) has neither a 'length'": lambda truth: truth["videos"][0].update(length=0),
    "no annotations": lambda truth: truth.pop("annotations"),
    "is it of a part whose ground truth is not published": lambda truth: truth.update(annotations=None),
    "no list 'videos'": lambda truth: truth.update(videos={}),
    "categories[0] is not an object with a whole": lambda truth: truth["categories"][0].update(id="1"),
    "annotations[1] repeats the id 1": lambda truth: truth["annotations"][1].update(id=1),
    "videos[0] (id 1): 'height'": lambda truth: truth["videos"][0].pop("height"),
    "videos[0] (id 1) has neither": lambda truth: truth["videos"][0].pop("length"),
    "annotations[0] (id 1) has no 'segmentations'": lambda truth: truth["annotations"][0].pop(
        "segmentations"
    ),
    "(id 2): video_id 7 is not": lambda truth: truth["annotations"][1].update(video_id=7),
    "(id 2): category_id [1] is not": lambda truth: truth["annotations"][1].update(category_id=[1]),
    "(id 2): 'iscrowd' must be": lambda truth: truth["annotations"][1].update(iscrowd="no"),
    "(id 1): 'segmentations' must be a list of 3": lambda truth: short(truth["annotations"][0]),
    "(id 1): 'areas' must be a list of 3": lambda truth: truth["annotations"][0].update(areas=[1, "a", 2]),
    "(id 1), frame 0: the RLE's runs do not": lambda truth: cut_off(truth["annotations"][0]),
    "(id 1), frame 0: a polygon needs 3": lambda truth: truth["annotations"][0].update(
        segmentations=[[[1, 2, 3, 4]], None, None]
    ),
}
RESULT_ERRORS = {
    "is a JSON list of tracks, this is a JSON object": lambda found: {},
    "track 0 is not an object but a int": lambda found: [3],
    "track 1 has no 'score'": lambda found: found[1].pop("score"),
    "track 1: video_id 'a' is not in the annotation file's": lambda found: found[1].update(video_id="a"),
    "track 0: category_id 5 is not in": lambda found: found[0].update(category_id=5),
    "track 0: score nan is not": lambda found: found[0].update(score=float("nan")),
    "track 1: 'segmentations' must be a list of 3": lambda found: short(found[1]),
    "track 1, frame 0: the RLE's runs": lambda found: cut_off(found[1]),
    "track 0, frame 1: an RLE of size [10, 90]": lambda found: found[0]["segmentations"].__setitem__(
        1, encode_mask(np.ones((10, 90), bool))
    ),
    "must be RLEs {size, counts} or null, not polygons": lambda found: found[0].update(
        segmentations=[[[1, 2, 3, 4, 5, 6]], None, None]
    ),
    "frame 2: 'segmentation' is neither": lambda found: found[0].update(segmentations=[None, None, 4]),
}


@pytest.mark.parametrize("message", [*TRUTH_ERRORS, *RESULT_ERRORS])
def test_bad_files(files, capsys, message):
    flags, write, out = files
    ground_truth, results = scene([[A] * 3, [B] * 3], [[A] * 3, [B] * 3])
    if message in TRUTH_ERRORS:
        TRUTH_ERRORS[message](ground_truth)
        with pytest.raises(DataError):
            identity_metrics(ground_truth, results)
    else:
        changed = RESULT_ERRORS[message](results)
        results = changed if isinstance(changed, (dict, list)) else results
    write(ground_truth, results)
    assert main(flags) == 2
    shown = capsys.readouterr().err
    assert message in shown and ("gt.json" if message in TRUTH_ERRORS else "found.json") in shown
    assert not out.exists()
