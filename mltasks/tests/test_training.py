"""From slices to a model folder, with a break; and that folder through both engines."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from PIL import Image

from mltasks import model_card, seen
from mltasks.corruptions import CORRUPTIONS
from mltasks.data import DataError, data_digest, masks_digest, read_manifest
from mltasks.doubt import REFERENCE_NAME
from mltasks.engines import OUTPUTS, open_engine
from mltasks.inference import CARD_NAME, WEIGHTS_NAME
from mltasks.lazy import tensorflow_module
from mltasks.network import NetworkConfig, build_network
from mltasks.tests.conftest import head, write_recipe

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
    assert card["attribution"] == ["Training data: the data folder states no source."]
    held_out = [row for row in read_manifest(slices) if row.fold == 0]
    assert card["training"]["held_out_digest"] == data_digest(held_out)
    assert card["training"]["masks_digest"] == masks_digest(slices, read_manifest(slices))
    assert card["metrics"]["data"]["masks"] == masks_digest(slices, held_out)
    assert card["training"]["masks_digest"] in (folder / "MODEL_CARD.md").read_text()
    learnt = seen.learnt_prefixes(row for row in read_manifest(slices) if row.fold)
    assert card["training"]["learnt_prefixes"] == learnt
    assert sorted(path.name for path in folder.iterdir()) == [
        "MODEL_CARD.md",
        "checkpoints",
        "curves.svg",
        "history.csv",
        CARD_NAME,
        WEIGHTS_NAME,
        REFERENCE_NAME,
    ]
    assert (card["name"], card["version"]) == ("tiny", "7")
    assert card["training"]["command"] == (
        "python manage.py train tiny-7 --data DATA --output MODEL --negatives NEGATIVES --epochs 2"
    )


def test_both_engines_agree(trained: Trained) -> None:
    folder, _, _ = trained
    weights = (folder / WEIGHTS_NAME).read_bytes()
    batch = np.random.default_rng(0).normal(size=(3, 32, 32, 1)).astype(np.float32)
    one = open_engine("onnx", weights).forward(batch)
    two = open_engine("tensorflow", weights).forward(batch)
    for name in OUTPUTS:
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), atol=1e-3, rtol=1e-4)
    np.testing.assert_allclose(one.attention.mean(axis=(1, 2)), one.class_logits, atol=1e-3)


def test_evaluate_repeats_the_cards_figures_and_writes_a_report(
    trained: Trained, slices: Path, others: Path, tmp_path: Path
) -> None:
    folder, card, _ = trained
    model = shutil.copytree(folder, tmp_path / "model")
    out = io.StringIO()
    call_command(
        "evaluate",
        model=model,
        data=slices,
        fold=0,
        negatives=others / "holdout",
        drawn=16,
        corruptions=1,
        output=tmp_path / "report",
        card=True,
        stdout=out,
    )
    page = (tmp_path / "report" / "report.html").read_text()
    assert out.getvalue().strip().endswith("report.html")
    figures = json.loads((tmp_path / "report" / "report.json").read_text())
    assert figures["validation"] == card["metrics"]["validation"]
    assert figures["other_pictures"] == card["metrics"]["other_pictures"]
    assert set(figures["robustness"]["corruptions"]) == set(CORRUPTIONS)
    assert figures["data"]["groups_calibrated_on"] == 8
    for miss in figures["misses"]:
        assert miss["picture"] in page
        assert (tmp_path / "report" / miss["picture"]).stat().st_size > 100
    assert page.index("Failures first") < page.index("Accuracy")
    assert page.count("<svg") == page.count('role="img"') >= 5
    names = re.findall(r' id="([^"]+)"', page)
    assert len(names) == len(set(names))
    recorded = json.loads((model / CARD_NAME).read_text())
    assert recorded["metrics"]["validation"] == figures["validation"]
    assert (model / "MODEL_CARD.md").read_text() == model_card.text(recorded)


def test_a_set_of_others_is_evaluated_too(trained: Trained, tmp_path: Path) -> None:
    """Only ids and labels, other formats, tumours of unknown kind, no masks."""
    (tmp_path / "images").mkdir()
    rows = ["id,label"]
    for number in range(6):
        Image.fromarray(head(number)).save(tmp_path / "images" / f"web_{number}.png")
        rows.append(f"web_{number},{'tumor' if number % 2 else 'no_tumor'}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    options = {"model": trained[0], "data": tmp_path, "drawn": 0, "corruptions": 0}
    report = tmp_path / "report"
    for _ in range(2):  # An earlier report is replaced.
        call_command("evaluate", **options, output=report)
    figures = json.loads((report / "report.json").read_text())["validation"]
    assert figures["tumor_or_none"]["tumors"] == 3
    assert figures["tumor_or_none"]["auc"]["value"] is not None
    assert figures["dice"]["n"] == 0
    assert set(figures["by"]["source"]) == {"web"}
    with pytest.raises(CommandError, match="evaluate other data without --card"):
        call_command("evaluate", **options, output=report, card=True)


def test_slices_from_elsewhere_stand_beside_the_sets_own(
    trained: Trained, slices: Path, tmp_path: Path
) -> None:
    model, strangers = shutil.copytree(trained[0], tmp_path / "model"), tmp_path / "strangers"
    (strangers / "images").mkdir(parents=True)
    rows = ["id,label,group,source"]
    for number in range(6):
        pixels = head(500 + number)
        Image.fromarray(pixels).save(strangers / "images" / f"s{number}.png")
        rows.append(f"s{number},no_tumor,{number // 2},scanner {number % 3}")
    (strangers / "manifest.csv").write_text("\n".join(rows))
    options = {"model": model, "data": slices, "fold": 0, "drawn": 0, "corruptions": 0}
    report, bodies = tmp_path / "report", tmp_path / "medical"
    (bodies / "other/MR of a heart").mkdir(parents=True)
    Image.fromarray(np.zeros((80, 80), np.uint8)).save(bodies / "other/MR of a heart/1.png")
    options["bodies"] = bodies / "other"
    call_command("evaluate", **options, elsewhere=strangers, output=report, card=True)
    figures = json.loads((report / "report.json").read_text())
    stated = figures["elsewhere"]
    assert (stated["n"], stated["groups"], stated["tumors"]) == (6, 3, 0)
    assert {name: own["n"] for name, own in stated["by_source"].items()} == {
        f"scanner {number}": 2 for number in range(3)
    }
    assert figures["validation"]["n"] == 8
    card = json.loads((model / CARD_NAME).read_text())
    assert card["metrics"]["elsewhere"] == stated
    assert card["metrics"]["other_bodies"]["by_source"]["MR of a heart"]["n"] == 1
    assert "| scanner 1 | 2 | 2 |" in (model / "MODEL_CARD.md").read_text()
    assert "scanner 1" in (report / "report.html").read_text()
    with pytest.raises(CommandError, match=r"is not from elsewhere: .* has learnt from"):
        call_command("evaluate", **options, elsewhere=slices, output=report)
    with pytest.raises(CommandError, match=r"not the folder of sources that is meant: .*/other"):
        call_command("evaluate", **options | {"bodies": bodies}, output=report)


def test_a_card_is_of_what_training_held_out_and_nothing_else(
    trained: Trained, slices: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(trained[0], tmp_path / "model")
    before = (model / CARD_NAME).read_text()
    options = {"model": model, "output": tmp_path / "report", "card": True}
    for fold in (None, 1):
        with pytest.raises(CommandError, match="learnt from the other slices: give --fold 0"):
            call_command("evaluate", **options, data=slices, fold=fold)
    # The same groups, drawn into other folds.
    again = shutil.copytree(slices, tmp_path / "again")
    text = (again / "manifest.csv").read_text()
    text = re.sub(r"^(slice[0-7],.*?,.*?),1,", r"\1,0,", text, flags=re.MULTILINE)
    (again / "manifest.csv").write_text(text)
    with pytest.raises(CommandError, match="other slices are in fold 0 now"):
        call_command("evaluate", **options, data=again, fold=0)
    assert (model / CARD_NAME).read_text() == before
    assert not (tmp_path / "report").exists(), "refused before anything is measured"


def test_a_card_needs_all_classes_and_a_mask(trained: Trained) -> None:
    per_class = {"glioma": {"n": 0}, "no_tumor": {"n": 3}}
    figures = {"validation": {"per_class": per_class, "dice": {"n": 0}}}
    with pytest.raises(DataError, match="no slice of glioma, an expert's mask"):
        model_card.record(trained[0], figures)


def test_calibrate_repeats_what_training_fitted(
    trained: Trained, slices: Path, others: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(trained[0], tmp_path / "model")
    (model / REFERENCE_NAME).unlink()
    changed = trained[1] | {"thresholds": trained[1]["thresholds"] | {"mask": 0.123}}
    (model / CARD_NAME).write_text(json.dumps(changed))
    out = io.StringIO()
    call_command("calibrate", model=model, data=slices, negatives=others / "train", stdout=out)
    card = json.loads((model / CARD_NAME).read_text())
    assert card["thresholds"] == trained[1]["thresholds"]
    # All of it, so fitted to as many other pictures as training was.
    assert card["doubt"] == trained[1]["doubt"]
    assert card["calibration"]["groups"] == trained[1]["calibration"]["groups"]
    assert "plain: n 8" in out.getvalue()
    # Its figures would be those of a mask threshold that it no longer has.
    assert "metrics" not in card
    assert f"evaluate --model {model} --data {slices} --fold 0" in out.getvalue()
    assert (model / "history.csv").is_file()
    assert (model / "checkpoints" / "state.npz").is_file()
    with pytest.raises(CommandError, match="no model in"):
        call_command("calibrate", model=tmp_path / "nowhere", data=slices)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((), "has no slice of glioma, meningioma, pituitary"),
        (("glioma", "meningioma", "pituitary"), "fewer than 2 groups of glioma, meningioma, pitu"),
    ],
)
def test_calibrate_refuses_slices_that_cannot_say_how_it_errs(
    trained: Trained, slices: Path, tmp_path: Path, labels: tuple[str, ...], message: str
) -> None:
    """Fold 0 is left with its two tumour-free slices, and one of each of these classes."""
    model = shutil.copytree(trained[0], tmp_path / "model")
    data = shutil.copytree(slices, tmp_path / "data")
    lines, kept = (data / "manifest.csv").read_text().splitlines(), []
    for line in lines:
        _, label, _, fold, *_ = line.split(",")
        if fold != "0" or label == "no_tumor" or label in labels:
            kept.append(line)
            labels = tuple(name for name in labels if fold != "0" or name != label)
    (data / "manifest.csv").write_text("\n".join(kept) + "\n")
    before = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    with pytest.raises(CommandError, match=rf"manifest\.csv: fold 0.*{message}"):
        call_command("calibrate", model=model, data=data)
    assert {path: path.read_bytes() for path in model.rglob("*") if path.is_file()} == before


def test_calibrating_without_masks_keeps_the_thresholds_of_areas(
    trained: Trained, slices: Path, others: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(trained[0], tmp_path / "model")
    data = shutil.copytree(slices, tmp_path / "data")
    text = (data / "manifest.csv").read_text()
    (data / "manifest.csv").write_text(text.replace(",128,160,1,", ",128,160,0,"))
    contours = {"inner": 0.77, "outer": 0.11}
    card = json.loads((model / CARD_NAME).read_text())
    card["thresholds"]["mask"], card["doubt"]["contours"] = 0.123, contours
    (model / CARD_NAME).write_text(json.dumps(card))
    told = io.StringIO()
    given = {"model": model, "data": data, "negatives": others / "train", "stderr": told}
    call_command("calibrate", **given, stdout=io.StringIO())
    card = json.loads((model / CARD_NAME).read_text())
    assert card["thresholds"]["mask"] == 0.123
    assert card["doubt"]["contours"] == contours
    assert "the thresholds of areas and contours stay as they were" in told.getvalue()
    assert "only 2 glioma, 2 meningioma, 2 no_tumor, 2 pituitary" in told.getvalue()


def test_evaluate_says_what_is_missing(trained: Trained, slices: Path, tmp_path: Path) -> None:
    def evaluate(data: Path = slices, output: Path = tmp_path / "report", **options: Any) -> None:
        chosen = {"model": trained[0], "data": data, "output": output, "drawn": 0, **options}
        call_command("evaluate", **chosen)

    with pytest.raises(CommandError, match="no slices in fold 9"):
        evaluate(fold=9)
    with pytest.raises(CommandError, match="no model in"):
        evaluate(model=tmp_path / "nowhere")
    cases: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("id,label\na,cat\n", {}, "unknown label 'cat' of a"),
        ("id,label\na,glioma\n", {"fold": 0}, "has no column fold"),
        ("id,label\n../a,glioma\n", {}, "cannot be an id"),
        ("id,label\na,glioma\n", {}, "the picture of a is missing"),
        ("id\na\n", {}, "lacks the columns label"),
    )
    for text, options, message in cases:
        (tmp_path / "manifest.csv").write_text(text)
        with pytest.raises(CommandError, match=message):
            evaluate(tmp_path, **options)
    with pytest.raises(CommandError, match="something else than a report"):
        evaluate(output=tmp_path)
    assert not (tmp_path / "report").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_collection_without_masks_can_be_learnt_from(slices: Path, tmp_path: Path) -> None:
    data = shutil.copytree(slices, tmp_path / "data")
    text = (data / "manifest.csv").read_text()
    text = text.replace("slice0,glioma", "slice0,tumor")
    (data / "manifest.csv").write_text(text.replace(",128,160,1,", ",128,160,0,"))
    shutil.rmtree(data / "masks")
    training = "lesions = 0.5\nhealthy = 0.5\nepochs = 1"
    recipe = str(write_recipe(tmp_path / "tiny-1.toml", training=training))
    out, config = io.StringIO(), tensorflow_module().config
    config.run_functions_eagerly(run_eagerly=True)
    call_command("train", recipe, data=data, output=tmp_path / "model", stdout=out)
    config.run_functions_eagerly(run_eagerly=False)
    assert "no expert's mask to measure areas by" in out.getvalue()
    assert "35 slices" in out.getvalue()
    assert "tumours of no stated kind, left out: 1" in out.getvalue()
    card = json.loads((tmp_path / "model" / CARD_NAME).read_text())
    assert card["metrics"]["validation"]["dice"]["n"] == 0
    assert card["metrics"]["validation"]["accuracy"]["value"] is not None
    text = (tmp_path / "model" / "MODEL_CARD.md").read_text()
    assert "Contours: at 0.9 and 0.1; the held-out slices have no expert's mask" in text


def test_other_pictures_are_of_the_folder_that_is_meant(
    trained: Trained, slices: Path, others: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(trained[0], tmp_path / "model")
    calibrate = {"model": model, "data": slices}
    evaluate = calibrate | {"fold": 0, "corruptions": 0, "output": tmp_path / "report"}
    for command, options, part, other in (
        ("calibrate", calibrate, "train", "holdout"),
        ("evaluate", evaluate, "holdout", "train"),
    ):
        with pytest.raises(CommandError, match=r"no usable picture in .*typo/<source>/"):
            call_command(command, **options, negatives=others / "typo")
        for given in (others, others / other):
            with pytest.raises(CommandError, match=f"is meant: give {others / part}"):
                call_command(command, **options, negatives=given)


def test_train_says_what_is_missing(
    settings: Any, tmp_path: Path, slices: Path, others: Path
) -> None:
    settings.TRAINING_DATA = None
    model, recipe = tmp_path / "model", str(write_recipe(tmp_path / "tiny-1.toml"))
    with pytest.raises(CommandError, match="give --data DIR or set TRAINING_DATA"):
        call_command("train", recipe, output=model)
    with pytest.raises(CommandError, match=r"cannot read .*manifest\.csv .*dataset import"):
        call_command("train", recipe, data=tmp_path, output=model)
    with pytest.raises(CommandError, match="no usable picture"):
        call_command("train", recipe, data=slices, negatives=slices, output=model)
    with pytest.raises(CommandError, match=r"cannot read the recipe .*none\.toml"):
        call_command("train", str(tmp_path / "none.toml"), data=slices, output=model)
    pictures = tmp_path / "pictures"
    shutil.copytree(others / "train", pictures / "train")
    with pytest.raises(CommandError, match=r"no usable picture in .*pictures/holdout"):
        call_command("train", recipe, data=slices, negatives=pictures, output=model)
    odd = write_recipe(tmp_path / "odd-1.toml", data="fold = 7")
    with pytest.raises(CommandError, match="none outside, fold 7"):
        call_command("train", str(odd), data=slices, output=model)
    odd.write_text("[network]\nsize = 33\n")
    with pytest.raises(CommandError, match="multiple of 32"):
        call_command("train", str(odd), data=slices, output=model)
    assert not model.exists()


def test_training_writes_over_nothing_that_it_did_not_make(
    trained: Trained, slices: Path, others: Path, tmp_path: Path
) -> None:
    folder, _, _ = trained
    recipe = str(folder.parent / "tiny-7.toml")
    data = shutil.copytree(slices, tmp_path / "data")
    (data / "notes.txt").write_text("of years")
    with pytest.raises(CommandError, match="data holds something else than a model"):
        call_command("train", recipe, data=slices, output=data)
    assert (data / "notes.txt").is_file()
    words = r"checkpoints/state\.npz is of an earlier run: go on after it with --resume, or remove"
    before = (folder / "checkpoints" / "state.npz").read_bytes()
    with pytest.raises(CommandError, match=words):
        call_command("train", recipe, data=slices, output=folder, negatives=others)
    assert (folder / "checkpoints" / "state.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("fold", "where"), [("0", "in fold 0, which is held out"), ("1", "to learn from")]
)
def test_a_class_that_is_missing_is_named(
    slices: Path, tmp_path: Path, fold: str, where: str
) -> None:
    data = shutil.copytree(slices, tmp_path / "data")
    text = (data / "manifest.csv").read_text()
    text = re.sub(rf"^.*,meningioma,axial,{fold},.*\n", "", text, flags=re.MULTILINE)
    (data / "manifest.csv").write_text(text)
    recipe = str(write_recipe(tmp_path / "tiny-1.toml"))
    words = rf"manifest\.csv has no slice of meningioma {where}: add some"
    with pytest.raises(CommandError, match=words):
        call_command("train", recipe, data=data, output=tmp_path / "model")


@pytest.mark.parametrize("patience", [0, 1])
def test_a_share_too_small_to_watch_anything_is_refused(
    slices: Path, tmp_path: Path, patience: int
) -> None:
    recipe = write_recipe(
        tmp_path / "tiny-1.toml", training=f"patience = {patience}", data="watch = 0.002"
    )
    with pytest.raises(CommandError, match=r"no group of .* into the share of 0\.002 .* raise"):
        call_command("train", str(recipe), data=slices, output=tmp_path / "model")


def test_a_checkpoint_of_another_run_is_refused(
    trained: Trained, slices: Path, others: Path
) -> None:
    folder, _, _ = trained
    other = write_recipe(folder.parent / "other-7.toml", training="seed = 5")
    with pytest.raises(CommandError, match=r"state\.npz is of a run with another .*\(seed differ"):
        call_command("train", str(other), data=slices, output=folder, negatives=others, resume=True)


def test_a_checkpoint_of_another_version_is_refused(
    trained: Trained, slices: Path, others: Path
) -> None:
    """Else the network of one version would take the place of the other's."""
    folder, _, _ = trained
    later = write_recipe(folder.parent / "tiny-8.toml")
    before = (folder / CARD_NAME).read_bytes()
    with pytest.raises(
        CommandError, match=r"checkpoints is of a run of tiny-7, not of tiny-8: give"
    ):
        call_command("train", str(later), data=slices, output=folder, negatives=others, resume=True)
    assert (folder / CARD_NAME).read_bytes() == before


def test_a_checkpoint_of_other_data_is_refused(
    trained: Trained, slices: Path, others: Path, tmp_path: Path
) -> None:
    """One mask is another, and the pictures of other things were forgotten."""
    folder, _, _ = trained
    data = shutil.copytree(slices, tmp_path / "data")
    Image.new("1", (128, 160), 1).save(data / "masks" / "slice0.png")
    recipe = str(folder.parent / "tiny-7.toml")
    with pytest.raises(CommandError, match=r"\(other pictures, slices learnt from differ\)"):
        call_command("train", recipe, data=data, output=folder, resume=True)


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
