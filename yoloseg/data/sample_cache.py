"""Letterboxed samples by index, the most recently used of them kept in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict

from yoloseg.data.records import Dataset
from yoloseg.data.samples import Sample, read_sample


class SampleCache:
    """`cache[i]` is record i of the dataset, letterboxed to imgsz (height, width), before any augmentation.

    At most `cache_bytes` of decoded pictures and bitmaps are kept, the least recently used leave first; 0
    keeps nothing. May be used from several threads. What it gives is shared and must not be written to (the
    pictures refuse it). Raises DataError naming the file of a picture that cannot be read.
    """

    def __init__(self, dataset: Dataset, imgsz: tuple[int, int], cache_bytes: int):
        self.dataset = dataset
        self.imgsz = imgsz
        self.cache_bytes = cache_bytes
        self.bytes_held = 0
        self._kept: OrderedDict[int, Sample] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        # outside the lock, so that threads decode at the same time
        sample = read_sample(self.dataset.records[index], self.imgsz)
        sample.image.flags.writeable = False
        with self._lock:
            if index not in self._kept and sample.nbytes <= self.cache_bytes:
                self._kept[index] = sample
                self.bytes_held += sample.nbytes
                while self.bytes_held > self.cache_bytes:
                    self.bytes_held -= self._kept.popitem(last=False)[1].nbytes
        return sample
