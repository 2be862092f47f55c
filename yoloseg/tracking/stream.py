"""Work beside the network: frames read ahead, frames drawn and written, in threads with bounded queues."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

from yoloseg.inference.sources import Frame, Source

T = TypeVar("T")
DEPTH = 4  # frames that wait in a queue at most
LOWEST = 19  # priority
PATIENCE = 5.0  # seconds to wait for a thread that hangs in its device
_END = object()


class ReadAhead:
    """The frames of a source, decoded by a thread while the one before is worked on.

    A camera's frames do not wait: of those that come while one is worked on, only the newest is kept, and
    `dropped` counts the others. Errors of the source are raised where its frames are asked for. Frames end,
    too, when `stopped` says so while one is waited for. Use it in a `with` block: leaving it ends the thread,
    unless its device does not give it back within a few seconds.
    """

    def __init__(self, source: Source, stopped: Callable[[], bool] = lambda: False):
        self.dropped = 0
        self._asked_to_stop = stopped
        self._newest_only = source.kind == "camera"
        self._queue: queue.Queue = queue.Queue(1 if self._newest_only else DEPTH)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(source,), name="reader", daemon=True)

    def __enter__(self) -> ReadAhead:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        given_up = time.monotonic() + PATIENCE
        while self._thread.is_alive() and time.monotonic() < given_up:  # it may wait for room, or its camera
            _emptied(self._queue)
            self._thread.join(0.05)

    def __iter__(self) -> Iterator[Frame]:
        while not self._asked_to_stop():
            try:
                item = self._queue.get(timeout=0.5)
            except queue.Empty:
                continue
            if item is _END:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def _read(self, source: Source) -> None:
        last: object = _END
        try:
            for frame in source:
                if self._newest_only:
                    self.dropped += _emptied(self._queue)
                if not self._put(frame):
                    return
        except BaseException as error:  # of any kind: it is raised in the thread that asks
            last = error
        self._put(last)
        if last is not _END:
            self._put(_END)

    def _put(self, item: object) -> bool:
        """False when nobody waits for it any more."""
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False


class Background(Generic[T]):
    """`work(item)` for each item in order, in a thread. `put` waits while DEPTH items are undone, and raises
    what `work` raised; leaving the `with` block waits for what was put, or after an error, or when that wait
    is interrupted, for the item that is worked on alone.

    Where the system lets it, the thread gives way to others: a network that works on all cores waits for the
    one that draws (tests/benchmarks/tracking_pipeline.py).
    """

    def __init__(self, work: Callable[[T], None]):
        self._work = work
        self._queue: queue.Queue = queue.Queue(DEPTH)
        self._error: BaseException | None = None
        self._done = threading.Event()  # a `join` that a signal interrupts takes the thread for ended
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def __enter__(self) -> Background[T]:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            if kind is None:
                self._queue.put(_END)
                self._done.wait()
        finally:  # what comes after must not meet the thread at work
            if not self._done.is_set():
                self._error = self._error or RuntimeError("given up")
                _emptied(self._queue)
                self._queue.put(_END)
                self._done.wait()
        self._thread.join()
        if kind is None:
            self._check()

    def put(self, item: T) -> None:
        self._check()
        self._queue.put(item)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        if sys.platform == "linux":  # elsewhere priorities are of whole processes
            with suppress(OSError):  # a sandbox may forbid it
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)
        while (item := self._queue.get()) is not _END:
            if self._error is None:
                try:
                    self._work(item)
                except BaseException as error:  # of any kind: it is raised in the thread that puts
                    self._error = error
        self._done.set()


def _emptied(waiting: queue.Queue) -> int:
    """Takes everything out of a queue; how many items that was."""
    count = 0
    while True:
        try:
            waiting.get_nowait()
            count += 1
        except queue.Empty:
            return count
