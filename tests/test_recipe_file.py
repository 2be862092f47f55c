"""A recipe as a YAML file: what it changes, and what is said of one that cannot be used."""

import dataclasses
from typing import get_type_hints

import pytest

from yoloseg import train as command
from yoloseg.data.augment import Augmentation
from yoloseg.errors import YolosegError
from yoloseg.training import run as run_module
from yoloseg.training.recipe_file import RANGES, find_recipe
from yoloseg.training.recipes import DEFAULT, PAPER, RECIPES, Recipe
from yoloseg.training.run_config import plain


def written(tmp_path, text: str) -> str:
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    return str(tmp_path / "mine.yaml")


def test_what_a_file_does_not_name_is_as_in_the_recipe_it_is_like(tmp_path):
    text = "learning_rate: 5e-3\nmulti_scale: [0.75, 1, 1.25]\naugmentation: {mosaic: 0.5, scale: [0.5, 2]}\n"
    recipe = find_recipe(written(tmp_path, text))
    augmentation = dataclasses.replace(DEFAULT.augmentation, mosaic=0.5, scale=(0.5, 2.0))
    assert recipe == dataclasses.replace(
        DEFAULT,
        name="mine",
        learning_rate=0.005,
        multi_scale=(0.75, 1.0, 1.25),
        augmentation=augmentation,
    )
    assert find_recipe(written(tmp_path, "like: paper\nrois: 4")) == dataclasses.replace(
        PAPER, name="mine", rois=4
    )
    assert find_recipe("paper") is PAPER


@pytest.mark.parametrize("name", RECIPES)
def test_every_field_can_be_written_and_is_read_back(tmp_path, name):
    import yaml

    content = plain(RECIPES[name])
    assert find_recipe(written(tmp_path, yaml.safe_dump(content))) == RECIPES[name]


def test_every_number_has_a_range():
    for kind in (Recipe, Augmentation):
        for name, hint in get_type_hints(kind).items():
            if hint in (int, float) or "float" in str(hint):
                assert name in RANGES, name


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a recipe"),
        ("- 1", "not a recipe"),
        ("{", "broken YAML"),
        ("like: [paper]", "`like` must be default or paper, not ['paper']"),
        ("like: best", "`like` must be default or paper, not 'best'"),
        ("learning rate: 1", "no field 'learning rate'; there are: name, anchors_per_level"),
        ("1: 1", "no field 1"),
        ("learning_rate: fast", "`learning_rate` must be a number, above 0, 10 at most, not 'fast'"),
        ("learning_rate: 0", "above 0"),
        ("learning_rate: .nan", "`learning_rate` must be a number"),
        ("learning_rate: true", "`learning_rate` must be a number"),
        ("batch: 2.5", "`batch` must be a whole number, 1 or more"),
        ("cosine: 1", "`cosine` must be true or false, not 1"),
        ("name: 3", "`name` must be a text"),
        ("optimizer: sgd", "one of sgdw, adamw, muon, not 'sgd'"),
        ("optimizer: adamw\nlearning_rate: 3e-3", "another `optimizer` needs another `weight_decay` too"),
        ("gains: [1, 2, 3]", "`gains` must be a list of 4"),
        ("gains: [1, 2, 3, x]", "`gains` must be a number"),
        ("multi_scale: []", "a list, not empty"),
        ("stages: [[0.5, 1], [0.9, 1]]", "the last at 1"),
        ("stages: [[0.5, 1], [0.5, 2], [1, 1]]", "rising shares"),
        ("background: 0.5", "is above `foreground`"),
        ("augmentation: strong", "needs entries such as"),
        ("augmentation: {mixup: 1}", "mine.yaml, augmentation: there is no field 'mixup'"),
        ("augmentation: {mosaic: 2}", "`mosaic` must be a number, 0 or more, 1 at most, not 2"),
        ("augmentation: {scale: [2, 1]}", "the smaller factor comes first"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(tmp_path, text, told):
    path = written(tmp_path, text)
    with pytest.raises(YolosegError) as error:
        find_recipe(path)
    assert path in str(error.value) and told in str(error.value)


@pytest.mark.parametrize(
    ("name", "told"), [("defualt", "neither default, paper nor a YAML file"), ("none.yaml", "cannot be read")]
)
def test_a_recipe_that_is_not_there(name, told):
    with pytest.raises(YolosegError, match=told):
        find_recipe(name)


def test_training_goes_by_the_file_and_refuses_it_before_anything_else(tmp_path, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(run_module, "_train", lambda config, recipe, *_: seen.append(recipe))
    monkeypatch.setattr(run_module, "finish", lambda *_: None)
    path = written(tmp_path, "augmentation: {mosaic: 0.5}")
    flags = ["--data", "shapes", "--recipe", path, "--out", str(tmp_path / "run")]
    assert command.main(flags) == 0
    assert seen[0].name == "mine" and seen[0].augmentation.mosaic == 0.5
    written(tmp_path, "augmentation: {mosaic: most}")
    assert command.main([*flags[:-1], str(tmp_path / "other")]) == 2
    assert "`mosaic` must be a number" in capsys.readouterr().err and len(seen) == 1
    assert not (tmp_path / "other").exists()
