from dataclasses import replace

import numpy as np
import pytest
from test_loader import make_dataset

from yoloseg.data.loader import Loader
from yoloseg.data.samples import Flip
from yoloseg.training.recipes import DEFAULT
from yoloseg.training.stages import Stage, relative_cost, scaled, stages

TWO = replace(DEFAULT, stages=((0.6, 0.62), (1.0, 1.0)))


def test_stages_cover_every_epoch_once():
    assert stages(TWO, 10, (416, 416)) == [Stage(0, 6, (256, 256)), Stage(6, 10, (416, 416))]
    assert stages(replace(DEFAULT, stages=((1.0, 1.0),)), 30, (96, 128)) == [Stage(0, 30, (96, 128))]
    assert stages(TWO, 9, (96, 128)) == [Stage(0, 9, (96, 128))], "not worth a second graph"
    for epochs in range(1, 30):
        found = stages(TWO, epochs, (416, 416))
        covered = [epoch for stage in found for epoch in range(stage.first, stage.last)]
        assert covered == list(range(epochs))


def test_sizes_are_multiples_of_the_coarsest_stride():
    assert scaled((416, 416), 0.62) == (256, 256) and scaled((480, 640), 0.5) == (256, 320)
    assert scaled((32, 64), 0.1) == (32, 32)


def test_cost_goes_by_pixels_but_for_a_fixed_part():
    assert relative_cost([Stage(0, 30, (416, 416))], (416, 416)) == 1
    cost = relative_cost(stages(TWO, 10, (416, 416)), (416, 416))
    assert cost == pytest.approx(0.23 + 0.77 * (0.6 * (256 / 416) ** 2 + 0.4))
    assert cost == pytest.approx(0.6 * 1.01 / 1.94 + 0.4, abs=0.01), "as it was measured"


def test_sizes_drawn_for_every_epoch_until_mixing_ends():
    recipe = replace(DEFAULT, stages=((0.5, 0.5), (1.0, 1.0)), multi_scale=(0.75, 1.0), mixing=0.8)
    found = stages(recipe, 40, (256, 512), seed=3)
    sides = [stage.imgsz for stage in found for _ in range(stage.first, stage.last)]
    assert len(sides) == 40 and [stage.first for stage in found[1:]] == [stage.last for stage in found[:-1]]
    assert set(sides[:20]) == {(96, 192), (128, 256)} and set(sides[20:32]) == {(192, 384), (256, 512)}
    assert set(sides[32:]) == {(256, 512)}
    assert 5 < sides[:20].count((128, 256)) < 15
    assert found == stages(recipe, 40, (256, 512), seed=3) != stages(recipe, 40, (256, 512), seed=4)


def test_batches_of_another_size_show_the_same():
    whole = Loader(make_dataset(4), (64, 128), 4, augment=[Flip()], seed=2)
    small = Loader(make_dataset(4), (64, 128), 4, augment=[Flip()], seed=2)
    small.output_size = (32, 64)
    a, b = whole[0], small[0]
    assert b["images"].shape == (4, 32, 64, 3) and a["images"].shape == (4, 64, 128, 3)
    assert np.array_equal(a["classes"], b["classes"])
    assert np.allclose(a["boxes"] / 2, b["boxes"], atol=1e-4)
    assert np.abs(a["masks"].astype(int) - b["masks"]).max() <= 16
    assert np.abs(a["images"][:, ::2, ::2].astype(int) - b["images"])[:, 4:-4, 24:-24].max() <= 1
