"""Screening: the design, its arithmetic, the probes, and runs that are broken off."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image

from mltasks.augmentation import CHANCES
from mltasks.data import DataError, load_samples, read_manifest
from mltasks.engines import Outputs
from mltasks.lazy import tensorflow_module
from mltasks.preprocessing import Floats
from mltasks.screening import PlanError, probes, read_plan, report, runs
from mltasks.screening.design import LARGEST, effects, margin, plackett_burman
from tests.support.disks import full_disk

PLAN = """
slices = 2
[network]
size = 32
repeats = [1, 1, 1, 1, 1, 1, 1]
[training]
pretrained = false
frozen_blocks = 5
epochs = 1
lesions = 0.5
[data]
drawn = 8
[factors]
turned = ["warp"]
"blur and few pixels" = ["blur", "coarsen"]
"moved tumours" = ["lesions"]
"""


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    return path


@pytest.mark.parametrize("factors", range(2, LARGEST + 1))
def test_designs_are_balanced(factors: int) -> None:
    design = plackett_burman(factors)
    assert design[0].all()
    assert (design.mean(axis=0) == 0.5).all()
    for a, b in combinations(design.T, 2):
        assert (a & b).mean() == 0.25


def test_too_many_factors_are_refused() -> None:
    with pytest.raises(ValueError, match="2 to 19"):
        plackett_burman(20)


def test_effects_are_found_and_noise_is_not_taken_for_one() -> None:
    design, rng = plackett_burman(11), np.random.default_rng(1)
    true = np.zeros(11)
    true[[2, 7]] = 6.0, -4.0
    scores = 80 + np.where(design, 0.5, -0.5) @ true + rng.normal(0, 0.4, len(design))
    found = effects(design, scores)
    np.testing.assert_allclose(found, true, atol=0.8)
    assert set(np.flatnonzero(np.abs(found) > margin(found))) == {2, 7}


def test_the_margin_is_lenths() -> None:
    # Of 1, 2, 3, 4, 20: first error 1.5 × 3; all but 20 are below 2.5 × that, with median 2.5.
    assert margin(np.array([1.0, -2, 3, -4, 20])) == pytest.approx(1.5 * 2.5 * 5.242, abs=0.02)
    assert margin(np.zeros((5, 2))).tolist() == [0, 0]


def test_a_plan_leaves_out_what_is_not_on(plan_file: Path) -> None:
    plan = read_plan(plan_file)
    off = plan.training(dict.fromkeys(plan.factors, False))
    assert off.chances == {"warp": 0, "blur": 0, "coarsen": 0}
    assert off.lesions == 0
    on = plan.training(dict.fromkeys(plan.factors, True))
    assert (on.chances, on.lesions) == ({}, 0.5)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"warp"', '"wrap"', "'wrap' of 'turned' is not one of"),
        ('["lesions"]', '["blur"]', "'blur' is in 'blur and few pixels' and in"),
        ("lesions = 0.5", "", "is 0 in the recipe anyway"),
        ('["warp"]', "[]", "must list what it stands for"),
        ("slices = 2", "slices = 0", "whole number from 1"),
        ("size = 32", "sise = 32", "'sise' is not a key"),
        ("[factors]", "[factor]", "'factor' is not a table of a recipe"),
        ("[factors]", "[chances]", "'turned' is not a change"),
        ("slices", "= slices", "is not TOML"),
    ],
)
def test_a_faulty_plan_is_named(plan_file: Path, old: str, new: str, words: str) -> None:
    plan_file.write_text(PLAN.replace(old, new, 1))
    with pytest.raises(PlanError, match=words):
        read_plan(plan_file)


def test_bundled_plans_can_be_followed() -> None:
    paths = list((Path(__file__).parents[2] / "experiments").glob("*.toml"))
    assert paths
    for path in paths:
        plan = read_plan(path)
        named = {part for parts in plan.factors.values() for part in parts}
        chances = CHANCES | plan.recipe.training.chances
        forgotten = {change for change, chance in chances.items() if chance} - named
        assert not forgotten, path


class _Knowing:
    """An engine that knows the answers of a probe."""

    name = "knowing"
    sides: tuple[int, int] | None = None

    def __init__(self, probe: probes.Probe) -> None:
        self._probe, self._at = probe, 0

    def forward(self, batch: Floats) -> Outputs:
        now = slice(self._at, self._at + len(batch))
        self._at += len(batch)
        half = batch.shape[1] // 2
        masks = [np.zeros((half, half)) if m is None else m for m in self._probe.masks[now]]
        none = np.zeros((len(batch), 0), np.float32)
        logits = np.eye(4, dtype=np.float32)[self._probe.target[now]] * 9
        return Outputs(logits, none, np.stack(masks).astype(np.float32) - 0.5, none, none)


def test_probes_keep_pictures_masks_and_answers_together(slices: Path) -> None:
    samples = load_samples(slices, read_manifest(slices)[:8])
    shown = probes.build(samples, 32)
    for name, probe in shown.items():
        assert len(probe.images) == len(probe.target) == len(probe.masks)
        assert probe.images.shape[1:] == (32, 32)
        scores = probes.score(_Knowing(probe), probe)
        # Where all show a tumour there is none to be told from none.
        only_tumours = name in {probes.DARK, probes.BRIGHT}
        assert scores["told"]["value"] == (None if only_tumours else 1), name
        assert scores["accuracy"]["value"] == 1, name
        # Few groups, all of them right, are no certainty.
        assert scores["accuracy"]["ci95"][0] < 0.8, name
        assert scores["dice"]["value"] == (None if name == probes.OUTLINES else 1), name
    # Two slices without a tumour become two with one, and two with a healthy patch.
    assert np.bincount(shown[probes.MOVED].target == 2).tolist() == [2, 2]
    inside = shown[probes.OUTLINES].images[0]
    assert len(np.unique(inside[inside > 0][200:-200])) < 8


def test_each_slice_is_stripped_in_its_own_way(slices: Path) -> None:
    """Also where all ids are of one length, as in most sets."""
    sample = load_samples(slices, read_manifest(slices)[:1])[0]
    others = [replace(sample, record=replace(sample.record, id=name)) for name in ("one", "two")]
    one, two = probes.build(others, 64)[probes.STRIPPED].images
    assert (one != two).any()


def test_cells_are_marked_as_by_their_mean() -> None:
    means = np.arange(4 * 255 + 1) / 4
    shares = (means / 255).astype(np.float32)
    np.testing.assert_array_equal(shares > probes._MARKED, means > 127)


def test_without_masks_there_is_less_to_show(slices: Path) -> None:
    samples = [replace(own, mask=None) for own in load_samples(slices, read_manifest(slices)[:8])]
    shown = probes.build(samples, 32)
    assert probes.OUTLINES in shown
    assert not {probes.MOVED, probes.DARK, probes.BRIGHT} & set(shown)
    scores = {name: probes.score(_Knowing(own), own) for name, own in shown.items()}
    lines = report.models_table({"knowing": scores}).splitlines()
    assert lines[2].startswith("| unchanged: right class, % | 100.0 (")
    assert not any("Dice" in line for line in lines)
    scores[probes.PLAIN]["accuracy"]["ci95"] = None
    assert "| 100.0 (no interval) |" in report.models_table({"knowing": scores})
    rows = [{"on": {"one": n in {0, 1}, "two": n in {0, 2}}, "scores": scores} for n in range(5)]
    result = {"runs": rows, "factors": {"one": [], "two": []}}
    assert report.table(result).splitlines()[0] == (
        "| there or not | unchanged | twelve corruptions | other sequences | skull stripped "
        "| tumour told from outlines |"
    )
    assert b"<svg" in report.draw(result)


def _made_up(plan: Any, on: dict[str, bool], *_: Any) -> dict[str, Any]:
    names = ["unchanged", *runs.probes.corruptions.CORRUPTIONS, *runs.probes.corruptions.UNLIKE]
    values = {"accuracy": 0.7 + 0.1 * on["turned"], "dice": 0.5, "told": 0.6}
    score = {name: {"value": value, "ci95": [0, 1]} for name, value in values.items()}
    extra = (probes.STRIPPED, probes.MOVED, probes.DARK, probes.BRIGHT, probes.OUTLINES)
    return {"on": on, "scores": dict.fromkeys([*names, *extra], score), "minutes": 0.1}


def test_a_screening_goes_on_where_it_was_broken_off(
    plan_file: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, calls = tmp_path / "out", []

    def breaking(*arguments: Any) -> dict[str, Any]:
        calls.append(arguments[1])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return _made_up(*arguments)

    monkeypatch.setattr(runs, "_run", breaking)
    with pytest.raises(KeyboardInterrupt):
        call_command("screen", str(plan_file), data=slices, output=output)
    assert not (output / "screening.json").exists()
    call_command("screen", str(plan_file), data=slices, output=output)
    # Eight of the design and one without anything; the broken one was done again.
    assert len(calls) == 10
    result = json.loads((output / "screening.json").read_text())
    assert [run["on"]["turned"] for run in result["runs"]].count(True) == 4
    text = (output / "screening.md").read_text()
    assert "| turned | **+10.0** | +0.0 |" in text
    assert "| *network with none* | 70.0 |" in text
    assert b"<svg" in (output / "screening.svg").read_bytes()


def test_a_full_disk_is_named_and_leaves_nothing_half_written(
    plan_file: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_run", _made_up)
    with (
        full_disk(100),
        pytest.raises(CommandError, match=r"00\.json cannot be written .*give the command again"),
    ):
        call_command("screen", str(plan_file), data=slices, output=tmp_path / "out")
    assert list((tmp_path / "out" / runs.RUNS).iterdir()) == []


def test_another_plans_folder_is_refused(
    plan_file: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_run", _made_up)
    call_command("screen", str(plan_file), data=slices, output=tmp_path / "out")
    plan_file.write_text(PLAN.replace("drawn = 8", "drawn = 9"))
    with pytest.raises(CommandError, match="another plan's runs"):
        call_command("screen", str(plan_file), data=slices, output=tmp_path / "out")
    (tmp_path / "out" / "identity").unlink()
    with pytest.raises(CommandError, match="unknown screening"):
        call_command("screen", str(plan_file), data=slices, output=tmp_path / "out")


def test_other_masks_and_other_pictures_are_another_screening(
    plan_file: Path, slices: Path, others: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest of the data names neither."""
    monkeypatch.setattr(runs, "_run", _made_up)
    data = shutil.copytree(slices, tmp_path / "data")
    call_command("screen", str(plan_file), data=data, output=tmp_path / "out")
    with pytest.raises(CommandError, match="of other slices, masks or --negatives"):
        call_command("screen", str(plan_file), data=data, output=tmp_path / "out", negatives=others)
    learnt, tried = (next(r for r in read_manifest(data) if r.fold == fold) for fold in (1, 0))
    for record in (learnt, tried):
        path = data / "masks" / f"{record.id}.png"
        before = path.read_bytes()
        Image.fromarray(np.full((160, 128), 255, np.uint8)).save(path)
        with pytest.raises(CommandError, match="of other slices, masks or --negatives"):
            call_command("screen", str(plan_file), data=data, output=tmp_path / "out")
        path.write_bytes(before)
    call_command("screen", str(plan_file), data=data, output=tmp_path / "out")


