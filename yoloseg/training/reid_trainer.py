"""Trains the re-identification head on a bank of what it sees; the network itself is not touched."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import keras
import numpy as np

from yoloseg.errors import UsageError
from yoloseg.modeling.network import YoloSeg
from yoloseg.modeling.reid_head import COLOURS, standardise
from yoloseg.training.optimizers import WarmupCosine
from yoloseg.training.reid_bank import Bank
from yoloseg.training.reid_loss import EMPTY, contrastive_loss, cosine_loss

TEMPERATURE = 0.05  # 1 / SHARPNESS of `yoloseg.tracking.reid`
RATE, DECAY = 2e-3, 1e-4  # of AdamW


class HeadTrainer(keras.Model):
    """A head in training. Inputs: vectors float32 [N, F] and ids int32 [N], as in `contrastive_loss`."""

    def __init__(self, head: keras.Model):
        super().__init__(name="head_trainer")
        self.head = head
        self.built = True

    def call(self, inputs, training=None):
        return self.head(inputs["vectors"], training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        ids = x["ids"]
        return contrastive_loss(y_pred, ids, TEMPERATURE) + cosine_loss(y_pred, ids)


def with_head(model: YoloSeg, dim: int) -> YoloSeg:
    """The same network with a fresh head for vectors of `dim` numbers; the one it may have is left out."""
    new = YoloSeg.from_config(model.get_config() | {"reid_dim": dim})
    new.network.set_weights(model.network.get_weights())
    new.mask_subnet.set_weights(model.mask_subnet.get_weights())
    return new


def train_head(
    head: keras.Model,
    bank: Bank,
    epochs: int,
    batch: int,
    seed: int,
    report: Callable[[int, float], None],
) -> None:
    """Trains a new `head`, in place.

    batch: groups in a step, each by two of its views: the instances of all of them are told apart. report:
    called after each epoch with its number from 1 on, and its mean loss. Raises UsageError where the loss is
    no number.
    """
    rng = np.random.default_rng(seed)
    groups = rows_by_view(bank)
    steps = epochs * math.ceil(len(groups) / batch)
    standardise(head, bank.vectors)
    trainer = HeadTrainer(head)
    rate = WarmupCosine(RATE, min(50, steps // 5), steps, 0.02)
    trainer.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=DECAY, global_clipnorm=1.0),
        jit_compile=keras.backend.backend() == "jax",
    )
    for epoch in range(1, epochs + 1):
        losses = []
        for inputs in batches(bank, groups, batch, rng):
            trainer.reset_metrics()  # not all versions of Keras do that for every batch
            losses.append(float(trainer.train_on_batch(inputs)))
        loss = float(np.mean(losses))
        if not math.isfinite(loss):
            raise UsageError(f"the loss is {loss} in epoch {epoch}: the network gives numbers out of range")
        report(epoch, loss)


def rows_by_view(bank: Bank) -> list[list[np.ndarray]]:
    """Of each group that is seen in two views or more, for each of these its rows of the bank."""
    groups = []
    for group in np.unique(bank.groups):
        rows = np.flatnonzero(bank.groups == group)
        views = [rows[bank.views[rows] == view] for view in np.unique(bank.views[rows])]
        if len(views) > 1:
            groups.append(views)
    return groups


def batches(
    bank: Bank, groups: list[list[np.ndarray]], batch: int, rng: np.random.Generator
) -> Iterator[dict[str, np.ndarray]]:
    """Every group once in random order, by two of its views drawn at random; the last batch takes what is
    left. All are of one shape, filled with rows of id EMPTY."""
    room = 2 * min(batch, len(groups)) * max(len(rows) for views in groups for rows in views)
    order = rng.permutation(len(groups))
    for start in range(0, len(groups), batch):
        pairs = [
            groups[group][view]
            for group in order[start : start + batch]
            for view in rng.choice(len(groups[group]), 2, replace=False)
        ]
        rows = np.concatenate(pairs)
        vectors = np.zeros((room, bank.vectors.shape[1]), np.float32)
        ids = np.full(room, EMPTY, np.int32)
        vectors[: len(rows)], ids[: len(rows)] = bank.vectors[rows], bank.ids[rows]
        yield {"vectors": vectors, "ids": ids}


def embedded(vectors: np.ndarray, head: keras.Model | None) -> np.ndarray:
    """What `describe` gave, float32 [N, F], -> float32 [N, E] of length 1: by the head, or as a network
    without one has them."""
    if head is None:
        means = vectors[:, : (vectors.shape[1] - COLOURS) // 2]
        return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    return head.predict(vectors, batch_size=1024, verbose=0)


def retrieval(vectors: np.ndarray, bank: Bank) -> tuple[float, int]:
    """(share, number): of how many instances the nearest vector in another view of their group is their own.

    vectors: float [N, E] of length 1, of the bank's rows. Each instance is asked for in each other view that
    shows it and at least one other instance. Share is NaN where the number is 0.
    """
    right = asked = 0
    for views in rows_by_view(bank):
        for there in views:
            elsewhere = np.concatenate([rows for rows in views if rows is not there])
            again = elsewhere[np.isin(bank.ids[elsewhere], bank.ids[there])]
            if len(there) > 1 and len(again):
                nearest = there[(vectors[again] @ vectors[there].T).argmax(1)]
                right += int((bank.ids[nearest] == bank.ids[again]).sum())
                asked += len(again)
    return right / asked if asked else math.nan, asked
