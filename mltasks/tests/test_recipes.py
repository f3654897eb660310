"""Recipes: what they say, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from mltasks.training import RecipeError, find_recipe, parse_recipe, read_recipe


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text("[network]\nsize = 64\ndecoder = [8, 8, 8, 8]\n[training]\nlearning_rate = 1\n")
    recipe = read_recipe(path)
    assert recipe.name == "small"
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
        ({"training": {"epochs": 0}}, "must be 1 or more"),
        ({"training": {"pretrained": 1}}, "must be of type bool"),
        ({"training": {"precision": "half"}}, "precision must be one of auto"),
        ({"training": {"patience": 2}}, r"needs \[data\] watch"),
        ({"training": {"start_share": 0.5}}, "start_share .* needs start"),
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
