"""Several networks, each at a frame of its own at the same time: what is in one does not depend on others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(works: Sequence[Callable[[T], R]], items: Iterable[T]) -> Iterator[tuple[T, R]]:
    """(item, work(item)) for each item in order, by one of `works`, each of which does one at a time.

    A single one works where and when it is asked: a camera's frame does not wait for the next. Several are
    in a thread each, and at most one item more than there are of them is under way. What a work raises is
    raised in its item's place; what `items` raises, after the results of those that came before.
    """
    if len(works) == 1:
        for item in items:
            yield item, works[0](item)
        return
    free: SimpleQueue = SimpleQueue()
    for work in works:
        free.put(work)

    def done(item: T) -> R:
        work = free.get()
        try:
            return work(item)
        finally:
            free.put(work)

    pending: deque = deque()
    with ThreadPoolExecutor(len(works), "network") as pool:
        coming, error = iter(items), None
        try:
            while coming is not None or pending:
                try:
                    while coming is not None and len(pending) <= len(works):
                        item = next(coming)
                        pending.append((item, pool.submit(done, item)))
                except StopIteration:
                    coming = None
                except Exception as raised:  # of any kind: it is raised below, after what is under way
                    coming, error = None, raised
                if pending:
                    first, future = pending.popleft()
                    yield first, future.result()
            if error is not None:
                raise error
        finally:
            for _, future in pending:
                future.cancel()
