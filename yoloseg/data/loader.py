"""Batches for training and validation, made ahead by threads: dataset -> samples -> augmented -> packed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import keras
import numpy as np

from yoloseg.data.records import Dataset
from yoloseg.data.sample_cache import SampleCache
from yoloseg.data.samples import Sample, Transform
from yoloseg.data.sampling import drawn
from yoloseg.errors import DataError, UsageError

EMPTY, CROWD = -1, -2  # in place of a class index
NEIGHBOURS = 64  # pictures from which something may be mixed in


class Loader(keras.utils.PyDataset):
    """`loader[i]` is batch i of the current epoch, ready for `model.fit(loader, shuffle=False)`.

    A batch is a dict, every array of the same shape in every batch of a loader:
        images  uint8   [B, h, w, 3]  RGB
        boxes   float32 [B, G, 4]     (x0, y0, x1, y1) in pixels of the network input, clipped to it; else 0
        classes int32   [B, G]        class index; EMPTY (-1): no instance, CROWD (-2): a region to ignore
        masks   uint8   [B, G, M, M]  0..255, the share of each cell of the box that the instance covers
        exhaustive float32 [B, K]     only of federated sets: 1 for classes of which all objects are annotated
    B is batch_size, M is mask_size, G the largest number of instances in any picture (or max_instances),
    rounded up to a multiple of 8. Where a picture has more, crowds and then the smallest boxes are left out.
    Instances that show less than a pixel of width or height are left out (samples.MIN_SIDE).

    Every picture comes once an epoch, or, given `weights`, as often as its weight says, and as many in all
    (`yoloseg.data.sampling`). The last, incomplete batch is dropped, or with drop_last=False filled
    from the start of the epoch's order; a set smaller than a batch is repeated to fill one.

    `augment` is applied to every sample, until `augment_by` says otherwise; what it mixes in comes from the
    64 pictures before in the epoch's order (the first ones of an epoch: from its end).

    Pictures are decoded and augmented at imgsz; where `output_size` (height, width) is set to something else,
    between two epochs, batches are of that size.

    Batches depend on (seed, epoch, i) alone: not on threads, cache or what was asked before. `on_epoch_end`
    advances `epoch`, but Keras' fit also calls it before its first epoch. So training sets
    `loader.epoch = epoch` in a callback's `on_epoch_begin`; a resumed run then sees the batches the first
    would have seen. fit must get shuffle=False: it would reorder the batches by Python's global random state,
    and nothing could be made ahead. Its steps_per_epoch is len(loader), or less in a run of one epoch:
    Keras would carry the rest of an epoch over into the next.

    `workers` threads make the next batches while one is in use, as long as batches are asked for in order
    (0: none). They are the loader's own: after an interrupted epoch Keras' enqueuer would hand the rest
    of it to the next. cache_bytes bounds the decoded pictures kept in memory.

    Raises DataError for an empty dataset, and from `loader[i]` naming the picture that cannot be read.
    TensorFlow's fit turns errors of the data into its own: wrap it in `with loader.data_errors():`.
    """

    def __init__(
        self,
        dataset: Dataset,
        imgsz: tuple[int, int],
        batch_size: int,
        *,
        augment: Sequence[Transform] = (),
        mask_size: int = 56,
        max_instances: int | None = None,
        shuffle: bool = True,
        weights: np.ndarray | None = None,
        seed: int = 0,
        workers: int = 2,
        cache_bytes: int = 1 << 30,
        drop_last: bool = True,
    ):
        super().__init__(workers=1, use_multiprocessing=False)
        if not len(dataset):
            raise DataError(f"{dataset.name}: there is no picture in it")
        if batch_size < 1 or workers < 0 or seed < 0:
            raise UsageError(
                f"batch size {batch_size}, workers {workers}, seed {seed}: the first must be at least 1, "
                "the others at least 0"
            )
        largest = max(len(record.annotations) for record in dataset.records)
        self.dataset = dataset
        self.samples = SampleCache(dataset, imgsz, cache_bytes)
        self.imgsz = imgsz
        self.output_size = imgsz
        self.batch_size = batch_size
        self.augment = tuple(augment)
        self.closing = self.augment
        self.closing_epoch: int | None = None
        self.mask_size = mask_size
        self.max_instances = max(8, -(-(max_instances or largest) // 8) * 8)
        self.shuffle = shuffle
        self.weights = weights
        self.seed = seed
        self.drop_last = drop_last
        self.epoch = 0
        self._failure: DataError | None = None
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))
        self._threads = workers
        self._executor: ThreadPoolExecutor | None = None
        self._ahead: dict[tuple[int, int], Future] = {}
        self._next: tuple[int, int] = (0, 0)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Batches an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return max(1, whole if self.drop_last else whole + (rest > 0))

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        try:
            future = self._look_ahead(self.epoch, index)
            return future.result() if future else self._batch(self.epoch, index)
        except DataError as error:
            self._failure = error
            raise

    def on_epoch_end(self) -> None:
        self.epoch += 1

    def augment_by(
        self, augment: Sequence[Transform], closing: Sequence[Transform], closing_epoch: int | None
    ) -> None:
        """From here on, `augment` and from `closing_epoch` on `closing`; batches made ahead are made anew."""
        with self._lock:
            self.augment, self.closing, self.closing_epoch = tuple(augment), tuple(closing), closing_epoch
            for future in self._ahead.values():
                future.cancel()
            self._ahead.clear()

    def sample(self, index: int) -> Sample:
        """Sample `index` of the current epoch's order, augmented, as packed into batch index // batch_size.

        Without shuffle that is record `index` of the dataset (modulo its length).
        """
        return self._sample(self.epoch, index)

    @contextmanager
    def data_errors(self) -> Iterator[None]:
        """A block in which the DataError behind any error that this loader caused is raised in its place."""
        self._failure = None
        try:
            yield
        except Exception as error:
            if self._failure is None or error is self._failure:
                raise
            raise self._failure from error

    def _sample(self, epoch: int, index: int) -> Sample:
        order = self._epoch_order(epoch)
        sample = self.samples[int(order[index % len(order)])]
        rng = np.random.default_rng((self.seed, epoch, 1, index))
        late = self.closing_epoch is not None and epoch >= self.closing_epoch
        others = Neighbours(self.samples, order, index)
        for transform in self.closing if late else self.augment:
            sample = transform(sample, rng, others)
        return sample.resized(self.output_size)

    def _epoch_order(self, epoch: int) -> np.ndarray:
        """int64 [pictures]: the records in the order in which the epoch takes them."""
        known, order = self._order
        if known != epoch:
            order = np.arange(len(self.dataset))
            rng = np.random.default_rng((self.seed, epoch, 0))
            if self.weights is not None:
                order = drawn(self.weights, rng)
            elif self.shuffle:
                rng.shuffle(order)
            self._order = epoch, order
        return order

    def _batch(self, epoch: int, index: int) -> dict[str, np.ndarray]:
        first = index * self.batch_size
        samples = (self._sample(epoch, first + slot) for slot in range(self.batch_size))
        classes = len(self.dataset.classes) if self.dataset.federated else 0
        return pack(samples, self.batch_size, self.output_size, self.max_instances, self.mask_size, classes)

    def _look_ahead(self, epoch: int, index: int) -> Future | None:
        """Sets the threads to work on the batches after this one; gives this one if it was made before."""
        if not self._threads:
            return None
        with self._lock:
            future = self._ahead.pop((epoch, index), None)
            in_order = index == 0 or self._next == (epoch, index)
            self._next = (epoch, index + 1)
            depth = 2 * self._threads if in_order else 0
            wanted = [(epoch, ahead) for ahead in range(index + 1, min(index + 1 + depth, len(self)))]
            for key in self._ahead.keys() - set(wanted):
                self._ahead.pop(key).cancel()
            for key in wanted:
                if key not in self._ahead:
                    if self._executor is None:
                        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="loader")
                    self._ahead[key] = self._executor.submit(self._batch, *key)
        return future


class Neighbours(Sequence[Sample]):
    """Up to NEIGHBOURS samples that come before `index` in the epoch's order, the nearest first: what is
    mixed in comes as often as the sampling says, and was decoded a moment ago, however large the set is."""

    def __init__(self, samples: SampleCache, order: np.ndarray, index: int):
        self._samples, self._order, self._index = samples, order, index

    def __len__(self) -> int:
        return min(max(len(self._order) - 1, 1), NEIGHBOURS)  # itself only where there is no other

    def __getitem__(self, back: int) -> Sample:
        if not 0 <= back < len(self):
            raise IndexError(f"neighbour {back} of {len(self)}")
        return self._samples[int(self._order[(self._index - 1 - back) % len(self._order)])]


def pack(
    samples: Iterator[Sample] | Sequence[Sample],
    batch_size: int,
    imgsz: tuple[int, int],
    max_instances: int,
    mask_size: int,
    federated_classes: int = 0,
) -> dict[str, np.ndarray]:
    """The batch (see Loader) of exactly batch_size samples, with pictures of size imgsz (height, width).

    federated_classes: the number of classes of a federated set, else 0.
    """
    batch = {
        "images": np.empty((batch_size, *imgsz, 3), np.uint8),
        "boxes": np.zeros((batch_size, max_instances, 4), np.float32),
        "classes": np.full((batch_size, max_instances), EMPTY, np.int32),
        "masks": np.zeros((batch_size, max_instances, mask_size, mask_size), np.uint8),
    }
    if federated_classes:
        batch["exhaustive"] = np.zeros((batch_size, federated_classes), np.float32)
    for row, sample in enumerate(samples):
        if federated_classes:
            batch["exhaustive"][row, list(sample.exhaustive)] = 1.0
        batch["images"][row] = sample.image
        found = sample.visible()
        if len(found) > max_instances:
            found.sort(key=lambda pair: (pair[0].crowd, -_area(pair[1])))
        for slot, (instance, box) in enumerate(found[:max_instances]):
            batch["boxes"][row, slot] = box
            batch["classes"][row, slot] = CROWD if instance.crowd else instance.class_index
            batch["masks"][row, slot] = instance.crop(box, mask_size)
    return batch


def _area(box: np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
