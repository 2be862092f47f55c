"""A training killed at random moments against one that is left alone: do they end with the same score?

    python train/killed.py --kills 10 --out runs/killed

Both are `yoloseg train` on the shapes with the same seed, each in processes of their own. The killed one goes
on with --resume, or starts anew where it was killed before it made its network. The two are the same run:
every figure of results.csv but the seconds must be equal, to the last digit.
"""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass
class Options:
    """Kill a training again and again, and compare."""

    kills: int = 10
    """How often."""
    epochs: int = 10
    """Of both runs; ten and more have two stages, with pictures of two sizes."""
    imgsz: tuple[int, int] = (96, 128)
    """Network input (height, width): small, so that epochs end between two kills."""
    shortest: float = 5.0
    """Seconds a process lives at least."""
    longest: float = 150.0
    """And at most; the last one is left alone."""
    seed: int = 0
    """Of the moments."""
    out: Path = Path("runs/killed")
    """Two run folders go here: unbroken, killed."""


def start(folder: Path, options: Options) -> subprocess.Popen:
    """The training's process, resuming where there is something to resume; what it prints goes into a file
    beside the folder."""
    command = [sys.executable, "-m", "yoloseg.train", "--out", str(folder)]
    command += ["--epochs", str(options.epochs), "--imgsz", *map(str, options.imgsz)]
    if (folder / "state.json").exists():
        command.append("--resume")
    folder.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    with open(log_of(folder), "a", encoding="utf-8") as log:
        return subprocess.Popen(command, start_new_session=True, stdout=log, stderr=log, env=environment)


def log_of(folder: Path) -> Path:
    return folder.with_suffix(".log")


def last_line(path: Path, start: int) -> str:
    """Of what was written from byte `start` on."""
    lines = path.read_bytes()[start:].decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:80] if lines else "nothing"


def scores(folder: Path) -> dict[str, float]:
    """Box and mask AP of a finished run. Raises SystemExit where it did not finish."""
    if not (folder / "report.html").exists():
        raise SystemExit(f"{folder}: did not come to its end")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {kind: round(metrics[kind]["AP"], 4) for kind in ("bbox", "segm")}


def figures(folder: Path) -> list[dict[str, str]]:
    """The rows of results.csv, without the seconds."""
    with open(folder / "results.csv", newline="", encoding="utf-8") as file:
        return [{key: row[key] for key in row if key != "seconds"} for row in csv.DictReader(file)]


def main(options: Options) -> None:
    """Prints both scores, and whether the two runs are the same. Raises SystemExit where they are not."""
    moments = random.Random(options.seed)
    unbroken = options.out / "unbroken"
    if not (unbroken / "report.html").exists() and start(unbroken, options).wait():
        raise SystemExit(f"the training failed: {last_line(log_of(unbroken), 0)}")
    folder, killed = options.out / "killed", 0
    while not (folder / "report.html").exists():
        log = log_of(folder)
        written = log.stat().st_size if log.exists() else 0
        process = start(folder, options)
        patience = moments.uniform(options.shortest, options.longest) if killed < options.kills else None
        begun = time.monotonic()
        try:
            if process.wait(timeout=patience):
                raise SystemExit(f"the training failed: {last_line(log, written)}")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
            told = last_line(log, written)
            print(f"killed after {time.monotonic() - begun:.0f} s; its last line: {told}", flush=True)
    print(f"unbroken {scores(unbroken)}")
    print(f"killed {killed} times {scores(folder)}")
    one, other = figures(unbroken), figures(folder)
    names = [name for name in one[0] if [row[name] for row in one] != [row.get(name) for row in other]]
    if names:
        raise SystemExit(f"these columns of results.csv differ: {', '.join(names)}")
    print(f"results.csv: {len(one)} epochs, {len(one[0])} columns, all equal to the last digit")


if __name__ == "__main__":
    main(tyro.cli(Options))
