"""For all tests: TensorFlow without its graph rewriting, which takes longer than the few steps of a test."""

import tensorflow as tf

tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
