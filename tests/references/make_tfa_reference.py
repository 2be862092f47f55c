"""Makes tfa_reference.json: values of tensorflow-addons' Mish and SGDW, which Keras' own replace here.

tensorflow-addons is archived and cannot be imported beside Keras 3, so this needs its own environment:

    python3.11 -m venv tfa
    tfa/bin/pip install "tensorflow==2.15.1" "tensorflow-addons==0.23.0"
    tfa/bin/python tests/references/make_tfa_reference.py

The problem is a least-squares fit of y = x @ kernel + bias with loss mean((prediction - y)^2). The gradients
that SGDW was given at every step are stored beside the weights, so that the optimiser can be checked alone
and in the loop.
"""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

LEARNING_RATE = 1e-3
WEIGHT_DECAY = (
    1e-4  # tensorflow-addons subtracts WEIGHT_DECAY * weight in every step, whatever the learning rate
)
MOMENTUM = 0.9
CLIPNORM = 5.0
STEPS = 24
STORE_EVERY = 4


def mish() -> dict:
    """Values and gradients over a spread of points: the dip, both tails, far out."""
    points = np.concatenate([np.linspace(-8, 8, 65), [-100, -50, -30, -20, -12, 12, 19, 21, 30, 50, 100]])
    x = tf.constant(points, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tfa.activations.mish(x)
    return {
        "x": x.numpy().tolist(),
        "y": y.numpy().tolist(),
        "gradient": tape.gradient(y, x).numpy().tolist(),
    }


def sgdw(clipnorm: float | None) -> dict:
    """Weights after every STORE_EVERY steps on the problem of `problem`."""
    x, y, kernel, bias = problem()
    kernel, bias = tf.Variable(kernel), tf.Variable(bias)
    options = {} if clipnorm is None else {"clipnorm": clipnorm}
    optimizer = tfa.optimizers.SGDW(
        weight_decay=WEIGHT_DECAY, learning_rate=LEARNING_RATE, momentum=MOMENTUM, nesterov=False, **options
    )
    history, norms, gradients = [], [], []
    for step in range(1, STEPS + 1):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.matmul(x, kernel) + bias - y))
        found = tape.gradient(loss, [kernel, bias])
        optimizer.apply_gradients(zip(found, [kernel, bias], strict=True))
        norms.append([float(tf.norm(g)) for g in found])
        gradients.append([g.numpy().tolist() for g in found])
        if step % STORE_EVERY == 0:
            state = {"kernel": kernel.numpy().tolist(), "bias": bias.numpy().tolist()}
            history.append({"step": step, "loss_before": float(loss), **state})
    return {"clipnorm": clipnorm, "history": history, "gradient_norms": norms, "gradients": gradients}


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x [12, 5], y [12, 3], first kernel [5, 3] and bias [3]; float32.

    All gradients start above CLIPNORM; that of the bias ends below it.
    """
    random = np.random.RandomState(2021)
    x = random.normal(size=(12, 5)).astype(np.float32) * 3
    y = (x @ random.normal(size=(5, 3)) * 2 + random.normal(size=(12, 3)) / 2).astype(np.float32)
    kernel = random.normal(size=(5, 3)).astype(np.float32)
    bias = random.normal(size=3).astype(np.float32) / 2
    return x, y, kernel, bias


def main() -> None:
    x, y, kernel, bias = problem()
    value = {
        "made_with": {
            "tensorflow": tf.__version__,
            "tensorflow_addons": tfa.__version__,
            "numpy": np.__version__,
        },
        "mish": mish(),
        "sgdw": {
            "learning_rate": LEARNING_RATE,
            "weight_decay": WEIGHT_DECAY,
            "momentum": MOMENTUM,
            "steps": STEPS,
            "problem": {"x": x.tolist(), "y": y.tolist(), "kernel": kernel.tolist(), "bias": bias.tolist()},
            "runs": [sgdw(None), sgdw(CLIPNORM)],
        },
    }
    path = Path(__file__).with_name("tfa_reference.json")
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(value, allow_nan=False) + "\n", encoding="utf-8")
    aside.replace(path)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
