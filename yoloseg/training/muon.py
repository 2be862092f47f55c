"""Muon: momentum whose steps are made orthogonal, layer by layer.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; scaled as in arXiv 2502.16982,
section 2.2.

Keras' own Muon leaves every convolution to Adam.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # a, b, c of x <- a x + (b xx' + c (xx')^2) x
RESTART = 3  # steps


def orthogonal(matrix, steps: int = 5):
    """About the nearest matrix with orthonormal rows or columns: [M, N] -> [M, N].

    Singular values come to about 0.7..1.2, those of less than a thousandth of the largest to less. The
    iteration runs on the Gram matrix of the shorter side, and the product of its factors is applied: that
    takes less time than iterating on a matrix with sides as unlike as those of 3 x 3 kernels. Rounding makes
    eigenvalues of 0 negative, and each step multiplies these by nearly 12 or more: in TF32, in which GPUs
    multiply (simulated), it ends with singular values of 6 to 60. So after `RESTART` steps the factors are
    applied and the Gram matrix is made anew.
    """
    rows, columns = matrix.shape
    wide = rows <= columns

    def gram_of(x):
        return ops.matmul(x, ops.transpose(x)) if wide else ops.matmul(ops.transpose(x), x)

    def applied(product, x):
        return ops.matmul(product, x) if wide else ops.matmul(x, product)

    x = matrix / (ops.sqrt(ops.sum(ops.square(matrix))) + 1e-7)
    gram = gram_of(x)
    a, b, c = NEWTON_SCHULZ
    one = np.eye(min(rows, columns), dtype="float32")
    a, b = ops.convert_to_tensor(a * one), ops.convert_to_tensor(b * one)
    product = None
    for step in range(steps):
        factor = a + ops.matmul(b + c * gram, gram)
        product = factor if product is None else ops.matmul(factor, product)
        if step + 1 == RESTART < steps:
            x, product = applied(product, x), None
            gram = gram_of(x)
        elif step + 1 < steps:
            gram = ops.matmul(factor, ops.matmul(gram, factor))
    return applied(product, x)


@keras.saving.register_keras_serializable(package="yoloseg")
class Muon(keras.optimizers.Optimizer):
    """Kernels of two and more dimensions step orthogonally, as matrices [all but the last, last]; everything
    else, and kernels whose path holds a word of `adam_names`, by Adam at `adam_rate` x the learning rate.
    A kernel whose gradient is 0 all over, as those of masks are in a batch without objects, only decays, and
    its momentum stays: an orthogonal step has one size, however little of the momentum is left.

    weight_decay is decoupled, w -= learning rate x decay x w, and done in the same step: Keras' own would
    evaluate the schedule once more for every variable.
    """

    def __init__(
        self,
        learning_rate=0.01,
        momentum: float = 0.95,
        adam_rate: float = 0.5,
        adam_names: Sequence[str] = (),
        weight_decay: float = 0.0,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        name: str = "muon",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum, self.adam_rate, self.adam_names = momentum, adam_rate, tuple(adam_names)
        self.decay, self.beta_1, self.beta_2, self.epsilon = weight_decay, beta_1, beta_2, epsilon

    def build(self, variables):
        """Momentum for every variable, a second moment for those that Adam moves."""
        if self.built:
            return
        super().build(variables)
        once = {"shape": (), "initializer": "ones", "aggregation": "only_first_replica"}
        self.corrections = [self.add_variable(**once, name=f"correction_{i}") for i in (1, 2)]
        self.moments = [self.add_variable_from_reference(v, name="momentum") for v in variables]
        self.velocities = [
            self.add_variable_from_reference(v, name="velocity") if self.by_adam(v) else None
            for v in variables
        ]

    def by_adam(self, variable) -> bool:
        return len(variable.shape) < 2 or any(word in variable.path for word in self.adam_names)

    def apply(self, grads, trainable_variables=None):
        """Keras' apply; Adam's bias corrections are computed once a step, not once a variable."""
        if not self.built:
            self.build(trainable_variables)
        count = ops.cast(self.iterations + 1, "float32")
        for correction, beta in zip(self.corrections, (self.beta_1, self.beta_2), strict=True):
            correction.assign(1.0 - ops.power(beta, count))
        super().apply(grads, trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        moment, velocity = self.moments[index], self.velocities[index]
        rate, gradient = ops.cast(learning_rate, variable.dtype), ops.cast(gradient, variable.dtype)
        if self.decay and self._use_weight_decay(variable):
            self.assign_sub(variable, rate * self.decay * variable)
        if velocity is None:
            told = ops.any(gradient != 0)
            self.assign(moment, ops.where(told, self.momentum * moment + gradient, moment.value))
            shape = tuple(variable.shape)
            rows = math.prod(shape[:-1])
            step = orthogonal(ops.reshape(gradient + self.momentum * moment, (rows, shape[-1])))
            # The size of Adam's steps: a root mean square of 0.2.
            size = 0.2 * math.sqrt(max(rows, shape[-1])) * ops.cast(told, variable.dtype)
            self.assign_sub(variable, rate * size * ops.reshape(step, shape))
            return
        first, second = (ops.cast(correction, variable.dtype) for correction in self.corrections)
        self.assign_add(moment, (gradient - moment) * (1 - self.beta_1))
        self.assign_add(velocity, (ops.square(gradient) - velocity) * (1 - self.beta_2))
        step = moment / (ops.sqrt(velocity / second) + self.epsilon)
        self.assign_sub(variable, rate * self.adam_rate / first * step)

    def get_config(self):
        return super().get_config() | {
            "momentum": self.momentum,
            "adam_rate": self.adam_rate,
            "adam_names": list(self.adam_names),
            "weight_decay": self.decay,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }
