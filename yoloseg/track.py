"""`python -m yoloseg.track`: instances of a video or camera, each with an identity that it keeps."""

from __future__ import annotations

import os
import signal
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from yoloseg.cli import run_command

if TYPE_CHECKING:
    from yoloseg.inference.predictor import Predictor
    from yoloseg.inference.results import Result
    from yoloseg.inference.sources import Source
    from yoloseg.tracking.clip import FittedFrame, Follower
    from yoloseg.tracking.tracks import Tracks

MOST_NETWORKS = 4  # that look at frames at the same time, where it is not said how many


@dataclass
class Options:
    """Follow instances through a video, a camera's stream or a folder of frames, and draw them."""

    weights: Path
    """A .keras file written by training, an exported file, or Darknet's .weights with the .cfg beside it."""
    source: Annotated[str, tyro.conf.arg(metavar="SOURCE")]
    """A video, folder of frames, camera index or stream address (rtsp://...)."""
    out: Path = Path("tracks.mp4")
    """The annotated video (.mp4)."""
    save_json: bool = False
    """Also write the tracks beside it: OUT.json in the form of YouTube-VIS results (one entry a track, an RLE
    or null for each frame), and OUT.times.json, the time stamp of each frame in seconds."""
    conf: float | None = None
    """Keep detections of at least this score; by default the threshold stored in the weights."""
    max_detections: int | None = None
    """Most detections kept in a frame; by default as many as the weights say."""
    memory: int = 30
    """Frames of the source, also those that were dropped, for which an instance that is not seen is
    remembered."""
    gating: float = 0.99
    """Masks match at a cost (1 - IoU) below this."""
    margin: float = 0.01
    """By how much the second best must be worse, for a match at first sight."""
    doubtful: Literal["best", "new", "drop"] = "best"
    """What a detection whose match is doubtful becomes: the best of the tracks left, a new track, nothing."""
    across_classes: bool = False
    """Let a track go on with detections of another class; its class is voted on."""
    new_score: float = 0.0
    """Least score with which a track is opened."""
    networks: int | None = None
    """How many frames a LiteRT or ONNX network looks at at the same time, each with its own threads; by
    default as many as there are cores for with --threads of each, four at most. A camera's are looked at one
    by one."""
    threads: int | None = None
    """Of each such network; by default the cores are shared out."""
    reid: bool = False
    """Know lost instances again by what they look like (.keras weights; best with the head that `yoloseg
    train-reid` trains), and a larger --memory."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 after an error of the user's, printed to stderr."""
    options = tyro.cli(Options, args=argv, prog="yoloseg track")
    return run_command(lambda: follow(options))


def follow(options: Options) -> None:
    """Runs the command. Raises YolosegError where source, weights, numbers or the output cannot be used."""
    from yoloseg.errors import DataError, UsageError
    from yoloseg.files import check_writable, write_json
    from yoloseg.inference.sources import open_source
    from yoloseg.tracking.clip import Follower
    from yoloseg.tracking.parallel import in_parallel
    from yoloseg.tracking.stream import Background, ReadAhead
    from yoloseg.tracking.timed_video import TimedVideo
    from yoloseg.tracking.tracker import TrackerConfig
    from yoloseg.tracking.vis_results import VisResults

    if options.out.suffix != ".mp4":
        raise UsageError(f"--out {options.out}: name an .mp4 file")
    source = open_source(options.source)
    if source.kind == "mixed":
        raise UsageError(f"{options.source}: several videos; track them one by one")
    if any(options.out.resolve() == Path(name).resolve() for name in source.names):
        raise UsageError(f"--out {options.out} would overwrite the source")
    written = [options.out]
    if options.save_json:
        written += [options.out.with_suffix(suffix) for suffix in (".json", ".times.json")]
    for path in written:
        check_writable(path)
        if path.is_dir():
            raise UsageError(f"cannot write {path}: it is a folder")
    predictors = _predictors(options, source)
    config = TrackerConfig(
        gating=options.gating,
        margin=options.margin,
        doubtful=options.doubtful,
        memory=options.memory,
        reid=options.reid,
        across_classes=options.across_classes,
        new_score=options.new_score,
    )
    follower = Follower(predictors[0], config)
    if predictors[0].limits:
        print(f"note: {predictors[0].limits}", file=sys.stderr)
    print(f"score threshold {predictors[0].score_threshold:.3g}")
    log = _Log(source)
    ids = range(1, len(predictors[0].classes) + 1)
    with VisResults(ids, options.out.parent) as results, ExitStack() as stack:
        stopped = stack.enter_context(interrupted())
        video = stack.enter_context(TimedVideo(options.out, source.fps.get(source.names[0])))
        drawing = stack.enter_context(Background(lambda tracks: video.write(tracks.draw(), tracks.time)))
        frames = stack.enter_context(ReadAhead(source, lambda: bool(stopped)))
        works = [partial(_timed, predictor) for predictor in predictors]
        for frame, (result, seconds) in in_parallel(works, map(follower.fit, frames)):
            started = time.perf_counter()
            tracks = follower.follow(frame, result)
            log.add(tracks, seconds, time.perf_counter() - started)
            drawing.put(tracks)
            if options.save_json:
                results.add(1, tracks.frame, tracks)
        source.dropped = frames.dropped
        if not log.times:
            if stopped:
                raise KeyboardInterrupt
            reasons = "".join(f"\n  {line}" for line in source.skipped[:20])
            raise DataError(f"{options.source}: not one frame could be read{reasons}")
        stack.close()  # the video is whole before anything else is written
        log.finish(options, follower, len(predictors), bool(stopped))
        if options.save_json:
            if source.kind == "pictures" and not stopped:
                results.end(1, len(source.names))
            results.save(options.out.with_suffix(".json"))
            write_json(options.out.with_suffix(".times.json"), log.stamps())
            print(f"tracks: {options.out.with_suffix('.json')}")
    print(f"written: {options.out}")


