"""Several devices of one machine share each batch, by Keras' own data parallelism (JAX).

Every device holds the whole network; the compiled step is that of the whole batch, so losses, their
normalisation and BatchNorm statistics are those of one device with the same batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import keras

from yoloseg.errors import UsageError


@contextmanager
def shared_by(devices: int, batch: int) -> Iterator[None]:
    """A block in which `devices` devices share what is built and trained. On JAX it has the GPUs to itself:
    TensorFlow, which there only writes TensorBoard's events, would take what memory is free. (Unless it was
    used before; and it does not see them after the block either.)

    Raises UsageError where there are fewer, where the batch cannot be shared evenly, or on another backend
    than JAX.
    """
    if keras.backend.backend() == "jax":
        import tensorflow as tf

        with suppress(RuntimeError):
            tf.config.set_visible_devices([], "GPU")
    if devices == 1:
        yield
        return
    if keras.backend.backend() != "jax":
        raise UsageError(f"--devices {devices} needs JAX: set KERAS_BACKEND=jax (and pip install .[jax])")
    found = keras.distribution.list_devices()
    if len(found) < devices:
        raise UsageError(f"--devices {devices}: JAX sees {len(found)}: {', '.join(found)}")
    if batch % devices:
        raise UsageError(f"a batch of {batch} cannot be shared by {devices} devices; give --batch a multiple")
    with _distribution(keras.distribution.DataParallel(devices=found[:devices], auto_shard_dataset=False)):
        yield


def alone():
    """A block in which one device works, as evaluation does, inside of `shared_by`."""
    return _distribution(None)


@contextmanager
def _distribution(chosen) -> Iterator[None]:
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(chosen)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)
