"""Every kind of source gives its frames in order; every bad one says what is wrong with it."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from yoloseg.errors import DataError, UsageError
from yoloseg.inference import sources
from yoloseg.inference.sources import open_source

RED = (200, 30, 30)


def write_picture(path, colour=RED, height=20, width=30):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), colour[::-1], np.uint8))
    return path


def write_video(path, frames=12, fps=10.0, codec="MJPG", size=(64, 48)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, size)
    assert writer.isOpened()
    for level in range(frames):
        writer.write(np.full((size[1], size[0], 3), (0, 0, 20 * level), np.uint8))
    writer.release()
    return path


class FakeCapture:
    """A capture with unreadable frames; what OpenCV's own decoders hide differs by version."""

    def __init__(self, pictures, announced=None, opened=True):
        self.pictures, self.opened = list(pictures), opened
        self.announced = len(self.pictures) if announced is None else announced
        self.frame = -1

    def isOpened(self):
        return self.opened

    def get(self, key):
        known = {cv2.CAP_PROP_FRAME_COUNT: self.announced, cv2.CAP_PROP_FPS: 25.0}
        return (known | {cv2.CAP_PROP_POS_MSEC: 40.0 * self.frame})[key]

    def read(self):
        picture = self.pictures.pop(0) if self.pictures else None
        self.frame += 1
        return picture is not None, picture

    def release(self):
        pass


def test_one_picture(tmp_path):
    path = write_picture(tmp_path / "red.png")
    for source in (path, str(path)):
        ((name, image, index, time, _),) = open_source(source)
        assert (name, index, time) == (str(path), None, None)
        assert image.shape == (20, 30, 3) and image.dtype == np.uint8 and (image == RED).all()


def test_folder_takes_its_pictures_in_natural_order(tmp_path):
    for name in ("frame10.png", "frame2.png", "frame1.JPG", "sub/other.png"):
        write_picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    source = open_source(tmp_path)
    assert source.kind == "pictures" and not source.skipped
    assert [frame.name for frame in source] == [
        str(tmp_path / n) for n in ("frame1.JPG", "frame2.png", "frame10.png")
    ]


def test_glob_with_sub_folders(tmp_path):
    for name in ("a/2.png", "b/1.png", "b/1.txt"):
        write_picture(tmp_path / name) if name.endswith("png") else (tmp_path / name).write_text("")
    names = [frame.name for frame in open_source(f"{tmp_path}/**/*.png")]
    assert names == [str(tmp_path / "a/2.png"), str(tmp_path / "b/1.png")]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path):
    path = write_picture(tmp_path / "shot[1].png")
    assert [frame.name for frame in open_source(path)] == [str(path)]


