"""From slices to a model folder, with a break; and that folder through both engines."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from mltasks.data import data_digest, read_manifest
from mltasks.engines import open_engine
from mltasks.inference import CARD_NAME, WEIGHTS_NAME
from mltasks.network import NetworkConfig, build_network
from mltasks.robustness import CHANGES
from mltasks.tests.conftest import write_recipe

Trained = tuple[Path, dict[str, Any], str]


def test_a_broken_run_goes_on(trained: Trained) -> None:
    _, _, report = trained
    assert "resumed after 1 whole epochs" in report
    assert "epoch 1/1, step 1/1" in report
    assert "epoch 1/2" not in report
    assert "epoch 2/2, step 1/1" in report
    assert "median Dice" in report


def test_the_folder_describes_itself(trained: Trained, slices: Path) -> None:
    folder, card, _ = trained
    assert card["training"]["data_digest"] == data_digest(read_manifest(slices))
    assert card["training"]["other_pictures"] == {"drawn": 16, "real": 3}
    assert str(folder) not in json.dumps(card)
    validation = card["metrics"]["validation"]
    assert validation["n"] == 8
    assert len(validation["accuracy"]["ci95"]) == 2
    assert np.sum(validation["confusion"]["counts"]) == 8
    assert card["metrics"]["other_pictures"]["n"] == 19
    assert "BRISC 2025" in card["attribution"][0]
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoints",
        "curves.svg",
        "history.csv",
        CARD_NAME,
        WEIGHTS_NAME,
    ]
    assert (card["name"], card["version"]) == ("tiny", "7")
    assert card["training"]["command"].startswith("python manage.py train tiny-7 --data DATA")


def test_both_engines_agree(trained: Trained) -> None:
    folder, _, _ = trained
    weights = (folder / WEIGHTS_NAME).read_bytes()
    batch = np.random.default_rng(0).normal(size=(3, 32, 32, 1)).astype(np.float32)
    one = open_engine("onnx", weights).forward(batch)
    two = open_engine("tensorflow", weights).forward(batch)
    for name in ("class_logits", "attention", "mask", "brain"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), atol=1e-3, rtol=1e-4)
    np.testing.assert_allclose(one.attention.mean(axis=(1, 2)), one.class_logits, atol=1e-3)


def test_evaluate_repeats_the_cards_figures(
    trained: Trained, slices: Path, others: Path, tmp_path: Path
) -> None:
    folder, card, _ = trained
    out = io.StringIO()
    call_command(
        "evaluate",
        model=folder,
        data=slices,
        negatives=others / "holdout",
        drawn=16,
        changed=True,
        output=tmp_path / "figures.json",
        stdout=out,
    )
    figures = json.loads(out.getvalue())
    assert figures == json.loads((tmp_path / "figures.json").read_text())
    expected = {k: v for k, v in card["metrics"]["validation"].items() if k != "fold"}
    assert figures["validation"] == expected
    assert figures["other_pictures"] == card["metrics"]["other_pictures"]
    assert set(figures["changed"]) == set(CHANGES)
    assert all(changed["n"] == 8 for changed in figures["changed"].values())


def test_evaluate_says_what_is_missing(trained: Trained, slices: Path, tmp_path: Path) -> None:
    folder, _, _ = trained
    with pytest.raises(CommandError, match="no slices in fold 9"):
        call_command("evaluate", model=folder, data=slices, fold=9)
    with pytest.raises(CommandError, match="no model in"):
        call_command("evaluate", model=tmp_path, data=slices)


def test_train_says_what_is_missing(settings: Any, tmp_path: Path, slices: Path) -> None:
    settings.TRAINING_DATA = None
    model, recipe = tmp_path / "model", str(write_recipe(tmp_path / "tiny.toml"))
    with pytest.raises(CommandError, match="give --data DIR or set TRAINING_DATA"):
        call_command("train", recipe, output=model)
    with pytest.raises(CommandError, match=r"cannot read .*manifest\.csv"):
        call_command("train", recipe, data=tmp_path, output=model)
    with pytest.raises(CommandError, match="no usable picture"):
        call_command("train", recipe, data=slices, negatives=slices, output=model)
    with pytest.raises(CommandError, match=r"cannot read the recipe .*none\.toml"):
        call_command("train", str(tmp_path / "none.toml"), data=slices, output=model)
    odd = write_recipe(tmp_path / "odd.toml", data="fold = 7")
    with pytest.raises(CommandError, match="none outside, fold 7"):
        call_command("train", str(odd), data=slices, output=model)
    odd.write_text("[network]\nsize = 33\n")
    with pytest.raises(CommandError, match="multiple of 32"):
        call_command("train", str(odd), data=slices, output=model)
    assert not model.exists()


def test_a_checkpoint_of_another_run_is_refused(trained: Trained, slices: Path) -> None:
    folder, _, _ = trained
    other = write_recipe(folder.parent / "other.toml", training="seed = 5")
    with pytest.raises(CommandError, match=r"state\.npz is of a run with another .*\(seed differ"):
        call_command("train", str(other), data=slices, output=folder, resume=True)


def test_the_curves_are_drawn(trained: Trained) -> None:
    folder, card, _ = trained
    assert [row["epoch"] for row in card["training"]["history"]] == [1, 2]
    lines = (folder / "history.csv").read_text().splitlines()
    assert lines[0] == "epoch,classes,mask,brain"
    assert len(lines) == 3
    assert (
        "Class loss" in (folder / "curves.svg").read_text()
        or "<path" in (folder / "curves.svg").read_text()
    )


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        build_network(NetworkConfig(size=100))
