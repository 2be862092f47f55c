"""Automatic loss balancing by uncertainty (Kendall, Gal, Cipolla, arXiv 1705.07115; the report's eq. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="yoloseg")
class Between(keras.constraints.Constraint):
    """Keeps weights in [low, high] after every update."""

    def __init__(self, low: float, high: float):
        self.low, self.high = low, high

    def __call__(self, w):
        return ops.clip(w, self.low, self.high)

    def get_config(self):
        return {"low": self.low, "high": self.high}


class LossBalance(keras.layers.Layer):
    """L = sum over levels i and losses j of g_j / 2 (exp(-w_ij) L_ij + w_ij), with every w_ij learned from 0.

    gains: g_j, one a loss; 1 if not given, which is the report's eq. 1. A term counts only if it had targets:
    otherwise its w would sink without end. w stays within +-5. The total may be negative.
    kind: "each", a w for each level and loss (the report); "loss", one w_j for all levels (its authors'
    code); "fixed", all w stay 0.
    """

    def __init__(
        self,
        levels: Sequence[str],
        losses: Sequence[str],
        gains: Sequence[float] | None = None,
        kind: Literal["each", "loss", "fixed"] = "each",
        **kwargs,
    ):
        super().__init__(dtype="float32", **kwargs)
        self.gains = np.array(gains if gains is not None else [1.0] * len(losses), np.float32)
        self.levels = len(levels)
        self.w = self.add_weight(
            shape=(1 if kind == "loss" else len(levels), len(losses)),
            initializer="zeros",
            constraint=Between(-5.0, 5.0),
            trainable=kind != "fixed",
            name="loss_balance",
        )
        self.built = True

    def call(self, values, had):
        """values, had: float32 [levels, losses]; had is 1 where the loss had targets. Returns the total."""
        return 0.5 * ops.sum(self.gains * had * (ops.exp(-self.w) * values + self.w))

    def values(self) -> np.ndarray:
        """float32 [levels, losses]: every w_ij as it is."""
        w = np.asarray(keras.ops.convert_to_numpy(self.w))
        return np.broadcast_to(w, (self.levels, w.shape[1]))