def test_arrays_are_passed_on_without_a_copy():
    image = np.zeros((5, 6, 3), np.uint8)
    (frame,) = open_source(image)
    assert frame.image is image and frame.index is None
    assert [frame.name for frame in open_source([image, image])] == ["array0", "array1"]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((5, 6), np.uint8),
        np.zeros((5, 6, 3)),
        np.zeros((5, 6, 4), np.uint8),
        np.zeros((0, 6, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(array):
    with pytest.raises(UsageError, match=r"must be uint8 \[H, W, 3\] RGB"):
        open_source(array)


def test_video_frames_are_rgb_and_numbered(tmp_path):
    path = write_video(tmp_path / "clip.avi")
    source = open_source(path)
    assert source.kind == "video" and source.fps == {str(path): 10.0}
    for _ in range(2):  # a source can be read again
        frames = list(source)
        assert [frame.index for frame in frames] == list(range(12))
        assert {frame.name for frame in frames} == {str(path)}
        for level, frame in enumerate(frames):
            assert frame.image.shape == (48, 64, 3)
            assert abs(float(frame.image[..., 0].mean()) - 20 * level) < 4 and frame.image[..., 2].mean() < 4
        assert source.skipped == []


def test_list_of_everything(tmp_path):
    write_picture(tmp_path / "folder/a.png")
    write_picture(tmp_path / "folder/b.png")
    video = write_video(tmp_path / "clip.avi", frames=3)
    source = open_source([np.zeros((4, 4, 3), np.uint8), tmp_path / "folder", str(video)])
    assert source.kind == "mixed" and source.fps == {str(video): 10.0}
    assert [(frame.name.rsplit("/")[-1], frame.index) for frame in source] == [
        ("array0", None), ("a.png", None), ("b.png", None), ("clip.avi", 0), ("clip.avi", 1), ("clip.avi", 2),
    ]  # fmt: skip
    assert [(name.rsplit("/")[-1], *size) for name, *size in source.sizes()] == [
        ("array0", 4, 4), ("a.png", 20, 30), ("b.png", 20, 30), ("clip.avi", 48, 64),
    ]  # fmt: skip


def test_sizes_leave_out_what_cannot_be_read(tmp_path):
    write_picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    source = open_source(tmp_path)
    assert [size for _, *size in source.sizes()] == [[20, 30]]


def test_missing_files_are_named_before_anything_is_read(tmp_path):
    good = write_picture(tmp_path / "good.png")
    with pytest.raises(DataError, match=r"gone\.jpg: no such file or folder"):
        open_source([good, tmp_path / "gone.jpg"])
    with pytest.raises(DataError, match="no file matches this pattern"):
        open_source(f"{tmp_path}/*.jpg")
    with pytest.raises(DataError, match="list of sources is empty"):
        open_source([])
    with pytest.raises(UsageError, match="not float"):
        open_source(1.5)


def test_folder_without_pictures(tmp_path):
    with pytest.raises(DataError, match="no pictures in this folder"):
        open_source(tmp_path)
    write_video(tmp_path / "clip.avi", frames=1)
    with pytest.raises(DataError, match=r"it holds a video, name it: .*clip\.avi"):
        open_source(tmp_path)


def test_what_is_no_picture_raises_alone_and_is_skipped_among_others(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture at all")
    with pytest.raises(DataError, match=r"broken\.png"):
        list(open_source(broken))
    write_picture(tmp_path / "good.png")
    source = open_source(tmp_path)
    assert [frame.name for frame in source] == [str(tmp_path / "good.png")]
    assert len(source.skipped) == 1 and "broken.png" in source.skipped[0]
    list(source)
    assert len(source.skipped) == 1


def test_a_video_whose_name_opencv_cannot_take(tmp_path):
    """OpenCV would end the process."""
    path = write_video(tmp_path / "a.avi").rename(tmp_path / os.fsdecode(b"a\xfc.avi"))
    with pytest.raises(DataError, match="a name that is not UTF-8"):
        open_source(path)


def test_a_name_that_begins_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_picture(tmp_path / "~nobody.png")
    assert len(list(open_source("~nobody.png"))) == 1
    with pytest.raises(DataError, match="no such file"):
        open_source("x" * 300)


def test_a_list_of_one_is_that_one(tmp_path):
    assert open_source([str(write_video(tmp_path / "a.avi"))]).kind == "video"
    nested = open_source(
        [[tmp_path / "a.avi", write_video(tmp_path / "b.avi")], write_picture(tmp_path / "c.png")]
    )
    assert [Path(name).name for name in nested.names] == ["a.avi", "b.avi", "c.png"]
    assert len(list(nested)) == 25


def test_a_file_that_is_no_video(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"no video at all" * 100)
    with pytest.raises(DataError, match=r"clip\.mp4: cannot be opened as a video"):
        open_source(path)


def test_damaged_video_is_read_with_a_count_of_what_is_lost(tmp_path):
    path = write_video(tmp_path / "clip.avi", frames=20)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + len(content) // 10] = bytes(len(content) // 10)
    path.write_bytes(content)
    source = open_source(path)
    frames = list(source)
    assert 15 <= len(frames) < 20
    assert source.skipped == [f"{path}: {20 - len(frames)} of 20 frames could not be read"]


def test_unreadable_frames_keep_the_numbers_of_the_others(tmp_path, monkeypatch):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"")
    picture = np.zeros((4, 4, 3), np.uint8)
    monkeypatch.setattr(cv2, "VideoCapture", lambda device: FakeCapture([picture, None, None, picture]))
    source = open_source(path)
    assert [frame.index for frame in source] == [0, 3]
    assert source.skipped == [f"{path}: 2 of 4 frames could not be read"]
    monkeypatch.setattr(cv2, "VideoCapture", lambda device: FakeCapture([], announced=1_000_000))
    with pytest.raises(DataError, match="not one frame could be read"):
        list(open_source(path))


def test_camera_ends_when_it_gives_nothing_more(monkeypatch):
    devices = []

    def capture(device):
        devices.append(device)
        return FakeCapture([np.zeros((4, 4, 3), np.uint8)] * 3, announced=-1)

    monkeypatch.setattr(cv2, "VideoCapture", capture)
    for source, name in ((0, "camera0"), ("2", "camera2"), ("rtsp://host/live", "rtsp://host/live")):
        opened = open_source(source)
        assert opened.kind == "camera" and [(f.name, f.index) for f in opened] == [
            (name, 0),
            (name, 1),
            (name, 2),
        ]
    assert set(devices) == {0, 2, "rtsp://host/live"}


def test_camera_that_is_not_there(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", lambda device: FakeCapture([], opened=False))
    with pytest.raises(DataError, match="camera7: cannot be opened; is a camera connected"):
        open_source(7)


def test_a_video_that_cannot_be_decoded_is_skipped_among_others(tmp_path, monkeypatch):
    """OpenCV opens it, and gives no frame of it."""
    paths = [write_video(tmp_path / name, frames=3) for name in ("a.avi", "b.avi", "c.avi")]
    made = cv2.VideoCapture
    monkeypatch.setattr(
        cv2, "VideoCapture", lambda device: FakeCapture([], 9) if "b.avi" in device else made(device)
    )
    source = open_source(paths)
    assert [Path(frame.name).name for frame in source] == ["a.avi"] * 3 + ["c.avi"] * 3
    assert source.skipped == [f"{paths[1]}: not one frame could be read; is its codec known to OpenCV?"]


@pytest.mark.parametrize(
    ("name", "read", "told"), [("a.mkv", 98, 0), ("a.mkv", 90, 10), ("a.mp4", 98, 2), ("a.mkv", 100, 0)]
)
def test_a_count_that_is_made_of_the_duration_may_be_wrong(tmp_path, monkeypatch, name, read, told):
    (tmp_path / name).write_bytes(b"")
    picture = np.zeros((4, 4, 3), np.uint8)
    monkeypatch.setattr(cv2, "VideoCapture", lambda device: FakeCapture([picture] * read, announced=100))
    source = open_source(tmp_path / name)
    assert len(list(source)) == read
    expected = [f"{tmp_path / name}: {told} of 100 frames could not be read"]
    assert source.skipped == (expected if told else [])


def test_a_camera_that_fails_once_goes_on(monkeypatch):
    picture = np.zeros((4, 4, 3), np.uint8)
    monkeypatch.setattr(
        cv2, "VideoCapture", lambda device: FakeCapture([picture, None, picture], announced=-1)
    )
    monkeypatch.setattr(sources, "CAMERA_PAUSE", 0.0)
    assert [frame.index for frame in open_source(0)] == [0, 2]


def test_a_video_on_a_server_is_no_camera(monkeypatch):
    """It has a length: every frame of it is asked for, at its own rate."""
    picture = np.zeros((4, 4, 3), np.uint8)
    monkeypatch.setattr(cv2, "VideoCapture", lambda device: FakeCapture([picture] * 3))
    source = open_source("https://host/clip.mp4")
    assert source.kind == "video" and source.fps == {"https://host/clip.mp4": 25.0}
    assert [frame.time for frame in source] == [0.0, 0.04, 0.08]


def test_a_stream_that_falls_silent_ends(monkeypatch):
    """A read of a dead stream may take half a minute; it is not asked thirty times."""
    clock = iter(np.arange(0, 1000, 3.0))
    monkeypatch.setattr(sources.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(sources.time, "sleep", lambda seconds: None)
    captures = []

    class Silent(FakeCapture):
        def __init__(self, device):
            super().__init__([np.zeros((4, 4, 3), np.uint8)], announced=-1)
            captures.append(self)

    monkeypatch.setattr(cv2, "VideoCapture", Silent)
    assert len(list(open_source("rtsp://host/live"))) == 1
    assert captures[-1].frame < 6


def test_a_device_of_linux_is_a_camera(monkeypatch):
    devices = []
    monkeypatch.setattr(cv2, "VideoCapture", lambda device: devices.append(device) or FakeCapture([]))
    assert open_source("/dev/video3").names == ["camera3"] and devices == [3]
