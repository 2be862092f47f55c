"""Pictures that look alike, whatever their names, sizes and formats are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from yoloseg.data.records import Record
from yoloseg.errors import DataError

SIDE = 16  # of the thumbnails that are compared
DISTANCE = 3  # bits of 64 in which the hashes of two pictures may differ
DIFFERENCE = 4.0  # grey levels, in the mean over a thumbnail


def thumbnails(records: Sequence[Record], workers: int = 4) -> np.ndarray:
    """uint8 [N, 16, 16] grey, stretched; 0 for a picture that cannot be read."""

    def one(record: Record) -> np.ndarray:
        try:
            grey = _grey(record)
        except DataError:
            grey = np.zeros((SIDE, SIDE), np.uint8)
        return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)

    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(one, records))
    return np.stack(found) if found else np.zeros((0, SIDE, SIDE), np.uint8)


def hashes(thumbs: np.ndarray) -> np.ndarray:
    """uint64 [N]: whether each of 8 x 8 means is darker than its right neighbour (a difference hash)."""
    columns = np.linspace(0, SIDE, 10).astype(int)
    rows = thumbs.reshape(-1, 8, 2, SIDE).mean(2)
    means = np.stack([rows[..., a:b].mean(-1) for a, b in zip(columns, columns[1:], strict=False)], -1)
    bits = means[..., :-1] < means[..., 1:]
    return np.packbits(bits.reshape(len(thumbs), 64), axis=1).view(np.uint64).ravel()


def alike(thumbs: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs i < j where picture j shows the same as i: hashes within DISTANCE bits and thumbnails within
    DIFFERENCE grey levels. As few pairs as join all that are alike, also where of a row of pictures only
    neighbours are. Unreadable pictures (all 0) are like none.

    Two hashes that differ in at most 3 of 64 bits agree in one of their four quarters, so only pictures with
    the same quarter are compared.
    """
    codes = hashes(thumbs)
    quarters = codes.view(np.uint16).reshape(-1, 4)
    grey = thumbs.reshape(len(thumbs), -1).astype(np.int16)
    readable = grey.any(1)
    joined = np.arange(len(thumbs))  # the same number: joined by pairs
    for quarter in range(4):
        order = np.argsort(quarters[:, quarter], kind="stable")
        starts = np.flatnonzero(np.diff(quarters[order, quarter].astype(int), prepend=-1))
        for group in np.split(order, starts[1:]):
            group = np.sort(group[readable[group]])
            for k, i in enumerate(group[:-1].tolist()):
                others = group[k + 1 :][joined[group[k + 1 :]] != joined[i]]
                others = others[_bits(codes[others] ^ codes[i]) <= DISTANCE]
                others = others[np.abs(grey[others] - grey[i]).mean(1) <= DIFFERENCE]
                if not len(others):
                    continue
                numbers, first = np.unique(joined[others], return_index=True)
                joined[np.isin(joined, numbers)] = joined[i]
                for j in np.sort(others[first]).tolist():
                    yield i, j


def _bits(values: np.ndarray) -> np.ndarray:
    """How many bits of each uint64 are set."""
    return np.unpackbits(values[:, None].view(np.uint8), axis=1).sum(1)


def _grey(record: Record) -> np.ndarray:
    """uint8 [h, w], at an eighth of the size where the file's format can be read so."""
    if isinstance(record.source, Path):
        try:
            content = np.fromfile(record.source, np.uint8)
            small = cv2.imdecode(content, cv2.IMREAD_REDUCED_GRAYSCALE_8)
        except (OSError, cv2.error):
            small = None
        if small is not None and min(small.shape) >= SIDE:
            return small
    return cv2.cvtColor(record.read_image(), cv2.COLOR_RGB2GRAY)
