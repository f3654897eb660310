"""Recipes: what they say, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from mltasks.network import NetworkConfig
from mltasks.training import RecipeError, config, find_recipe, parse_recipe, read_recipe
from mltasks.training.config import DataConfig, TrainingConfig


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    path = tmp_path / "small-1.toml"
    path.write_text("[network]\nsize = 64\ndecoder = [8, 8, 8, 8]\n[training]\nlearning_rate = 1\n")
    recipe = read_recipe(path)
    assert recipe.name == "small-1"
    assert recipe.training.network.size == 64
    assert recipe.training.network.decoder == (8, 8, 8, 8)
    assert recipe.training.learning_rate == 1.0
    assert recipe.training.seed == 1
    assert recipe.data.fold == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trainig": {}}, "'trainig' is not a table of a recipe; did you mean 'training'"),
        ({"training": {"epoch": 3}}, "did you mean 'epochs'"),
        ({"training": {"epochs": "3"}}, r"\[training\] epochs must be of type int"),
        ({"training": {"epochs": True}}, "must be of type int"),
        ({"training": {"epochs": 0}}, r"\[training\] epochs must be 1 or more"),
        ({"training": {"negatives": -1}}, "negatives must be 0 or more"),
        ({"training": {"learning_rate": -1}}, "learning_rate must be from 1e-08 to 1"),
        ({"training": {"learning_rate": math.nan}}, "learning_rate must be from"),
        ({"training": {"weight_decay": math.inf}}, "weight_decay must be from 0 to below 1"),
        ({"training": {"ema": 1}}, "ema must be from 0 to below 1"),
        ({"training": {"lesions": 7}}, "lesions must be from 0 to 1"),
        ({"training": {"lesions": 0.6, "healthy": 0.5}}, "no more than 1 together"),
        ({"training": {"smoothing": 2}}, "smoothing must be from 0 to below 1"),
        ({"training": {"frozen_blocks": -1}}, "frozen_blocks must be from 0"),
        ({"training": {"patience": -3}}, "patience must be 0 or more"),
        ({"training": {"seed": -1}}, "seed must be from 0"),
        ({"network": {"dropout": 2}}, r"\[network\] dropout must be from 0 to below 1"),
        ({"network": {"size": 0}}, "size must be from 32 to 2048"),
        ({"network": {"size": 50}}, "size must be a multiple of 32"),
        ({"network": {"decoder": [8, 8, 0, 8]}}, "decoder must be 1 or more"),
        ({"data": {"fold": -1}}, r"\[data\] fold must be 0 or more"),
        ({"data": {"drawn": -5}}, "drawn must be 0 or more"),
        ({"data": {"per_source": 0}}, "per_source must be 1 or more"),
        ({"training": {"pretrained": 1}}, "must be of type bool"),
        ({"training": {"precision": "half"}}, "precision must be one of auto"),
        ({"training": {"patience": 2}}, r"needs \[data\] watch"),
        ({"training": {"start_share": 0.5}}, "start_share needs start"),
        ({"training": {"start": "m", "start_share": 1.0}}, "from 0 to below 1"),
        ({"training": 3}, "is expected where 3 stands"),
        ({"network": {"decoder": [1, 2]}}, "list of 4 whole numbers"),
        ({"network": {"repeats": [1] * 6}}, "list of 7 whole numbers"),
        ({"network": {"repeats": [0] * 7}}, "repeats must all be 1 or more"),
        ({"network": {"repeats": [1] * 7}}, "set \\[training\\] pretrained to false"),
        ({"chances": {"blurr": 0.5}}, "did you mean 'blur'"),
        ({"chances": {"blur": 1.5}}, "blur must be a number from 0 to 1"),
        ({"data": {"watch": 0.7}}, "watch must be"),
    ],
)
def test_what_cannot_be_followed_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(values, name="odd")


def test_every_number_has_bounds() -> None:
    own_checks = {"repeats", "width"}
    for table, kind in (
        ("network", NetworkConfig),
        ("training", TrainingConfig),
        ("data", DataConfig),
    ):
        numbers = {
            name
            for name, hint in get_type_hints(kind).items()
            if hint not in {bool, str, NetworkConfig, dict[str, float]}
        }
        assert set(config._BOUNDS[table]) == numbers - own_checks, table


def test_what_replaces_a_value_is_checked_as_well(tmp_path: Path) -> None:
    """Before any data is read: there is none."""
    path = tmp_path / "own-1.toml"
    path.write_text("[network]\nsize = 64\n")
    with pytest.raises(CommandError, match=r"\[training\] epochs must be 1 or more"):
        call_command("train", str(path), data=tmp_path, output=tmp_path / "out", epochs=0)


@pytest.mark.parametrize("name", ["plan", "plan-", "-3"])
def test_a_name_without_a_version_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.toml"
    path.write_text("[network]\nsize = 64\n")
    with pytest.raises(
        RecipeError, match=r"the network's version, and this has none: call it .*-1"
    ):
        read_recipe(path)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[training\n")
    with pytest.raises(RecipeError, match=r"broken\.toml is not TOML"):
        read_recipe(path)


def test_a_recipe_is_found_by_name_or_is_a_file(tmp_path: Path) -> None:
    path = find_recipe("tumorsite-1")
    assert path == settings.BASE_DIR / "recipes" / "tumorsite-1.toml"
    assert path.is_file()
    assert find_recipe("own/mine-5.toml") == Path("own/mine-5.toml")
    (tmp_path / "plan.toml").touch()
    assert find_recipe("plan", tmp_path) == tmp_path / "plan.toml"
    for name in ("none", "../recipes/tumorsite-1", ""):
        with pytest.raises(RecipeError, match=rf"there is no '{name}' in recipes/; there are .*-1"):
            find_recipe(name)


def test_every_recipe_of_the_project_can_be_followed() -> None:
    found = sorted((settings.BASE_DIR / "recipes").glob("*.toml"))
    assert len(found) >= 2
    for path in found:
        recipe = read_recipe(path)
        if recipe.training.start:
            assert (settings.BASE_DIR / recipe.training.start / "model.onnx").is_file()
