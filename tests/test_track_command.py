"""Tracking a clip end to end: frames read ahead, followed, drawn, written; and what goes wrong on the way."""

import json
import os
import signal
import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

import yoloseg
from yoloseg import tracking
from yoloseg.errors import DataError, UsageError
from yoloseg.inference.finder import Found
from yoloseg.inference.sources import Frame, Source, open_source
from yoloseg.track import main
from yoloseg.tracking.clip import Follower
from yoloseg.tracking.stream import DEPTH, Background, ReadAhead
from yoloseg.tracking.timed_video import TimedVideo
from yoloseg.tracking.vis_results import VisResults

HEIGHT, WIDTH = 60, 96


class BrightSquares:
    """A Finder that finds the connected bright parts of a picture; where two frames are black, nothing."""

    classes = ("square", "other")
    imgsz = (64, 96)
    score_threshold = 0.25
    max_detections = 100

    def find(self, pictures, score_threshold, max_detections):
        found = []
        for picture in pictures:
            count, _, stats, _ = cv2.connectedComponentsWithStats((picture[..., 0] > 150).astype(np.uint8))
            corners = [(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:count]]
            boxes = np.array(corners, np.float32).reshape(-1, 4)
            scores = np.full(len(boxes), 0.8, np.float32)
            masks = np.ones((len(boxes), 28, 28), np.float32)
            found.append(Found(boxes, scores, np.zeros(len(boxes), int), masks))
        return found


def frame_at(number):
    """Two squares that move towards each other on different rows."""
    picture = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    picture[10:22, 5 + 3 * number : 17 + 3 * number] = 220
    picture[35:51, 78 - 3 * number : 94 - 3 * number] = 220
    return picture


def write_clip(path, frames=20, fps=25.0):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (WIDTH, HEIGHT))
    for number in range(frames):
        writer.write(frame_at(number))
    writer.release()
    return path


def frames_of(path):
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    return count


@pytest.fixture(autouse=True)
def _loaded(monkeypatch):
    monkeypatch.setattr(yoloseg, "load", lambda path: BrightSquares())


def test_track_yields_frames_and_identities(tmp_path):
    path = write_clip(tmp_path / "clip.avi")
    seen = list(tracking.track(path, BrightSquares()))
    assert len(seen) == 20
    for number, (frame, tracks) in enumerate(seen):
        assert frame.shape == (HEIGHT, WIDTH, 3) and tracks.image is frame
        assert sorted(tracks.ids.tolist()) == [1, 2] and tracks.frame == number
        assert tracks.time == pytest.approx(number / 25, abs=1e-3)
        first = tracks.boxes[tracks.ids.tolist().index(seen[0][1].ids[0])]
        assert abs(first[0] - (5 + 3 * number)) <= 2
    detections = seen[3][1].to_supervision()
    np.testing.assert_array_equal(detections.tracker_id, seen[3][1].ids)
    assert detections.mask.shape == (2, HEIGHT, WIDTH)
    drawn = seen[3][1].draw()
    assert drawn.shape == frame.shape and (drawn != seen[3][0]).any()
    with pytest.raises(DataError, match="no such file"):
        tracking.track(tmp_path / "none.mp4", BrightSquares())
    with pytest.raises(UsageError, match="give no embeddings"):
        tracking.track(path, BrightSquares(), tracking.TrackerConfig(reid=True))


def test_a_folder_is_a_clip_and_frames_of_other_sizes_are_fitted(tmp_path):
    for number in range(6):
        picture = frame_at(number)
        if number >= 3:
            picture = cv2.resize(picture, (WIDTH * 2, HEIGHT * 2), interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), picture)
    seen = list(tracking.track(tmp_path, BrightSquares()))
    assert [sorted(tracks.ids.tolist()) for _, tracks in seen] == [[1, 2]] * 6
    assert {frame.shape for frame, _ in seen} == {(HEIGHT, WIDTH, 3)}
    clips = [str(write_clip(tmp_path / name, 3)) for name in ("a.avi", "b.avi")]
    two = list(tracking.track(clips, BrightSquares()))
    assert [sorted(tracks.ids.tolist()) for _, tracks in two] == [[1, 2]] * 6  # counted anew in each


