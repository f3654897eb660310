"""Reports and model cards: what they say, and which folders they take the place of."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from PIL import Image

from mltasks import model_card
from mltasks.data import Record, data_digest, read_manifest, read_records
from mltasks.evaluation import refusal_summary, summary
from mltasks.evaluation.curves import curves
from mltasks.evaluation.measuring import Request, blank_masks, described
from mltasks.evaluation.reporting import render
from mltasks.evaluation.results import KIND_UNKNOWN, Results
from mltasks.tests.conftest import head
from mltasks.tests.test_evaluation import results
from mltasks.tests.test_seen import HELD_OUT, LEARNT
from tests.support.disks import full_disk

FEW = "Few groups: the interval is too narrow"


def figures_of(found: Results, **changes: Any) -> dict[str, Any]:
    """What is measured of results, without other pictures and other forms."""
    return {
        "model": {"name": "drawn", "version": "1", "digest": "0"},
        "data": {"fold": None, "learnt": False, "groups_calibrated_on": 0},
        "validation": summary(found, resamples=20),
        "curves": curves(found),
        "other_pictures": refusal_summary({}),
        "other_bodies": refusal_summary({}),
        "sanity": {"n": 3, "steps": [], "classes": {"glioma": 2, "no_tumor": 1}},
        "misses": [],
        **changes,
    }


@pytest.mark.parametrize("kind", [0, 2])
def test_a_set_of_one_class_has_a_page(kind: int) -> None:
    """Without the drawings for which there must be two."""
    page = render(figures_of(results([kind] * 4, [kind] * 4)))
    assert "ROC curves" not in page
    assert page.count("<svg") == page.count('role="img"') >= 1


def test_a_page_says_of_whom_its_figures_are() -> None:
    found = results([0, 0, 2, 2], [0, 0, 2, 2])
    page = render(figures_of(found))
    assert '<td class="n">1 (few)</td>' in page
    assert FEW in page
    assert "3 slices’ maps (2 glioma, 1 no tumour)" in page
    assert "has learnt from these slices" not in page
    data = {"fold": 1, "learnt": True, "groups_calibrated_on": 0}
    assert "has learnt from these slices" in render(figures_of(found, data=data))


def test_wrong_names_are_the_first_failure() -> None:
    found = results([0, 0, 0, 1, 1, 2, 2, 3], [1, 1, 0, 1, 0, 2, 2, 3])
    page = render(figures_of(found))
    first = re.search(r'<ul class="first">\s*<li>(.*?)</li>', page)
    assert first is not None
    text = re.sub("<.*?>", "", first[1])
    assert text == (
        "3 of 8 slices got a wrong name; right in the worst class, glioma: 1 of 3 (2 groups)."
    )
    assert "0 of 2 slices got a wrong name." in re.sub(
        "<.*?>", "", render(figures_of(results([0, 2], [0, 2])))
    )


def test_masks_that_mark_nothing_are_counted() -> None:
    records = [
        Record(str(number), label, "", 0, str(number), has_mask=has_mask, sha256="")
        for number, (label, has_mask) in enumerate(
            [("glioma", True), ("glioma", True), ("glioma", False), ("no_tumor", True)]
        )
    ]
    size = np.array([0.1, np.nan, np.nan, np.nan])
    found = results([0, 0, 0, 2], [0, 0, 0, 2], size=size)
    assert blank_masks(records, found) == 1
    data = {"fold": None, "learnt": False, "groups_calibrated_on": 0, "blank_masks": 1}
    assert "1 tumour mask marks nothing" in render(figures_of(found, data=data))


def test_what_was_learnt_from_is_told_from_what_was_held_out(slices: Path) -> None:
    records = read_manifest(slices)
    held_out = [record for record in records if record.fold == 0]
    training = {
        "data_digest": data_digest(records),
        "data": {"fold": 0},
        "held_out_digest": data_digest(held_out),
    }
    groups = [str(record.group) for record in held_out]

    def learnt_and_calibrated(fold: int | None, **changes: Any) -> tuple[bool, int]:
        card = {"training": training | changes, "calibration": {"groups": groups}}
        data = described(card, slices, read_records(slices, fold), fold)
        return data["learnt"], data["groups_calibrated_on"]

    assert learnt_and_calibrated(0) == (False, 8)
    assert learnt_and_calibrated(1) == (True, 0)
    assert learnt_and_calibrated(None) == (True, 8)
    assert learnt_and_calibrated(0, held_out_digest="other slices of then") == (True, 8)
    # Groups of the same names in a set from elsewhere are not the same groups.
    assert learnt_and_calibrated(0, data_digest="another set") == (False, 0)
    assert learnt_and_calibrated(1, data_digest="another set") == (False, 0)


def test_figures_on_kinds_say_of_how_many_slices_they_are() -> None:
    unknown = [KIND_UNKNOWN] * 4
    some = render(figures_of(results([*unknown, 2, 2, 0, 1], [0, 2, 1, 1, 2, 2, 0, 0])))
    assert "The kind of 4 of the tumours is not stated." in some
    assert "Figures on kinds are of the other 4 slices." in some
    assert re.search(r'<td class="n">4</td>\s*<td>75.0%', some)
    assert "Confusion of 4 slices" in some
    none = render(figures_of(results([*unknown, 2, 2], [0, 2, 1, 1, 2, 2])))
    assert "figures on kinds are left out" in none
    for words in (
        "Accuracy",
        "Confusion",
        "90% or more",
        "True class in",
        "Reliability",
        "Of these",
    ):
        assert words not in none
    for page in (some, none):
        assert "Tumour or none: calibration error" in page
    assert "is not stated" not in render(figures_of(results([2, 2], [2, 2])))


def test_the_error_of_calibration_is_the_crossed_one_where_it_was_fitted() -> None:
    found = results([0, 0, 2, 2], [0, 0, 2, 2])
    crossed = {
        "plain": {"n": 4, "calibration_error": 0.345, "ci95": {"calibration_error": [0, 0.5]}}
    }
    assert "Calibration error, cross-fitted" not in render(figures_of(found, calibration=crossed))
    data = {"fold": 0, "learnt": False, "groups_calibrated_on": 2}
    page = render(figures_of(found, calibration=crossed, data=data))
    assert "Calibration error, cross-fitted" in page
    assert "34.5% (0.0–50.0)" in page
    assert "decided by how they do on" in page


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """For `evaluate` on one slice, with an analyzer that answers nothing."""
    (tmp_path / "data" / "images").mkdir(parents=True)
    Image.fromarray(head(1)).save(tmp_path / "data" / "images" / "a.png")
    (tmp_path / "data" / "manifest.csv").write_text("id,label\na,glioma\n")

    def broken(*args: Any, **options: Any) -> None:
        raise ArithmeticError("while measuring")

    monkeypatch.setattr("mltasks.management.commands.evaluate.measure", broken)
    return {"data": tmp_path / "data", "drawn": 0, "output": tmp_path / "R"}


def test_whatever_breaks_off_leaves_no_draft(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError, match="while measuring"):
        call_command("evaluate", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_full_disk_is_named_and_what_to_do(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, figures = "mltasks.management.commands.evaluate", figures_of(results([0, 2], [0, 2]))
    monkeypatch.setattr(f"{command}.measure", lambda *_, **__: (figures, None))
    monkeypatch.setattr(f"{command}.gallery.write", lambda *_: [])
    words = rf"{options['output']} cannot be written \(.*\): make room and give the command again"
    with full_disk(10), pytest.raises(CommandError, match=words):
        call_command("evaluate", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_only_its_own_report_is_replaced(options: dict[str, Any]) -> None:
    output = options["output"]
    output.mkdir()
    for others in ("{}", "[]", "no report", json.dumps({"format": 1, "validation": {}})):
        (output / "report.json").write_text(others)
        with pytest.raises(CommandError, match="something else than a report"):
            call_command("evaluate", **options)
    figures = figures_of(results([0, 2], [0, 2]))
    (output / "report.json").write_text(json.dumps(figures))
    with pytest.raises(ArithmeticError):
        call_command("evaluate", **options)


def test_slices_learnt_from_are_told_and_may_be_left_out(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Request] = []

    def stopped(analyzer: Any, weights: bytes, request: Request, **_: Any) -> None:
        measured.append(request)
        raise ArithmeticError("while measuring")

    monkeypatch.setattr("mltasks.management.commands.evaluate.measure", stopped)
    learnt, held_out = (
        [f"brisc2025_{name}" for name in names["glioma"].split()] for names in (LEARNT, HELD_OUT)
    )
    rows = "".join(f"{name},glioma\n" for name in (*learnt, *held_out))
    (options["data"] / "manifest.csv").write_text("id,label\n" + rows)
    said = io.StringIO()
    for more in ({}, {"leave_out_seen": True}):
        with pytest.raises(ArithmeticError):
            call_command("evaluate", **options, **more, stderr=said)
    assert [len(request.records) for request in measured] == [6, 3]
    assert [record.id for record in measured[1].records] == held_out
    assert measured[1].left_out == 3
    warning, left_out = said.getvalue().splitlines()
    assert "too good: the network has learnt from 3 of these 6 slices, by their names" in warning
    assert left_out.endswith("are left out; 3 remain, in 3 of 6 groups")
    rows = "".join(f"{name},glioma\n" for name in learnt)
    (options["data"] / "manifest.csv").write_text("id,label\n" + rows)
    with pytest.raises(CommandError, match="none of these 3 slices would be left"):
        call_command("evaluate", **options, leave_out_seen=True)


def read_card(version: int) -> dict[str, Any]:
    path = settings.BASE_DIR / "models" / f"tumorsite-{version}" / "model.json"
    card: dict[str, Any] = json.loads(path.read_text())
    return card


def test_a_card_says_of_how_many_groups_its_figures_are() -> None:
    card = read_card(3)
    before = model_card.text(card)
    assert "| class | n | sensitivity |" in before
    assert FEW not in before
    assert "Temperature" not in before
    assert "60 slices of 60 groups; unchanged" in before
    metrics, classes = card["metrics"], {"glioma": 30, "no_tumor": 30}
    for own in metrics["validation"]["per_class"].values():
        own |= {"groups": 12, "few_groups": False}
    assert FEW not in model_card.text(card)
    metrics["validation"]["per_class"]["glioma"] |= {"groups": 5, "few_groups": True}
    metrics["robustness"]["classes"] = metrics["sanity"]["classes"] = classes
    text = model_card.text(card)
    assert "| class | n | groups | sensitivity |" in text
    assert "| glioma | 219 | 5 (few) |" in text
    assert "| pituitary | 252 | 12 |" in text
    assert FEW in text
    assert "60 slices of 60 groups (30 glioma, 30 no tumour); unchanged" in text
    assert "48 slices (30 glioma, 30 no tumour) (after" in text


def test_a_card_says_what_was_fitted_to_its_own_slices() -> None:
    card = read_card(4)
    before = model_card.text(card)
    assert "| calibration error, cross-fitted | 1.0% |" in before
    assert "| the same on the slices it was fitted to | 1.1% |" in before
    assert "Which of several networks is released is decided by how they do on this fold" in before
    assert "was chosen on every second tumour of BRISC 2025's fold 0" in before
    assert "Contours, not cross-fitted" in before
    bounds = {"calibration_error": [0.004, 0.051], "accuracy": [0.9, 0.99]}
    card["calibration"]["cross_fitted"]["plain"]["ci95"] = bounds
    card["calibration"]["cross_fitted_areas"] = {
        "n": 713, "groups": 37, "dice_mean": 0.84, "inner_rate": 0.79, "outer_rate": 0.8,
        "ci95": {"dice_mean": [0.8, 0.9], "inner_rate": [0.65, 0.9], "outer_rate": [0.7, 0.88]},
    }  # fmt: skip
    after = model_card.text(card)
    assert "| calibration error, cross-fitted | 1.0% (0.4–5.1) |" in after
    assert "| plain | 907 | 96.7% (90.0–99.0) | 1.0% (0.4–5.1) |" in after
    assert "713 tumours in 37 groups, cross-fitted likewise" in after
    assert "on the network's own grid 0.840 (0.800–0.900)" in after
    assert "79.0% (65.0–90.0)" in after
    assert "not cross-fitted" not in after


def test_a_card_states_its_temperature() -> None:
    cards = read_card(3), read_card(1)
    for card in cards:
        for own in card["metrics"]["validation"]["per_class"].values():
            own |= {"groups": 12, "few_groups": False}
    flat, growing = map(model_card.text, cards)
    assert "base 0.7465, slope 0.0." in flat
    assert "doubt does not grow with the distance" in flat
    assert "base 0.7376, slope 0.4008." in growing
    assert "doubt does not grow" not in growing
    assert "below 1 sharpens the probabilities" in flat
