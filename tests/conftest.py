"""For all tests: TensorFlow without its graph rewriting, which takes longer than the few steps of a test; and
what a module traced is forgotten after it."""

import gc

import keras
import pytest
import tensorflow as tf

tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture(scope="module", autouse=True)
def forget_graphs():
    yield
    keras.backend.clear_session()
    gc.collect()
