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


def test_cost_goes_by_pixels():
    assert relative_cost(replace(DEFAULT, stages=((1.0, 1.0),)), (416, 416)) == 1
    assert relative_cost(TWO, (416, 416)) == pytest.approx(0.6 * (256 / 416) ** 2 + 0.4)


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
