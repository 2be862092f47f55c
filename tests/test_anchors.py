"""Anchor fitting: its distance, its clusters, its file and its command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from yoloseg.anchors import main
from yoloseg.data import anchor_fitting
from yoloseg.data.anchor_fitting import (
    Anchors,
    assign,
    best_iou,
    deduplicate,
    fit_anchors,
    fit_any_anchors,
    gather,
    improve,
    letterboxed_sizes,
    lloyd,
    medians,
    pairwise_iou,
    seed_centres,
)
from yoloseg.data.anchor_plot import save_anchor_plot
from yoloseg.data.records import Annotation, Dataset, Record
from yoloseg.data.shapes import load_shapes
from yoloseg.errors import DataError, UsageError

IMGSZ = (416, 416)
SCRIPT = Path(__file__).parents[1] / "anchors" / "fit_anchors.py"
sides = st.floats(0.5, 500)
some_sizes = st.lists(st.tuples(sides, sides), min_size=1, max_size=40).map(np.array)


def spread(count: int, seed: int = 0) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(3.5, 0.9, (count, 2)))


def example() -> Anchors:
    sizes = (((8.0, 9.5), (20.0, 10.0)), ((30.0, 30.25), (60.0, 20.0)))
    return Anchors(sizes, (64, 96), 0.8, 0.9, 0.7, 12, "here")


@settings(deadline=None)
@given(some_sizes, some_sizes)
def test_iou_against_loops(sizes, anchors):
    expected = np.empty((len(sizes), len(anchors)))
    for i, (w, h) in enumerate(sizes):
        for j, (a, b) in enumerate(anchors):
            overlap = min(w, a) * min(h, b)
            expected[i, j] = overlap / (w * h + a * b - overlap)
    np.testing.assert_allclose(pairwise_iou(sizes, anchors), expected, rtol=1e-12)
    np.testing.assert_allclose(best_iou(sizes, anchors), expected.max(1), rtol=1e-12)


def test_iou_against_counted_pixels():
    first, second = np.zeros((50, 60), bool), np.zeros((50, 60), bool)
    first[:20, :30], second[:40, :10] = True, True
    counted = (first & second).sum() / (first | second).sum()
    assert pairwise_iou(np.array([[30.0, 20.0]]), np.array([[10.0, 40.0]]))[0, 0] == pytest.approx(counted)


def test_best_iou_in_chunks(monkeypatch):
    sizes, anchors = spread(100), spread(5, 1)
    whole = best_iou(sizes, anchors)
    monkeypatch.setattr(anchor_fitting, "CHUNK", 7)
    np.testing.assert_array_equal(best_iou(sizes, anchors), whole)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=30))
def test_weighted_medians_against_repeated_members(members):
    used = sorted({label for label, _, _ in members})
    labels = np.array([used.index(label) for label, _, _ in members])
    values, weights = np.array([v for _, v, _ in members], float), np.array([w for _, _, w in members], float)
    found = medians(np.stack([values, 10 * values], 1), weights, labels, len(used))
    for k in range(len(used)):
        repeated = np.sort(np.repeat(values[labels == k], weights[labels == k].astype(int)))
        lower, upper = repeated[(len(repeated) - 1) // 2], repeated[len(repeated) // 2]
        assert lower <= found[k, 0] <= upper
        assert found[k, 1] == 10 * found[k, 0]


def test_known_clusters_are_recovered():
    small, large = [[10, 10], [12, 40], [40, 12], [45, 45]], [[50, 160], [150, 50], [160, 170], [300, 350]]
    centres = np.array(small + large, float)
    noise = np.random.default_rng(0).uniform(0.97, 1.03, (8, 60, 2))
    anchors = fit_anchors((centres[:, None] * noise).reshape(-1, 2), 2, imgsz=IMGSZ)
    found = np.array(anchors.flat)
    for centre in centres:
        assert np.abs(found / centre - 1).max(1).min() < 0.02
    assert anchors.mean_best_iou > 0.95
    assert anchors.recall50 == anchors.recall70 == 1
    assert anchors.boxes == 480


def test_as_many_sizes_as_anchors_are_the_anchors():
    sizes = [[10, 20], [20, 10], [33, 21], [50, 60], [5, 5], [100, 10], [200, 90], [300, 300]]
    sizes = np.array(sizes, float)
    anchors = fit_anchors(np.repeat(sizes, 3, 0), 2, imgsz=IMGSZ)
    assert set(anchors.flat) == set(map(tuple, sizes.tolist()))
    assert anchors.mean_best_iou == 1


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 3))
def test_ordering_and_statistics(seed, levels, per_level):
    sizes = spread(60, seed)
    anchors = fit_anchors(sizes, per_level, imgsz=IMGSZ, levels=levels)
    assert len(anchors.sizes) == levels
    assert all(len(level) == per_level for level in anchors.sizes)
    areas = np.array(anchors.flat).prod(1)
    assert (np.diff(areas) >= 0).all()
    best = pairwise_iou(sizes, np.array(anchors.flat)).max(1)
    assert anchors.mean_best_iou == pytest.approx(best.mean(), abs=1e-6)
    assert anchors.recall50 == pytest.approx((best >= 0.5).mean(), abs=1e-6)
    assert anchors.recall70 == pytest.approx((best >= 0.7).mean(), abs=1e-6)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_order_of_the_boxes_does_not_matter(seed, random):
    sizes = np.round(spread(80, seed))
    order = list(range(len(sizes)))
    random.shuffle(order)
    assert fit_anchors(sizes[order], 2, imgsz=IMGSZ) == fit_anchors(sizes, 2, imgsz=IMGSZ)


def test_order_does_not_matter_in_bins(monkeypatch):
    monkeypatch.setattr(anchor_fitting, "EXACT_SIZES", 100)
    sizes = spread(1000)
    assert fit_anchors(sizes[::-1], 2, imgsz=IMGSZ) == fit_anchors(sizes, 2, imgsz=IMGSZ)


def test_seed_decides():
    sizes = spread(400)
    first = fit_anchors(sizes, 6, imgsz=IMGSZ, seed=3)
    assert fit_anchors(sizes, 6, imgsz=IMGSZ, seed=3) == first
    assert fit_anchors(sizes, 6, imgsz=IMGSZ, seed=4).sizes != first.sizes


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 20))
def test_iterations_never_lose(seed, count):
    generator = np.random.default_rng(seed)
    points, _ = deduplicate(spread(100, seed))
    weights = generator.integers(1, 50, len(points)).astype(float)
    centres, history = lloyd(points, weights, seed_centres(points, weights, count, seed))
    assert (np.diff(history) >= -1e-12).all()
    labels, best = assign(points, weights, centres)
    assert len(set(labels)) == count
    assert history[-1] == pytest.approx(best @ weights / weights.sum())


def test_converged_centre_beats_its_neighbours():
    points, weights = deduplicate(spread(200))
    centres, _ = lloyd(points, weights, seed_centres(points, weights, 1, 0))
    best = best_iou(points, centres).mean()
    grid = np.exp(np.stack(np.meshgrid(*[np.linspace(-0.1, 0.1, 21)] * 2), -1).reshape(-1, 2))
    around = pairwise_iou(points, centres * grid).mean(0).max()
    assert best >= around - 2e-4


def test_centre_without_members_is_moved():
    points, weights = deduplicate(spread(50))
    centres = np.array([[20.0, 20.0], [20.0, 20.0], [1e4, 1e4], [1e-3, 1e-3]])
    labels, _ = assign(points, weights, centres)
    assert set(labels) == {0, 1, 2, 3}


def test_improve_keeps_centres_that_cannot_improve():
    points = np.array([[10.0, 10.0], [40.0, 20.0]])
    np.testing.assert_array_equal(improve(points, np.ones(2), np.array([0, 1]), points), points)


def test_better_than_plain_kmeans():
    from sklearn.cluster import KMeans

    sizes = spread(2000)
    plain = KMeans(24, n_init=6, random_state=0).fit(sizes).cluster_centers_
    assert fit_anchors(sizes, 6, imgsz=IMGSZ).mean_best_iou > best_iou(sizes, plain).mean() + 0.01


def test_deduplicate_counts():
    points, weights = deduplicate(np.array([[3, 2], [1, 5], [3, 2], [1, 4], [3, 2]], float))
    assert points.tolist() == [[1, 4], [1, 5], [3, 2]]
    assert weights.tolist() == [1, 1, 3]


def test_bins_keep_weight_and_means():
    points, weights = deduplicate(np.random.default_rng(0).uniform(99, 101, (3000, 2)))
    bins, totals = gather(points, weights, at_least=200)
    assert 200 <= len(bins) < 3000
    assert totals.sum() == pytest.approx(3000)
    np.testing.assert_allclose(totals @ bins, weights @ points)


def test_bins_cost_little(monkeypatch):
    sizes = spread(3000)
    exact = fit_anchors(sizes, 3, imgsz=IMGSZ).mean_best_iou
    monkeypatch.setattr(anchor_fitting, "EXACT_SIZES", 1000)
    assert fit_anchors(sizes, 3, imgsz=IMGSZ).mean_best_iou > exact - 0.004


def test_bins_end_where_sizes_cannot_be_told_apart():
    sizes = 100 + np.random.default_rng(0).uniform(0, 1e-13, (500, 2))
    bins, totals = gather(sizes, np.ones(len(sizes)), at_least=10**6)
    assert len(bins) <= len(sizes)
    assert totals.sum() == len(sizes)


def test_one_size_at_many_places_is_one_size():
    """Sides come of differences, each with its own last bits. Clusters among them would be looked for without
    an end: here two of four sizes have an IoU of 1, by rounding, with a third."""
    places, tiny = np.random.default_rng(0).uniform(64, 128, (200, 2)), 2.0**-46
    anchors, distinct = fit_any_anchors((places + 64.1) - places, 3, imgsz=IMGSZ)
    assert distinct == 1 and len(np.unique(np.array(anchors.flat), axis=0)) == 12
    points = 64 + tiny * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    assert assign(points, np.ones(4), points[[0, 0, 0, 0]])[1].min() == 1


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (np.empty((0, 2)), "0 boxes of 0 distinct sizes cannot make 8 anchors .* at least 4 sizes"),
        (spread(7), "7 boxes of 7 distinct sizes .* set anchors a level to 1 or less"),
        (np.repeat(spread(5), 100, 0), "500 boxes of 5 distinct sizes .* set anchors a level to 1 or less"),
        (np.array([[1.0, 0.0]] * 20), "box sizes must be positive"),
        (np.array([[1.0, np.nan]] * 20), "box sizes must be positive and finite"),
    ],
)
def test_refusals(sizes, message):
    with pytest.raises(DataError, match="mine: " + message):
        fit_anchors(sizes, 2, imgsz=IMGSZ, source="mine")


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_fewer_sizes_than_anchors_are_anchors_themselves_with_multiples(count):
    sizes = np.repeat(spread(count), 3, 0)
    anchors, distinct = fit_any_anchors(sizes, 2, imgsz=IMGSZ, source="mine")
    assert (distinct, anchors.boxes, anchors.per_level, anchors.source) == (count, 3 * count, 2, "mine")
    flat = np.array(anchors.flat)
    assert len(np.unique(flat, axis=0)) == 8
    assert (anchors.recall50, anchors.recall70) == (1, 1) and anchors.mean_best_iou > 0.9999
    for anchor in flat:
        factor = anchor / spread(count)
        own = np.abs(factor[:, 0] - factor[:, 1]).argmin()
        assert factor[own, 0] == pytest.approx(factor[own, 1], rel=1e-4), "the shape of one of them"
        assert 0.4999 < factor[own, 0] < 2.0001


def test_enough_sizes_are_fitted_as_they_are():
    assert fit_any_anchors(spread(8), 2, imgsz=IMGSZ) == (fit_anchors(spread(8), 2, imgsz=IMGSZ), None)
    with pytest.raises(DataError, match="0 boxes"):
        fit_any_anchors(np.empty((0, 2)), 2, imgsz=IMGSZ)
    with pytest.raises(DataError, match="must be positive"):
        fit_any_anchors(np.array([[1.0, 0.0]]), 2, imgsz=IMGSZ)


@pytest.mark.parametrize("numbers", [{"per_level": 0}, {"per_level": 1, "levels": 0}])
def test_counts_below_one_are_refused(numbers):
    with pytest.raises(UsageError, match="at least 1"):
        fit_anchors(spread(50), imgsz=IMGSZ, **numbers)


def test_letterboxed_sizes():
    def annotation(box, crowd=False):
        return Annotation(0, (), box, 1.0, crowd)

    wide = (
        annotation((0, 0, 100, 50)),
        annotation((0, 0, 10, 10), crowd=True),
        annotation((5, 5, 5, 9)),
        annotation((-20, 10, 30, 30)),
        annotation((190, 90, 400, 400)),
        annotation((300, 10, 320, 20)),
    )
    records = [
        Record(1, Path("a.png"), 100, 200, wide),
        Record(2, Path("b.png"), 400, 100, (annotation((10.5, 20, 20.5, 60)),)),
        Record(3, Path("c.png"), 50, 50),
    ]
    dataset = Dataset("set", ("thing",), (1,), records)
    sizes = letterboxed_sizes(dataset, (96, 64))
    assert sizes.dtype == np.float64
    in_wide = np.array([(100, 50), (30, 20), (10, 10)]) * (64 / 200)
    in_tall = np.array([(10, 40)]) * (96 / 400)
    np.testing.assert_allclose(sizes, np.concatenate([in_wide, in_tall]))
    assert letterboxed_sizes(replace(dataset, records=[]), (96, 64)).shape == (0, 2)


def test_file_round_trip(tmp_path):
    for anchors in (example(), fit_anchors(spread(200), 3, imgsz=(480, 640), source="überall")):
        anchors.to_json(tmp_path / "deep" / "a.json")
        assert Anchors.from_json(tmp_path / "deep" / "a.json") == anchors
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "not a file of anchors"),
        ({"boxes": None}, "boxes must be"),
        ({"recall50": 1.5}, "recall50 must be between 0 and 1"),
        ({"recall70": "much"}, "recall70 must be between 0 and 1"),
        ({"imgsz": [64, 90]}, "multiples of 32"),
        ({"imgsz": 64}, "must be lists"),
        ({"sizes": 3}, "must be lists"),
        ({"sizes": []}, "equally many"),
        ({"sizes": [[[1, 1]], [[2, 2], [3, 3]]]}, "equally many"),
        ({"sizes": [[[1, 1]], [[2, -2]]]}, "two positive numbers"),
        ({"sizes": [[[1, 1]], [["2", 2]]]}, "two positive numbers"),
        ({"sizes": [[[1, 1, 1]], [[2, 2, 2]]]}, "two positive numbers"),
        ({"sizes": [[[9, 9]], [[2, 2]]]}, "ordered by area"),
        ({"source": 5}, "source must be text"),
        ({"extra": 1}, "unknown: \\['extra'\\]"),
    ],
)
def test_wrong_files_are_refused(tmp_path, changes, message):
    path = tmp_path / "wrong.json"
    example().to_json(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(DataError, match=f"wrong.json: .*{message}"):
        Anchors.from_json(path)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not JSON"), ("[1]", "not a file of anchors"), (None, "cannot be read")]
)
def test_files_that_are_no_anchors(tmp_path, text, message):
    path = tmp_path / "wrong.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=f"wrong.json: .*{message}"):
        Anchors.from_json(path)


def test_missing_key(tmp_path):
    path = tmp_path / "wrong.json"
    example().to_json(path)
    value = json.loads(path.read_text())
    del value["imgsz"]
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match="missing: \\['imgsz'\\]"):
        Anchors.from_json(path)


def test_plot(tmp_path):
    sizes = spread(300)
    save_anchor_plot(fit_anchors(sizes, 2, imgsz=IMGSZ), sizes, tmp_path / "plot.png")
    picture = cv2.imread(str(tmp_path / "plot.png"))
    assert picture.shape[0] > 600
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def write_data(folder: Path, boxes: list[tuple[int, int]]) -> Path:
    """A data file whose train split has one box a picture, 200 x 100 pixels each."""
    images, annotations = [], []
    for number, (w, h) in enumerate(boxes, start=1):
        name = f"{number}.png"
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / "pictures" / name), np.zeros((100, 200, 3), np.uint8))
        images.append({"id": number, "file_name": name, "height": 100, "width": 200})
        polygon = [2, 3, 2 + w, 3, 2 + w, 3 + h, 2, 3 + h]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "bbox": [2, 3, w, h], "area": w * h}
            | {"iscrowd": 0, "segmentation": [polygon]}
        )
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "box"}]}
    (folder / "train.json").write_text(json.dumps(content))
    path = folder / "data.yaml"
    path.write_text(yaml.safe_dump({"train": {"annotations": "train.json", "images": "pictures"}}))
    return path


def test_command(tmp_path, capsys):
    boxes = [(10 + 9 * i, 8 + 5 * i) for i in range(16)]
    data = write_data(tmp_path, boxes)
    out = tmp_path / "out" / "mine.json"
    flags = ["--data", str(data), "--per-level", "2", "--imgsz", "128", "96", "--seed", "5"]
    flags += ["--out", str(out)]
    assert main(flags) == 0
    printed = capsys.readouterr().out
    anchors = Anchors.from_json(out)
    assert anchors.imgsz == (128, 96)
    assert anchors.per_level == 2
    assert anchors.boxes == 16
    assert f"--data {data} --per-level 2 --imgsz 128 96 --seed 5" in anchors.source
    scaled = np.array(boxes) * (96 / 200)
    best = pairwise_iou(scaled, np.array(anchors.flat)).max(1)
    assert anchors.mean_best_iou == pytest.approx(best.mean(), abs=1e-5)
    assert f"mean best IoU {anchors.mean_best_iou:.3f}" in printed
    assert f"recall {anchors.recall50:.3f} at 0.5, {anchors.recall70:.3f} at 0.7" in printed
    assert cv2.imread(str(out.with_suffix(".png"))) is not None

    assert main([*flags[:-1], str(tmp_path / "folder")]) == 0
    assert Anchors.from_json(tmp_path / "folder" / "anchors.json").sizes == anchors.sizes
    assert (tmp_path / "folder" / "anchors.png").exists()


def test_command_refuses_too_few_boxes(tmp_path, capsys):
    data = write_data(tmp_path, [(10 + i, 20) for i in range(9)])
    assert main(["--data", str(data), "--per-level", "3", "--out", str(tmp_path / "a.json")]) == 2
    assert "9 boxes of 9 distinct sizes cannot make 12 anchors" in capsys.readouterr().err
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data", "missing.yaml", "--per-level", "3"], "missing.yaml"),
        (["--data", "shapes", "--per-level", "3", "--imgsz", "100"], "multiples of 32"),
    ],
)
def test_command_refuses(tmp_path, capsys, flags, message):
    assert main([*flags, "--out", str(tmp_path / "a.json")]) == 2
    assert message in capsys.readouterr().err


def test_script_is_the_command(tmp_path):
    data = write_data(tmp_path, [(10 + 9 * i, 8 + 5 * i) for i in range(8)])
    flags = ["--data", str(data), "--per-level", "1", "--out", str(tmp_path / "a.json")]
    env = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run([sys.executable, str(SCRIPT), *flags], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert Anchors.from_json(tmp_path / "a.json").imgsz == (416, 416)


def test_stored_anchors_fit_shapes():
    stored = Anchors.from_json(SCRIPT.parent / "shapes.json")
    sizes = letterboxed_sizes(load_shapes("train"), stored.imgsz)
    assert len(sizes) == pytest.approx(stored.boxes, rel=0.01)
    best = best_iou(sizes, np.array(stored.flat))
    assert best.mean() == pytest.approx(stored.mean_best_iou, abs=1e-3)
    assert (best >= 0.5).mean() == pytest.approx(stored.recall50, abs=2e-3)
    assert (best >= 0.7).mean() == pytest.approx(stored.recall70, abs=2e-3)
