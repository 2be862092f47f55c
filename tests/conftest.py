"""For all tests: TensorFlow without its graph rewriting, which takes longer than the few steps of a test; and
what a test traced is forgotten after it."""

import ctypes
import gc
import sys

import pytest
from hypothesis import settings

LONGEST = (
    "test_train_command.py",
    "test_exporting.py",
    "test_trainer.py",
    "test_devices.py",
    "test_export_graph.py",
    "test_benchmark.py",
)

settings.register_profile("no deadline", deadline=None)  # other jobs on the machine are no failure
settings.load_profile("no deadline")


def pytest_configure(config):
    """Not in the process that only hands out the tests (-n): it has no need to wait for TensorFlow."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def pytest_collection_finish():
    """What was imported stays: a collection need not look at all of TensorFlow each time."""
    gc.collect()
    gc.freeze()


def forget(registry, names) -> None:
    """A training's all-reduce and each LeakyReLU are a tf.custom_gradient. TensorFlow registers them for the
    life of the process, and with them the whole traced graph: nearly a gigabyte for each training."""
    for name in names:
        del registry[name]
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that no process is left alone with one of them."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True)
def forget_gradients():
    from tensorflow.python.framework.ops import gradient_registry

    registry = gradient_registry._registry
    known = set(registry)
    yield
    if new := set(registry) - known:
        forget(registry, new)


@pytest.fixture(scope="module")
def shallow():
    """For modules about trainings: networks are shallow stand-ins."""
    from small import small

    with small():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The data file of a tiny set."""
    from tiny_training import tiny_data

    return tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module", autouse=True)
def forget_graphs():
    yield
    import keras

    keras.backend.clear_session()  # collects garbage, too