def test_a_real_run_trains_and_is_tried(
    plan_file: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tensorflow_module().config
    config.run_functions_eagerly(run_eagerly=True)
    real = runs._run

    def once(plan: Any, on: dict[str, bool], *others: Any) -> dict[str, Any]:
        return real(plan, on, *others) if all(on.values()) else _made_up(plan, on)

    monkeypatch.setattr(runs, "_run", once)
    try:
        result = runs.screen(
            read_plan(plan_file),
            slices,
            tmp_path / "out",
            watch=lambda number, count: lambda progress: None,
            report=lambda line: None,
        )
    finally:
        config.run_functions_eagerly(run_eagerly=False)
    scores = result["runs"][0]["scores"]
    assert set(scores) == set(result["runs"][1]["scores"])
    assert all(0 <= own["accuracy"]["value"] <= 1 for own in scores.values())
    assert not (tmp_path / "out" / "checkpoint").exists()


def test_data_without_the_fold_is_refused(plan_file: Path, slices: Path, tmp_path: Path) -> None:
    plan_file.write_text(PLAN.replace("drawn = 8", "fold = 7"))
    with pytest.raises(DataError, match="fold 7"):
        runs.screen(
            read_plan(plan_file),
            slices,
            tmp_path / "out",
            watch=lambda number, count: lambda progress: None,
            report=lambda line: None,
        )


def test_finished_networks_are_tried_in_the_same_way(
    plan_file: Path, slices: Path, trained: Any, tmp_path: Path
) -> None:
    out = io.StringIO()
    call_command("screen", str(plan_file), data=slices, models=[trained[0]], stdout=out)
    head, _, *rows = out.getvalue().strip().splitlines()
    assert head == "| shown | tiny-7 |"
    assert rows[0].startswith("| unchanged: right class, % | ")
    assert any(row.startswith("| moved tumours: mean Dice") for row in rows)
    with pytest.raises(CommandError, match="no model in"):
        call_command("screen", str(plan_file), data=slices, models=[tmp_path])
    plan_file.write_text(PLAN.replace("drawn = 8", "drawn = 8\nfold = 1"))
    with pytest.raises(CommandError, match="tiny 7 has learnt from 36 of these 36 slices"):
        call_command("screen", str(plan_file), data=slices, models=[trained[0]])
