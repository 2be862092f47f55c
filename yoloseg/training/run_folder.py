"""The folder of a run: no two trainings write into one, and none writes over another's results."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from yoloseg.errors import UsageError
from yoloseg.files import check_writable, remove_asides
from yoloseg.training import checkpoint
from yoloseg.training.config import TrainConfig

LOCK = ".lock"
RUNS = Path("runs")


@contextmanager
def claimed(config: TrainConfig) -> Iterator[Path]:
    """The folder of this run, made and writable, which no other training takes as long as the block runs; in
    it what a killed one left half written is gone.

    Raises UsageError rather than write over another run, where another training writes there, and where there
    is nothing to resume. A new folder in which the block leaves nothing is removed.
    """
    if config.resume and not config.out.is_dir():
        checkpoint.read_progress(config.out)  # raises: it holds none
    folder, new = (_numbered(), True) if config.out is None else (config.out, not config.out.exists())
    check_writable(folder / LOCK)
    try:
        with _locked(folder / LOCK):
            _clear(config, folder)
            yield folder
    finally:
        if new:
            with suppress(OSError):  # it holds something
                folder.rmdir()


def _numbered() -> Path:
    """runs/train, runs/train2, ...: the first that nobody has made."""
    check_writable(RUNS / LOCK)
    for name in ("train", *(f"train{i}" for i in range(2, 10_000))):
        with suppress(FileExistsError):
            (RUNS / name).mkdir()
            return RUNS / name
    raise UsageError(f"{RUNS}: holds ten thousand runs; name another folder by --out")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Raises UsageError where another process, or thread, holds the lock; a killed one does not. Where the
    file system has no locks a warning says so."""
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(f"{path.parent}: another training writes there; name another --out") from None
    except PermissionError as error:
        raise UsageError(f"{path}: cannot be written; remove it, or name another --out") from error
    except (OSError, NotImplementedError) as error:
        told = f"{path.parent}: cannot be locked ({error}): see to it that no other training writes there"
        warnings.warn(told, stacklevel=2)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is held
        lock.release()


def _clear(config: TrainConfig, folder: Path) -> None:
    if config.out is not None and not config.resume:
        marks = [folder / name for name in ("best.keras", "last.keras", checkpoint.STATE)]
        if any(path.exists() for path in marks):
            if not checkpoint.only_started(folder):
                raise UsageError(
                    f"{folder}: holds a run already; name another --out, or resume it by --resume"
                )
            for path in marks:
                path.unlink(missing_ok=True)
    remove_asides(folder)
