"""Weights and exported files side by side: size, start, latency, memory and AP, each in processes of its own.

    python -m yoloseg.inference.file_benchmark FILE PICTURE.npy THREADS REPEATS CONF SLOTS   # prints JSON
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yoloseg.errors import YolosegError
from yoloseg.files import write_text
from yoloseg.memory import peak_memory

WARM_UP = 3
THREADS = (1, 2)
HEADER = (
    "| file | MB | start s | instances | run ms: median (p95) | paste ms | fps, 1 thread | fps, 2 threads "
    "| memory MB | box AP | mask AP |"
)


@dataclass
class FileTimes:
    """One file on one picture. size: bytes. start: seconds to load it and run it once. run, paste: seconds of
    each repeat with one thread: picture in, boxes and mask probabilities out; masks at the picture's size.
    frames: pictures a second by number of threads. memory: bytes of the whole process at its peak. ap: (box,
    mask) AP, None where no data was given."""

    name: str
    size: int
    start: float
    instances: int
    run: list[float]
    paste: list[float]
    frames: dict[int, float]
    memory: int | None
    ap: tuple[float, float] | None = None

    def row(self) -> str:
        """Of a Markdown table under HEADER."""
        median, late = 1e3 * np.percentile(self.run, (50, 95))
        ap = ["" if self.ap is None else f"{value:.3f}" for value in self.ap or (0, 0)]
        cells = [
            self.name,
            f"{self.size / 1e6:.1f}",
            f"{self.start:.1f}",
            self.instances,
            f"{median:.1f} ({late:.1f})",
            f"{1e3 * np.median(self.paste):.1f}",
            *(f"{self.frames[threads]:.1f}" for threads in THREADS),
            "" if self.memory is None else f"{self.memory / 1e6:.0f}",
            *ap,
        ]
        return "| " + " | ".join(map(str, cells)) + " |"


def time_file(
    path: Path, picture: np.ndarray, repeats: int, conf: float, slots: int, evaluate: Sequence[object] = ()
) -> FileTimes:
    """Measured in fresh processes. picture: uint8 [H, W, 3] RGB. conf, slots: the best `slots` detections of
    at least `conf` are taken. evaluate: where AP is measured, as flags for `yoloseg evaluate`; which is left
    out if there are none.

    Raises YolosegError with what such a process had to say when it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "picture.npy", picture)
        runs = {}
        for threads in THREADS:
            arguments = [path, Path(folder) / "picture.npy", threads, repeats, conf, slots]
            runs[threads] = json.loads(_python("yoloseg.inference.file_benchmark", *arguments))
        ap = None
        if evaluate:
            out = Path(folder) / "metrics.json"
            limits = ["--conf", conf, "--max-detections", slots]
            _python("yoloseg.evaluate", "--weights", path, "--out", out, *limits, *evaluate)
            metrics = json.loads(out.read_text(encoding="utf-8"))
            ap = (metrics["bbox"]["AP"], metrics["segm"]["AP"])
    first = runs[THREADS[0]]
    frames = {
        threads: 1 / float(np.median(np.add(one["run"], one["paste"]))) for threads, one in runs.items()
    }
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    times = (first["start"], first["instances"], first["run"], first["paste"])
    return FileTimes(str(path), size, *times, frames, first["memory"], ap)


def table(times: list[FileTimes]) -> str:
    """Markdown."""
    return "\n".join([HEADER, "|" + "---|" * (HEADER.count("|") - 1), *(one.row() for one in times)]) + "\n"


def save_report(folder: Path, times: list[FileTimes]) -> None:
    """Writes benchmark.md and, where AP was measured, benchmark.png: mask AP against latency."""
    write_text(folder / "benchmark.md", table(times))
    if all(one.ap is None for one in times):
        return
    from matplotlib.figure import Figure

    from yoloseg.data.lettering import LONGEST, plain_text
    from yoloseg.files import atomic_write

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="ms a picture, one thread", ylabel="mask AP")
    for one in times:
        total = 1e3 / one.frames[THREADS[0]]
        axes.scatter(total, one.ap[1])
        name = plain_text(one.name[-LONGEST:])
        axes.annotate(name, (total, one.ap[1]), xytext=(5, 5), textcoords="offset points")
    axes.margins(0.2)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    with atomic_write(folder / "benchmark.png") as aside:
        figure.savefig(aside, dpi=110)


def _python(module: str, *arguments) -> str:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode < 0:
        number = -done.returncode
        name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        raise YolosegError(f"{module}: ended by signal {name}; memory may be short")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise YolosegError(f"{module}: {lines[-1].removeprefix('error: ')}")
    return done.stdout


def _measure(path: str, picture: str, threads: int, repeats: int, conf: float, slots: int) -> dict:
    """What one process measures."""
    import yoloseg
    from yoloseg.inference.exported import load_exported

    image = np.load(picture)
    begun = time.perf_counter()
    model = load_exported(path, threads) or yoloseg.load(path)
    predictor = yoloseg.Predictor(model, score_threshold=conf, max_detections=slots)
    predictor.predict_image(image)
    start = time.perf_counter() - begun
    run, paste = [], []
    for step in range(WARM_UP + repeats):
        begun = time.perf_counter()
        result = predictor.predict_image(image)
        found = time.perf_counter()
        for index in range(len(result)):
            result.mask(index)
        if step >= WARM_UP:
            run.append(found - begun)
            paste.append(time.perf_counter() - found)
    times = {"start": start, "run": run, "paste": paste}
    return times | {"instances": len(result), "memory": peak_memory()}


if __name__ == "__main__":
    from yoloseg.benchmark import set_threads
    from yoloseg.cli import run_command

    set_threads(int(sys.argv[3]))
    numbers = [kind(word) for kind, word in zip((int, int, float, int), sys.argv[3:], strict=True)]
    sys.exit(run_command(lambda: print(json.dumps(_measure(*sys.argv[1:3], *numbers)))))
