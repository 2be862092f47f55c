"""`python -m yoloseg.predict`: draws the instances found in pictures, videos or a camera's stream."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from yoloseg.cli import run_command

if TYPE_CHECKING:
    import numpy as np

    from yoloseg.inference.predictor import Predictor
    from yoloseg.inference.results import Result
    from yoloseg.inference.sources import Frame, Source

WRITTEN_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
PROGRESS_FRAMES = 100
LISTED = 20
LONGEST_NAME = 100  # characters of a stream's address that name its recording


@dataclass
class Options:
    """Draw what the network finds: pictures in give pictures of the same name, a video gives a video."""

    weights: Path
    """A .keras file written by training, an exported file, or Darknet's .weights with the .cfg beside it."""
    source: Annotated[str, tyro.conf.arg(metavar="SOURCE")]
    """A picture, folder, glob in quotes, video, stream address or camera index."""
    out: Path = Path("predictions")
    """Folder for the annotated pictures or video."""
    conf: float | None = None
    """Keep detections of at least this score; by default the threshold stored in the weights."""
    max_detections: int | None = None
    """Most detections kept in a picture; by default as many as the weights say."""
    save_json: bool = False
    """Also write OUT/predictions.json: a COCO file with RLE masks and scores, category ids from 1."""
    save_labels: Literal["coco", "yolo", "labelme"] | None = None
    """Also write OUT/labels: the pictures with what was found as polygons, for an annotation tool to correct
    (pictures alone)."""
    features: bool = False
    """Draw the network's feature maps of every level instead (pictures alone)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 after an error of the user's, printed to stderr."""
    options = tyro.cli(Options, args=argv, prog="yoloseg predict")
    return run_command(lambda: predict(options))


def predict(options: Options) -> None:
    """Runs the command. Raises YolosegError where source, weights, numbers or the out folder cannot be
    used."""
    from yoloseg import load
    from yoloseg.errors import DataError
    from yoloseg.files import write_json
    from yoloseg.inference.predictor import Predictor
    from yoloseg.inference.sources import open_source
    from yoloseg.inference.video import video_writer
    from yoloseg.tracking.timed_video import TimedVideo

    source = open_source(options.source)
    targets = _targets(source, options.out)
    if options.save_labels:
        _check_labels(options, source, targets)
    if options.features:
        return _draw_features(options, source, targets)
    model = load(options.weights)
    predictor = Predictor(model, score_threshold=options.conf, max_detections=options.max_detections)
    predictor.check_source(source)
    if predictor.limits:
        print(f"note: {predictor.limits}", file=sys.stderr)
    origin = f"stored in {options.weights.name}" if options.conf is None else "--conf"
    print(f"score threshold {predictor.score_threshold:.3g} ({origin})")
    seconds: list[float] = []
    found: Counter[str] = Counter()
    document = _Document(predictor.classes)
    labels = _Labels(predictor.classes)

    def finish(result: Result) -> None:
        found.update(result.class_names)
        if options.save_json:
            document.add(result, targets[result.path].relative_to(options.out))
        if options.save_labels:
            labels.add(result)

    def draw(results: Iterable[tuple[Result, float]], write: Callable[[np.ndarray, float], None]) -> None:
        for result, stamp in results:
            write(result.draw(), stamp)
            if result.frame % PROGRESS_FRAMES == 0:
                print(f"{result.path} frame {result.frame}: {_counts(result.class_names)}")
            finish(result)

    if source.kind == "camera":
        with TimedVideo(targets[source.names[0]], source.fps.get(source.names[0])) as video:
            draw(_recorded(source, predictor, seconds), video.write)
    else:
        results = _timed_results(source, predictor, seconds)
        for name, group in groupby(results, key=lambda r: None if r[0].frame is None else r[0].path):
            if name is None:
                for result, _ in group:
                    result.save(targets[result.path])
                    print(f"{result.path}: {_counts(result.class_names)}")
                    finish(result)
                continue
            with video_writer(targets[name], source.fps.get(name)) as write:
                draw(group, lambda picture, _, write=write: write(picture))
    _report(source)
    if not seconds:
        raise DataError(f"{options.source}: nothing could be read from it")
    if options.save_json:
        write_json(options.out / "predictions.json", document.content)
    if options.save_labels:
        print(f"labels: {labels.write(options.save_labels, options.out / 'labels')}")
    print(f"{len(seconds)} pictures, {found.total()} instances: {_counts(found)}")
    print(f"{_speed(seconds)}; written to {options.out}")