def test_command(tmp_path, capsys):
    source, out = write_clip(tmp_path / "clip.avi"), tmp_path / "out" / "tracks.mp4"
    assert main(["--weights", "w.keras", "--source", str(source), "--out", str(out), "--save-json"]) == 0
    shown = capsys.readouterr().out
    assert "20 frames, 2 tracks: 2 square" in shown and "frames/s" in shown
    assert frames_of(out) == 20
    results = json.loads(out.with_suffix(".json").read_text())
    assert [(one["video_id"], one["category_id"], one["score"]) for one in results] == [(1, 1, 0.8)] * 2
    for one in results:
        areas = [coco_mask.area(rle) for rle in one["segmentations"]]
        assert len(areas) == 20 and min(areas) > 100
    times = json.loads(out.with_suffix(".times.json").read_text())
    assert times["5"] == pytest.approx(0.2) and len(times) == 20
    assert sorted(p.name for p in out.parent.iterdir()) == ["tracks.json", "tracks.mp4", "tracks.times.json"]


def test_the_results_are_what_evaluate_scores(tmp_path, capsys):
    """Through the whole chain: a clip, its true tracks, the command's results, the YouTube-VIS score."""
    from yoloseg.evaluate import main as evaluate

    source, out = write_clip(tmp_path / "clip.avi"), tmp_path / "tracks.mp4"
    assert main(["--weights", "w", "--source", str(source), "--out", str(out), "--save-json"]) == 0
    tracks = []
    for rows, start, step, side in ((slice(10, 22), 5, 3, 12), (slice(35, 51), 78, -3, 16)):
        masks = np.zeros((20, HEIGHT, WIDTH), np.uint8)
        for number in range(20):
            masks[number, rows, start + step * number : start + step * number + side] = 1
        rles = [coco_mask.encode(np.asfortranarray(mask)) for mask in masks]
        tracks.append([{"size": rle["size"], "counts": rle["counts"].decode()} for rle in rles])
    truth = {
        "videos": [{"id": 1, "width": WIDTH, "height": HEIGHT, "length": 20, "file_names": ["x"] * 20}],
        "categories": [{"id": 1, "name": "square"}],
        "annotations": [
            {"id": n + 1, "video_id": 1, "category_id": 1, "iscrowd": 0, "segmentations": rles,
             "areas": [int(coco_mask.area(rle)) for rle in rles]}
            for n, rles in enumerate(tracks)
        ],
    }  # fmt: skip
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    flags = ["--annotations", str(tmp_path / "truth.json"), "--results", str(out.with_suffix(".json"))]
    assert evaluate(["--task", "vis", *flags, "--out", str(tmp_path / "metrics.json")]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["segm"]["AP50"] == pytest.approx(1.0) and metrics["identity"]["IDF1"] == pytest.approx(1.0)
    assert metrics["identity"]["switches"] == 0
    capsys.readouterr()


def test_bad_input_is_refused(tmp_path, capsys):
    clip, empty = write_clip(tmp_path / "clip.avi"), tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    out, folder = str(tmp_path / "o.mp4"), tmp_path / "taken.mp4"
    folder.mkdir()
    for flags, said in (
        (["--source", str(tmp_path / "none.mp4"), "--out", out], "no such file"),
        (["--source", str(empty), "--out", out], "cannot be opened as a video"),
        (["--source", str(clip), "--out", str(tmp_path / "o.avi")], "name an .mp4 file"),
        (["--source", str(clip), "--out", str(folder)], "it is a folder"),
        (["--source", str(clip), "--out", out, "--threads", "2"], "--threads is for .tflite and .onnx"),
        (["--source", str(clip), "--out", out, "--networks", "2"], "--networks is for .tflite and .onnx"),
        (["--source", str(clip), "--out", out, "--gating", "0"], "gating"),
        (["--source", str(clip), "--out", out, "--memory", "-1"], "memory"),
        (["--source", str(clip), "--out", out, "--conf", "2"], "score threshold"),
        (["--source", str(clip), "--out", str(clip / "x" / "o.mp4")], "cannot write"),
    ):
        assert main(["--weights", "w", *flags]) == 2, flags
        assert said in capsys.readouterr().err, flags
    assert not (tmp_path / "o.mp4").exists()


def broken(frames, at, error=None):
    """A source that fails after frame `at`: skipped frames, or an error."""

    class Broken(Source):
        def __iter__(self):
            for number in range(frames):
                if number == at and error:
                    raise error
                if number != at:
                    yield Frame("clip", frame_at(number), number, number / 25)
            self.skipped.append(f"clip: 1 of {frames} frames could not be read")

    return Broken("video", ["clip"], ["clip"], fps={"clip": 25.0})


def test_a_frame_that_cannot_be_read_is_skipped_and_counted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("yoloseg.inference.sources.open_source", lambda source: broken(10, 4))
    out = tmp_path / "o.mp4"
    assert main(["--weights", "w", "--source", "clip.mp4", "--out", str(out), "--save-json"]) == 0
    assert "1 of 10 frames could not be read" in capsys.readouterr().err
    results = json.loads(out.with_suffix(".json").read_text())
    assert [[rle is None for rle in one["segmentations"]].index(True) for one in results] == [4, 4]
    assert all(len(one["segmentations"]) == 10 for one in results)
    assert frames_of(out) == 10  # the frame before stands in for it


def test_an_error_in_the_middle_leaves_no_half_file(tmp_path, monkeypatch, capsys):
    error = DataError("clip.mp4: is gone")
    monkeypatch.setattr("yoloseg.inference.sources.open_source", lambda source: broken(10, 4, error))
    out = tmp_path / "o.mp4"
    assert main(["--weights", "w", "--source", "clip.mp4", "--out", str(out)]) == 2
    assert "is gone" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_closes_the_file_and_keeps_what_was_done(kind, tmp_path, monkeypatch, capsys):
    class Endless(Source):
        def __iter__(self):
            for number in range(10_000):
                if number == 30:
                    os.kill(os.getpid(), kind)
                yield Frame("camera0", frame_at(number % 20), number, number / 25)

    monkeypatch.setattr(
        "yoloseg.inference.sources.open_source", lambda source: Endless("video", ["c"], ["c"], {"c": 25.0})
    )
    before = signal.getsignal(kind)
    out = tmp_path / "o.mp4"
    assert main(["--weights", "w", "--source", "0", "--out", str(out), "--save-json"]) == 0
    assert signal.getsignal(kind) is before
    done = len(json.loads(out.with_suffix(".times.json").read_text()))
    assert 20 <= done < 100 and frames_of(out) == done
    capsys.readouterr()


def test_a_camera_drops_old_frames_and_says_so(tmp_path, monkeypatch, capsys):
    """It gives 200 frames at once; the network takes its time: few are seen, the newest is."""
    released = threading.Event()

    class Camera(Source):
        def __iter__(self):
            for number in range(200):
                yield Frame("camera0", frame_at(number % 20), number, number / 100)
            released.wait(5)

    class Slow(BrightSquares):
        def find(self, *args):
            time.sleep(0.05)
            released.set()
            return super().find(*args)

    monkeypatch.setattr(yoloseg, "load", lambda path: Slow())
    monkeypatch.setattr(
        "yoloseg.inference.sources.open_source", lambda source: Camera("camera", ["camera0"], [0])
    )
    out = tmp_path / "o.mp4"
    assert main(["--weights", "w", "--source", "0", "--out", str(out), "--save-json"]) == 0
    told = capsys.readouterr().err
    frames = [int(number) for number in json.loads(out.with_suffix(".times.json").read_text())]
    assert frames[-1] == 199 and len(frames) < 50
    assert f"{200 - len(frames)} frames of the camera came too fast" in told
    assert "the stream ended by itself" in told


def test_an_hour_takes_no_more_memory_than_a_minute():
    """90,000 tiny frames through reader, tracker and writer, with a network that finds nothing."""
    picture = np.zeros((16, 16, 3), np.uint8)

    class Clip(Source):
        def __iter__(self):
            for number in range(90_000):
                yield Frame("clip", picture.copy(), number, number / 25)

    class Nothing(BrightSquares):
        def find(self, pictures, score_threshold, max_detections):
            empty = np.zeros((0, 4), np.float32)
            return [Found(empty, empty[:, 0], empty[:, 0].astype(int), np.zeros((0, 28, 28), np.float32))]

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    if not os.path.exists("/proc/self/statm"):
        pytest.skip("the memory of a process is read from /proc")
    after_a_minute = 0
    for number, _ in enumerate(tracking.track(Clip("video", ["clip"], ["clip"]), Nothing())):
        if number == 1500:
            after_a_minute = resident()
    assert number == 89_999 and resident() - after_a_minute < 8e6


def test_readers_and_writers_stop_with_their_block(tmp_path):
    source = open_source(write_clip(tmp_path / "clip.avi", 60))
    before = threading.active_count()
    with ReadAhead(source) as frames:
        next(iter(frames))
    assert threading.active_count() == before
    generator = tracking.track(source, BrightSquares())
    next(generator)
    generator.close()
    assert threading.active_count() == before

    done = []
    with Background(done.append) as background:
        for number in range(50):
            background.put(number)
    assert done == list(range(50))
    done.clear()

    def slowly(item):
        time.sleep(0.3)
        done.append(item)

    with pytest.raises(KeyboardInterrupt), Background(slowly) as background:
        for number in range(3):
            background.put(number)
        raise KeyboardInterrupt
    assert done in ([], [0]) and threading.active_count() == before, "what waits is given up"

    done.clear()
    leaving = threading.Event()

    def interrupts(item):
        leaving.wait()
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
        slowly(item)

    was = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored, as in jobs of a shell
    try:
        with pytest.raises(KeyboardInterrupt), Background(interrupts) as background:
            for number in range(3):
                background.put(number)
            leaving.set()
    finally:
        signal.signal(signal.SIGINT, was)
    assert done == [0], "interrupted while it waits, it waits for the item that is worked on alone"

    def fails(item):
        raise DataError(f"no room for {item}")

    with pytest.raises(DataError, match="no room for 0"), Background(fails) as background:
        for number in range(DEPTH + 50):
            background.put(number)
            time.sleep(0.001)
    assert threading.active_count() == before


def test_time_stamps_set_the_pace(tmp_path):
    """A source of varying rate: frames stand where their time stamps say, within half a frame."""
    path = tmp_path / "o.mp4"
    stamps = [0.0, 0.04, 0.08, 0.5, 0.52, 1.0]
    with TimedVideo(path, 25.0) as video:
        starts = []
        for number, stamp in enumerate(stamps):
            video.write(np.full((32, 32, 3), 40 * number, np.uint8), stamp)
            starts.append(video.written - 1)
    assert frames_of(path) == video.written == 26
    np.testing.assert_allclose(np.array(starts) / 25, stamps, atol=0.021)


def test_time_stamps_that_leap_or_go_back_or_run_fast(tmp_path):
    """A leap of an hour costs ten seconds; what goes back goes on; 100 frames in a second become 25."""
    with TimedVideo(tmp_path / "a.mp4", 10.0) as video:
        for stamp in (0.0, 0.1, 3600.0, 3600.1, 0.0, 0.1):
            video.write(np.zeros((32, 32, 3), np.uint8), stamp)
    assert video.written == 1 + 1 + 100 + 1 + 1 + 1
    with TimedVideo(tmp_path / "b.mp4", 25.0) as video:
        for number in range(101):
            video.write(np.zeros((32, 32, 3), np.uint8), number / 100)
    assert frames_of(tmp_path / "b.mp4") == video.written == 26


def test_pictures_that_cannot_be_read_keep_the_numbers_of_the_others(tmp_path):
    folder, out = tmp_path / "frames", tmp_path / "o.mp4"
    folder.mkdir()
    for number in range(6):
        cv2.imwrite(str(folder / f"{number}.png"), frame_at(number))
    for number in (2, 5):
        (folder / f"{number}.png").write_bytes(b"")
    assert main(["--weights", "w", "--source", str(folder), "--out", str(out), "--save-json"]) == 0
    results = json.loads(out.with_suffix(".json").read_text())
    for one in results:
        assert [rle is None for rle in one["segmentations"]] == [False, False, True, False, False, True]


def test_a_camera_goes_by_the_clock(monkeypatch):
    """Some give time stamps since the machine started, some none."""
    from test_sources import FakeCapture

    for stamp in (90_000_000.0, 0.0):
        known = {cv2.CAP_PROP_FPS: 30.0, cv2.CAP_PROP_POS_MSEC: stamp}
        monkeypatch.setattr(FakeCapture, "get", lambda self, key, known=known: known[key])
        monkeypatch.setattr(cv2, "VideoCapture", lambda device: FakeCapture([frame_at(0)] * 5))
        times = [frame.time for frame in open_source(0)]
        assert times[0] < 1 and all(a < b for a, b in zip(times, times[1:], strict=False)) and times[-1] < 2


def test_several_networks_give_what_one_gives(tmp_path, monkeypatch):
    source, given = write_clip(tmp_path / "clip.avi"), []

    def load(path, **options):
        given.append(options)
        return BrightSquares()

    monkeypatch.setattr(yoloseg, "load", load)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    flags = ["--weights", "w.onnx", "--source", str(source), "--save-json"]
    outs = [tmp_path / name for name in ("one.mp4", "three.mp4")]
    assert main([*flags, "--out", str(outs[0]), "--networks", "1"]) == 0
    assert given == [{"threads": 6}]
    assert main([*flags, "--out", str(outs[1]), "--networks", "3"]) == 0
    assert given[1:] == [{"threads": 2}] * 3
    one, three = (json.loads(out.with_suffix(".json").read_text()) for out in outs)
    assert one == three and len(one) == 2
    assert frames_of(outs[1]) == 20
    given.clear()
    assert main([*flags, "--out", str(tmp_path / "four.mp4")]) == 0
    assert given == [{"threads": 1}] * 4


def test_follower_restarts_with_each_clip():
    follower = Follower(yoloseg.Predictor(BrightSquares()), tracking.TrackerConfig())
    assert sorted(follower(Frame("a", frame_at(0), 0, 0.0)).ids) == [1, 2]
    assert sorted(follower(Frame("b", frame_at(9), 0, 0.0)).ids) == [1, 2]
    assert sorted(follower(Frame("b", frame_at(0), 0, 0.0)).ids) == [1, 2]  # the same file once more
    assert follower(Frame("c", np.zeros((8, 8, 3), np.uint8), None)).image.shape == (8, 8, 3)


def test_masks_that_cannot_be_kept_are_named(tmp_path):
    """The disk of the temporary file is full, or its folder is gone."""
    with pytest.raises(UsageError, match="cannot keep the masks of tracks in .*none: No such file"):
        VisResults([1], tmp_path / "none")
    with VisResults([1], tmp_path) as results:

        class Full:
            def seek(self, *_):
                raise OSError(28, "No space left on device")

            close = seek  # it tries to write the rest

        results._file = Full()
        one = SimpleNamespace(
            ids=np.array([1]),
            scores=np.array([0.5]),
            class_ids=np.array([0]),
            rles=[{"size": [4, 4], "counts": b"`0"}],
        )
        with pytest.raises(UsageError, match=f"cannot keep .* {tmp_path}: No space left on device"):
            results.add(1, 0, one)