def _predictors(options: Options, source: Source) -> list[Predictor]:
    """A network for each frame that is looked at at the same time. Raises UsageError for wrong numbers."""
    from yoloseg import load
    from yoloseg.errors import UsageError
    from yoloseg.inference.predictor import Predictor

    for flag, count in (("--networks", options.networks), ("--threads", options.threads)):
        if count is not None and count < 1:
            raise UsageError(f"{flag} {count}: at least 1")
        if count is not None and options.weights.suffix not in (".tflite", ".onnx"):
            raise UsageError(f"{flag} is for .tflite and .onnx files, not for {options.weights}")
    networks, given = 1, {}
    if options.weights.suffix in (".tflite", ".onnx"):
        cores = os.cpu_count() or 1
        camera = source.kind == "camera"
        if camera and (options.networks or 1) > 1:
            raise UsageError(f"--networks {options.networks}: a camera's frames are looked at one by one")
        most = 1 if camera else min(cores // (options.threads or 1), MOST_NETWORKS)
        networks = options.networks or max(1, most)
        given = {"threads": options.threads or max(1, cores // networks)}
    return [
        Predictor(
            load(options.weights, **given),
            score_threshold=options.conf,
            max_detections=options.max_detections,
            embeddings=options.reid,
        )
        for _ in range(networks)
    ]


def _timed(predictor: Predictor, frame: FittedFrame) -> tuple[Result, float]:
    """What the network finds, and the seconds that it took."""
    from yoloseg.tracking.clip import look

    started = time.perf_counter()
    return look(predictor, frame), time.perf_counter() - started


class _Log:
    """What is told of the work: a line every few seconds, and a summary."""

    EVERY = 5.0  # seconds

    def __init__(self, source: Source):
        self.source = source
        self.frames, self.times = array("q"), array("d")  # numbers and time stamps of frames
        self.network = self.tracker = 0.0  # seconds
        self.started = self.told = time.monotonic()
        self.classes: dict[int, str] = {}

    def add(self, tracks: Tracks, network: float, tracker: float) -> None:
        self.frames.append(tracks.frame)
        self.times.append(tracks.time)
        self.network += network
        self.tracker += tracker
        self.classes |= dict(zip(tracks.ids.tolist(), tracks.class_names, strict=True))
        now = time.monotonic()
        if len(self.times) == 1:  # the network's start is behind it
            self.started = now
        if now - self.told >= self.EVERY:
            self.told = now
            speed = f"{self._rate(now):.1f} frames/s"
            print(f"frame {tracks.frame}: {len(tracks)} instances, {speed}", flush=True)

    def _rate(self, now: float) -> float:
        return (len(self.times) - 1) / max(now - self.started, 1e-9)

    def stamps(self) -> dict[int, float]:
        """Frame -> seconds from the start."""
        return {number: round(value, 6) for number, value in zip(self.frames, self.times, strict=True)}

    def finish(self, options: Options, follower: Follower, networks: int, stopped: bool) -> None:
        counts = Counter(self.classes.values()).most_common()
        listed = ", ".join(f"{count} {name}" for name, count in counts) or "none"
        print(f"{len(self.times)} frames, {len(self.classes)} tracks: {listed}")
        network, tracker = (1000 * seconds / len(self.times) for seconds in (self.network, self.tracker))
        at_once = f", {networks} frames at a time" if networks > 1 else ""
        speed = f"{self._rate(time.monotonic()):.1f} frames/s"
        print(f"{speed}; network {network:.1f} ms a frame{at_once}, tracker {tracker:.1f} ms")
        notes = list(self.source.skipped)
        if self.source.dropped:
            notes.append(f"{self.source.dropped} frames of the camera came too fast and were left out")
        if follower.fitted:
            notes.append(f"{follower.fitted} frames of another size than the first were fitted into its size")
        if self.source.kind == "camera" and not stopped:
            notes.append(f"{options.source}: the stream ended by itself; what came until then is kept")
        for note in notes:
            print(f"note: {note}", file=sys.stderr)


@contextmanager
def interrupted() -> Iterator[list]:
    """A list that Ctrl-C, or a request to end (SIGTERM), puts something into, in place of ending the program:
    the video is closed properly. A second one ends it."""
    stopped: list[bool] = []

    def stop(*_: object) -> None:
        if stopped:
            raise KeyboardInterrupt
        stopped.append(True)
        print("stopping; once more to lose what was done", file=sys.stderr)

    before = {kind: signal.signal(kind, stop) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


if __name__ == "__main__":
    sys.exit(main())
