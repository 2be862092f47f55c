"""Starting from other weights: what is loaded, what is left, what is frozen and how fast the rest learns."""

import keras
import numpy as np
import pytest

from yoloseg.errors import UsageError, WeightsError
from yoloseg.modeling.network import YoloSeg
from yoloseg.training.config import TrainConfig
from yoloseg.training.optimizers import LayerAdamW, LayerMuon, LayerSGD, WarmupCosine
from yoloseg.training.recipes import DEFAULT, PAPER
from yoloseg.training.run import frozen_epochs, rate_factors
from yoloseg.training.stages import Stage, frozen_first
from yoloseg.training.transfer import freeze_backbone, start_from, transfer_weights

ANCHORS = [[(8, 8)], [(16, 16)], [(32, 32)], [(64, 64)]]


def network(classes, seed=0):
    keras.utils.set_random_seed(seed)
    return YoloSeg("n", tuple(f"class {k}" for k in range(classes)), ANCHORS, (64, 64))


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


@pytest.mark.parametrize("form", ["network", "weights.h5"])
def test_all_but_the_class_logits_of_another_class_count(form, tmp_path):
    source, target = network(3), network(5, seed=1)
    path = tmp_path / "three.weights.h5"
    source.save_weights(path)
    transfer = start_from(source if form == "network" else path, target)
    assert all("classes" in name for name, _ in transfer.left)
    assert len(transfer.left) == 4 and len(transfer.loaded) > 100
    for name in transfer.loaded:
        own = [*target.network.layers, *target.mask_subnet.layers]
        theirs = {layer.name: layer for layer in [*source.network.layers, *source.mask_subnet.layers]}
        assert same(next(layer for layer in own if layer.name == name), theirs[name]), name
    text = str(transfer)
    assert f"loaded {len(transfer.loaded)} layers, 4 start anew" in text
    assert text.count("needs [") == 4 and "stem" in text.split("needs")[0]


def test_files_that_are_no_weights(tmp_path):
    target = network(2)
    before = target.get_weights()
    path = tmp_path / "x.weights.h5"
    with pytest.raises(WeightsError, match="x.weights.h5"):
        transfer_weights(path, target)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(WeightsError, match="no Keras weights file"):
        transfer_weights(path, target)
    other = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2, name="x")])
    path.unlink()
    other.save_weights(path)
    with pytest.raises(WeightsError, match="not one of its layers fits"):
        transfer_weights(path, target)
    broken = network(2)
    layer = next(layer for layer in broken.network.layers if layer.weights)
    layer.set_weights([np.full_like(value, np.nan) for value in layer.get_weights()])
    broken.save_weights(tmp_path / "nan.weights.h5")
    with pytest.raises(WeightsError, match=f"layer {layer.name} holds numbers that are not finite"):
        transfer_weights(tmp_path / "nan.weights.h5", target)
    assert all(np.array_equal(a, b) for a, b in zip(before, target.get_weights(), strict=True))
    with pytest.raises(UsageError, match="--until is for Darknet"):
        start_from(network(2), target, until=104)


def test_stages_that_begin_frozen():
    parts = [Stage(0, 6, (32, 32)), Stage(6, 10, (64, 64))]
    assert frozen_first(parts, 0) == parts
    assert frozen_first(parts, 2) == [Stage(0, 2, (32, 32), True), Stage(2, 6, (32, 32)), parts[1]]
    assert frozen_first(parts, 7)[1:] == [Stage(6, 7, (64, 64), True), Stage(7, 10, (64, 64))]
    assert all(part.frozen for part in frozen_first(parts, 10))


def test_how_long_the_backbone_is_frozen(tmp_path):
    weights = tmp_path / "w.keras"
    assert frozen_epochs(TrainConfig(), PAPER) == 0  # from scratch nothing is worth freezing
    assert frozen_epochs(TrainConfig(weights=weights), PAPER) == 2
    assert frozen_epochs(TrainConfig(weights=weights, freeze="none"), PAPER) == 0
    assert frozen_epochs(TrainConfig(weights=weights), DEFAULT) == 0
    assert frozen_epochs(TrainConfig(weights=weights, freeze="backbone", freeze_epochs=3), DEFAULT) == 3
    assert frozen_epochs(TrainConfig(weights=weights, freeze="backbone"), PAPER) == np.inf
    both = {"weights": weights, "loaded_rate": 2}
    for wrong in ({"until": 3}, {"loaded_rate": 0.5}, {"freeze_epochs": 3}, {"freeze": "backbone"}, both):
        with pytest.raises(UsageError):
            TrainConfig(**wrong)


@pytest.mark.parametrize("kind", [LayerSGD, LayerAdamW, LayerMuon])
def test_loaded_layers_step_by_their_own_rate(kind):
    """Two equal variables and gradients, one with a tenth of the rate."""
    pair = [keras.Variable(np.ones((3, 4), "float32"), name=name) for name in ("new", "old")]
    optimizer = kind(0.1, weight_decay=0.0)
    optimizer.rate_factors = {pair[1].path: 0.1}
    gradient = keras.ops.convert_to_tensor(np.linspace(-1, 1, 12).reshape(3, 4).astype("float32"))
    optimizer.build(pair)
    optimizer.apply([gradient, gradient], pair)
    steps = [1 - keras.ops.convert_to_numpy(variable) for variable in pair]
    assert np.abs(steps[0]).max() > 1e-3
    np.testing.assert_allclose(steps[1], 0.1 * steps[0], atol=1e-6)


def test_rate_factors_are_of_the_loaded_layers():
    model = network(2)
    factors = rate_factors(model, ["stem_conv", "stem_bn"], 0.1)
    assert len(factors) == 3 and set(factors.values()) == {0.1}
    assert all("stem" in path for path in factors)
    assert rate_factors(model, ["stem_conv"], 1.0) == {}
    assert freeze_backbone(model) > 50
    assert not any("stem" in v.path or "csp" in v.path for v in model.network.trainable_variables)
    freeze_backbone(model, False)
    assert any("stem" in v.path for v in model.network.trainable_variables)


def test_the_schedule_goes_on_after_the_frozen_epochs():
    whole, later = WarmupCosine(0.4, 10, 110, 0.1), WarmupCosine(0.4, 10, 110, 0.1, start=40)
    for step in (0, 5, 60):
        assert float(later(step)) == pytest.approx(float(whole(step + 40)))
    assert later.get_config()["start"] == 40
