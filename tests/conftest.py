"""For all tests: TensorFlow traces without its graph rewriting, which takes longer than the tests' few steps."""

import tensorflow as tf

tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
