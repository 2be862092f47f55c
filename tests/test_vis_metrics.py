"""Scores of tracks: parity with slow literal versions of the definitions, identity, files and the command."""

import copy
import itertools
import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from yoloseg.errors import DataError
from yoloseg.evaluate import main
from yoloseg.evaluation.accumulator import encode_mask
from yoloseg.evaluation.coco_metrics import METRIC_NAMES
from yoloseg.evaluation.identity import COUNTS, IDENTITY_NAMES, identity_metrics
from yoloseg.evaluation.vis_metrics import vis_metrics

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
BANDS = ((0, 1e10), (0, 128**2), (128**2, 256**2), (256**2, 1e10))
BAND_AREAS = (128**2, 256**2, 128**2 - 1, 128**2 + 1, 256**2 + 1, 20000, 0)


def random_vis(seed, clips=2, frames=4, classes=3, size=(40, 300), most=5):
    """Nulls, empty masks, crowds, repeated tracks, equal scores, classes without tracks, areas on limits."""
    rng = np.random.default_rng(seed)
    height, width = size
    videos = [{"id": 3 * i + 1, "height": height, "width": width, "length": frames} for i in range(clips)]
    categories = [{"id": 2 * k + 1, "name": f"class {k}"} for k in range(classes + 1)]
    annotations, results = [], []

    def box():
        w, h = rng.integers(4, width), rng.integers(4, height)
        return np.array([rng.integers(0, width - w + 1), rng.integers(0, height - h + 1), w, h])

    def segment(one, form):
        x, y, w, h = map(int, one)
        if form == "polygon":
            return [[x, y, x + w, y, x + w, y + h, x, y + h]]
        mask = np.zeros(size, bool)
        mask[max(y, 0) : y + h, max(x, 0) : x + w] = form != "empty"
        if form == "cut":
            mask[y + h // 2 :, x + w // 2 :] = False
        if form == "counts":
            flat = mask.T.ravel()
            runs = np.diff([0, *np.flatnonzero(np.diff(flat)) + 1, flat.size]).tolist()
            return {"size": [height, width], "counts": [0, *runs] if flat[0] else runs}
        return encode_mask(mask)

    for video in videos[::-1]:
        for _ in range(rng.integers(0, most)):
            start, forms = box(), rng.choice(["rle", "cut", "polygon", "counts", "empty"], frames)
            if rng.random() < 0.8:
                forms[forms == "empty"] = "rle"
            segmentations = [None if rng.random() < 0.2 else segment(start, str(form)) for form in forms]
            annotation = {
                "id": len(annotations) if seed % 10 == 0 else 2 * len(annotations) + 1,
                "video_id": video["id"],
                "category_id": int(rng.integers(classes)) * 2 + 1,
                "iscrowd": int(rng.random() < 0.15),
                "segmentations": segmentations,
            }
            if rng.random() < 0.6:
                values = rng.choice(BAND_AREAS) if rng.random() < 0.7 else None
                annotation["areas"] = [
                    None if one is None else float(rng.integers(1, 90000) if values is None else values)
                    for one in segmentations
                ]
            annotations.append(annotation)
            for _ in range(rng.integers(0, 4)):
                moved = start + np.array([*rng.integers(-2, 3, 2), 0, 0]) * int(rng.random() < 0.6)
                moved[:2] = np.clip(moved[:2], 0, [width, height] - moved[2:])
                results.append({"category_id": annotation["category_id"], "segmentations": [
                    None if rng.random() < 0.1 or one is None else segment(moved, rng.choice(["rle", "cut"]))
                    for one in segmentations
                ]})  # fmt: skip
                results[-1]["video_id"] = video["id"]
        extra = 14 if rng.random() < 0.1 else rng.integers(0, 4)
        for _ in range(extra):
            one = segment(box(), str(rng.choice(["rle", "empty"], p=[0.9, 0.1])))
            results.append(
                {
                    "video_id": video["id"],
                    "category_id": int(rng.integers(classes)) * 2 + 1,
                    "segmentations": [one if rng.random() < 0.7 else None for _ in range(frames)],
                }
            )
    if not annotations:
        return random_vis(seed + 100_000, clips, frames, classes, size, most)
    order = rng.permutation(len(results)) if seed % 17 else []
    results = [results[i] | {"score": round(float(rng.random()), 1)} for i in order]
    return {"videos": videos, "categories": categories, "annotations": annotations}, results


def decoded(segmentations, size):
    """bool [frames, height, width], zeros for null."""
    masks = np.zeros((len(segmentations), *size), bool)
    for mask, one in zip(masks, segmentations, strict=True):
        if isinstance(one, list):
            one = coco_mask.merge(coco_mask.frPyObjects(one, *size))
        elif one and isinstance(one["counts"], list):
            one = coco_mask.frPyObjects(one, *size)
        if one:
            mask[:] = coco_mask.decode(one)
    return masks


def mean_area(values):
    values = [value for value in values if value]
    return sum(values) / len(values) if values else 0


def read(ground_truth, results):
    """(clip, class) -> its true and its detected tracks, with masks."""
    groups = {}
    for video in ground_truth["videos"]:
        for category in ground_truth["categories"]:
            pair = []
            for entries in (ground_truth["annotations"], results):
                own = []
                for entry in entries:
                    if (entry["video_id"], entry["category_id"]) == (video["id"], category["id"]):
                        masks = decoded(entry["segmentations"], (video["height"], video["width"]))
                        areas = entry.get("areas") or masks.sum(axis=(1, 2)).tolist()
                        own.append(entry | {"masks": masks, "area": mean_area(areas)})
                pair.append(own)
            groups[video["id"], category["id"]] = pair
    return groups


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


def iou_of(first, second):
    union = (first | second).sum()
    return (first & second).sum() / union if union else 0.0


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


def strip(*masks, size=(10, 100)):
    """A track: in each frame a mask of the columns [start, stop), or None."""
    segmentations = []
    for columns in masks:
        mask = np.zeros(size, bool)
        if columns is not None:
            mask[:, columns[0] : columns[1]] = True
        segmentations.append(None if columns is None else encode_mask(mask))
    return segmentations


def scene(truths, found, crowds=()):
    """One clip and class of these tracks (lists as `strip` takes them)."""
    frames = len(truths[0])
    ground_truth = {
        "videos": [{"id": 1, "height": 10, "width": 100, "length": frames}],
        "categories": [{"id": 1, "name": "fish"}],
        "annotations": [
            {"id": number, "video_id": 1, "category_id": 1, "iscrowd": int(number > len(truths)),
             "segmentations": strip(*track)}
            for number, track in enumerate([*truths, *crowds], 1)
        ],
    }  # fmt: skip
    results = [
        {"video_id": 1, "category_id": 1, "score": 0.5, "segmentations": strip(*track)} for track in found
    ]
    return ground_truth, results


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


@pytest.fixture
def files(tmp_path):
    """The flags of the command, and a function that writes its two files."""
    truth, found, out = tmp_path / "gt.json", tmp_path / "found.json", tmp_path / "metrics.json"

    def write(ground_truth, results):
        truth.write_text(json.dumps(ground_truth))
        found.write_text(json.dumps(results))

    flags = ["--task", "vis", "--annotations", str(truth), "--results", str(found), "--out", str(out)]
    return flags, write, out


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
    assert main(["--task", "vis", "--weights", "w.keras", "--data", "shapes"]) == 2
    assert "--results and --annotations" in capsys.readouterr().err


def short(entry):
    entry["segmentations"].pop()


def cut_off(entry):
    entry["segmentations"][0] = {"size": [10, 100], "counts": [0, 100]}


TRUTH_ERRORS = {
    "no annotations": lambda truth: truth.pop("annotations"),
    "is it of a part whose ground truth is not published": lambda truth: truth["annotations"].clear(),
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