def _report(source: Source) -> None:
    """What of the source was left out."""
    if source.dropped:
        print(f"{source.dropped} frames of the camera came too fast and were left out", file=sys.stderr)
    if source.skipped:
        print(f"skipped, {len(source.skipped)} unreadable:", file=sys.stderr)
        for line in source.skipped[:LISTED] + ["..."] * (len(source.skipped) > LISTED):
            print(f"  {line}", file=sys.stderr)


def _check_labels(options: Options, source: Source, targets: dict[str, Path]) -> None:
    """Raises UsageError where --save-labels cannot work: before anything is predicted."""
    from yoloseg.errors import UsageError
    from yoloseg.inference.sources import VIDEO_SUFFIXES

    folder = options.out / "labels"
    videos = [name for name in targets if Path(name).suffix.lower() in VIDEO_SUFFIXES]
    if source.kind in ("camera", "video") or videos:
        raise UsageError(f"{(videos or source.names)[0]}: --save-labels is for pictures; save frames as such")
    if options.features:
        raise UsageError("give --save-labels or --features, not both")
    if folder.exists() or any(folder in target.parents for target in targets.values()):
        raise UsageError(f"{folder} exists, or would hold drawings; name another --out")


def _draw_features(options: Options, source: Source, targets: dict[str, Path]) -> None:
    """Writes a sheet of feature maps for every picture. Raises UsageError for a video or a camera, DataError
    where nothing can be read."""
    from yoloseg.errors import DataError, UsageError
    from yoloseg.inference.features import FeatureMaps, draw_features
    from yoloseg.inference.results import save_picture
    from yoloseg.modeling.network import load_model

    model = load_model(options.weights)
    maps_of, drawn = FeatureMaps(model), 0
    for name, image, frame, *_ in source:
        if frame is not None:
            raise UsageError(f"{name}: --features draws pictures, not videos; save a frame as a picture")
        save_picture(targets[name], draw_features(image, maps_of(image), model.imgsz))
        print(f"{name}: {targets[name]}")
        drawn += 1
    _report(source)
    if not drawn:
        raise DataError(f"{options.source}: nothing could be read from it")


def _timed_results(
    frames: Iterable[Frame], predictor: Predictor, seconds: list[float]
) -> Iterator[tuple[Result, float]]:
    """Results in order with their time stamps; the time each took is appended to `seconds`."""
    for name, image, index, stamp, _ in frames:
        start = time.perf_counter()
        result = predictor.predict_image(image, path=name, frame=index)
        seconds.append(time.perf_counter() - start)
        yield result, stamp


def _recorded(source: Source, predictor: Predictor, seconds: list[float]) -> Iterator[tuple[Result, float]]:
    """`_timed_results` of a camera, the newest frame each time. Ctrl-C ends the stream, not the program."""
    from yoloseg.tracking.stream import ReadAhead

    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    print("Ctrl-C ends the recording")
    handler = signal.signal(signal.SIGINT, stop)
    try:
        with ReadAhead(source, lambda: stopped) as frames:
            yield from _timed_results(frames, predictor, seconds)
            source.dropped = frames.dropped
    finally:
        signal.signal(signal.SIGINT, handler)


