"""The state of a training: what goes on from it is what would have gone on without a stop."""

import keras
import numpy as np
import pytest

from yoloseg.errors import UsageError, WeightsError
from yoloseg.training.checkpoint import Progress, load_state, read_progress, remove_state, save_state


class Noisy(keras.Model):
    """One weight that learns random numbers: any state that is lost shows."""

    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(3)
        self.point = self.add_weight(shape=(4,), initializer="ones", name="point")
        self.built = True

    def call(self, inputs):
        return keras.ops.sum(keras.ops.square(self.point - keras.random.uniform((4,), seed=self.seed)))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return y_pred + 0 * keras.ops.sum(x)


def noisy() -> Noisy:
    model = Noisy()
    model.compile(keras.optimizers.AdamW(0.1, use_ema=True))
    return model


def test_a_loss_scale_is_restored(tmp_path):
    """Its optimizer is built before, as a training's is: Keras would give it its variables twice."""

    def scaled() -> Noisy:
        model = Noisy()
        inner = keras.optimizers.AdamW(0.1, use_ema=True)
        model.compile(keras.optimizers.LossScaleOptimizer(inner, initial_scale=64.0))
        model.optimizer.build(model.trainable_variables)
        return model

    model = scaled()
    model.optimizer.dynamic_scale.assign(16.0)
    expected = steps(model, 3)
    save_state(tmp_path, model, Progress(1, 5, 3, 2.5, 0.1))
    again = scaled()
    load_state(tmp_path, again, read_progress(tmp_path))
    for value, wanted in zip(steps(again, 0), expected, strict=True):
        np.testing.assert_array_equal(value, wanted)


def steps(model, count: int) -> list[np.ndarray]:
    for _ in range(count):
        model.train_on_batch(np.zeros((1, 1), np.float32))
    return [np.array(keras.ops.convert_to_numpy(v)) for v in [model.point, *model.optimizer.variables]]


def test_a_restored_training_goes_on_to_the_bit(tmp_path):
    model = noisy()
    steps(model, 3)
    save_state(tmp_path, model, Progress(1, 5, 3, 2.5, 0.1))
    expected = steps(model, 3)
    again = noisy()
    progress = read_progress(tmp_path)
    assert (progress.epoch, progress.epochs, progress.seconds, progress.best_ap) == (1, 5, 2.5, 0.1)
    load_state(tmp_path, again, progress)
    for value, wanted in zip(steps(again, 3), expected, strict=True):
        np.testing.assert_array_equal(value, wanted)


def test_one_state_is_kept_and_a_finished_run_has_none(tmp_path):
    model = noisy()
    for epoch in (1, 2):
        steps(model, 1)
        save_state(tmp_path, model, Progress(epoch, 5, 1, 0.0, -1.0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state-00002.weights.h5", "state.json"]
    remove_state(tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="no run to resume"):
        read_progress(tmp_path)


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", None])
def test_a_damaged_state_names_the_file(tmp_path, content):
    model = noisy()
    steps(model, 1)
    save_state(tmp_path, model, Progress(1, 5, 1, 0.0, -1.0))
    path = tmp_path / "state-00001.weights.h5"
    path.write_bytes(path.read_bytes()[:1000] if content is None else content)
    with pytest.raises(WeightsError, match=path.name):
        load_state(tmp_path, noisy(), read_progress(tmp_path))