def _targets(source: Source, out: Path) -> dict[str, Path]:
    """Where the drawing of each name goes: its name, below `out` as it lay below the folder all have in
    common.

    Raises UsageError when a file would be written over a source or over another's drawing.
    """
    from yoloseg.errors import UsageError
    from yoloseg.files import is_file
    from yoloseg.inference.sources import VIDEO_SUFFIXES

    streams = [name for name in source.names if source.kind == "camera" or "://" in name]
    targets = {name: out / (_recording(name) + ".mp4") for name in streams}
    # as they are called: what a link leads to may have another name, and lie elsewhere
    paths = {name: Path(os.path.abspath(name)) for name in source.names if name not in targets}
    files = {path.resolve() for path in paths.values()}
    common = os.path.commonpath([path.parent for path in paths.values()]) if paths else ""
    taken = {}
    for name, path in paths.items():
        target = out / path.relative_to(common)
        if path.suffix.lower() in VIDEO_SUFFIXES:
            target = target.with_suffix(".mp4")
        elif path.suffix.lower() not in WRITTEN_SUFFIXES:
            target = target.with_name(target.name + ".png")
        if target.resolve() in files:
            raise UsageError(f"--out {out} would overwrite the source {name}; name another folder")
        if is_file(target) and target.resolve().parent == path.parent.resolve():
            raise UsageError(f"--out {out} would overwrite {target}; name another folder")
        if target in taken:
            raise UsageError(
                f"{name} and {taken[target]} would both be drawn to {target}; predict them apart"
            )
        targets[name] = target
        taken[target] = name
    return targets


def _recording(address: str) -> str:
    """What a stream's recording is called: its address without password and query; what that cuts off is
    told apart by a digest."""
    plain = re.sub(r"//[^/@]*@", "//", address.partition("?")[0])
    name = re.sub(r"[^\w.-]+", "_", plain)
    if "?" in address or len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}_{hashlib.sha256(address.encode()).hexdigest()[:8]}"
    return name


class _Document:
    """A COCO file of predictions: images, categories (ids from 1) and annotations that also have a score."""

    def __init__(self, classes: Sequence[str]):
        categories = [{"id": k + 1, "name": name} for k, name in enumerate(classes)]
        self.content = {"images": [], "categories": categories, "annotations": []}
        self._category_ids = range(1, len(classes) + 1)

    def add(self, result: Result, name: Path) -> None:
        from pycocotools import mask as coco_mask

        images, annotations = self.content["images"], self.content["annotations"]
        height, width = result.image.shape[:2]
        images.append({"id": len(images) + 1, "file_name": name.as_posix(), "height": height, "width": width})
        if result.frame is not None:
            images[-1]["frame"] = result.frame
        for found in result.to_coco(len(images), self._category_ids):
            area = int(coco_mask.area(found["segmentation"]))
            annotations.append({"id": len(annotations) + 1, "iscrowd": 0, "area": area} | found)


class _Labels:
    """Predictions as a data set, to be corrected by hand and trained on."""

    TOLERANCE = 1.0  # pixels by which outlines are simplified: a corner for every pixel is not editable

    def __init__(self, classes: Sequence[str]):
        self.classes = tuple(classes)
        self.records = []

    def add(self, result: Result) -> None:
        from yoloseg.data.coco_masks import area_of
        from yoloseg.data.records import Annotation, Record

        annotations = []
        for i, parts in enumerate(result.polygons(self.TOLERANCE)):
            if parts:
                box, area = tuple(result.boxes[i].tolist()), area_of(tuple(parts))
                annotations.append(Annotation(int(result.class_ids[i]), tuple(parts), box, area))
        number, (height, width) = len(self.records) + 1, result.image.shape[:2]
        self.records.append(Record(number, Path(result.path), height, width, tuple(annotations)))

    def write(self, to: Literal["coco", "yolo", "labelme"], folder: Path) -> Path:
        """The data file."""
        from yoloseg.data.convert import write_datasets
        from yoloseg.data.records import Dataset

        ids = tuple(range(1, len(self.classes) + 1))
        dataset = Dataset("predictions", self.classes, ids, self.records)
        return write_datasets({"train": dataset}, to, folder)[0]


def _counts(names: Sequence[str] | Counter[str]) -> str:
    counts = Counter(names).most_common()
    return ", ".join(f"{count} {name}" for name, count in counts) or "nothing"


def _speed(seconds: Sequence[float]) -> str:
    first, rest = seconds[0], seconds[1:]
    if not rest:
        return f"{1000 * first:.0f} ms for the picture, start of the network included"
    each = f"{1000 * median(rest):.1f} ms a picture"
    return f"{each} (the first {1000 * first:.0f} ms, start of the network included)"


if __name__ == "__main__":
    sys.exit(main())
