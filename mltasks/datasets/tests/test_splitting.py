"""Folds: whole groups, even classes, and never drawn anew by accident."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from django.core.management import call_command
from hypothesis import given, settings, strategies as st
from PIL import Image

from mltasks.data import DataError, read_manifest
from mltasks.datasets import importing, splitting
from mltasks.datasets.form import BRIDGE, Row, read_dataset, replace_rows
from mltasks.datasets.splitting import assign, split
from mltasks.datasets.tests.conftest import LIMITS, MADE, picture, request, save
from tests.support.disks import full_disk


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_groups_stay_whole_and_folds_stay_put(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 60))
    labels = data.draw(st.lists(st.integers(0, 20), min_size=count, max_size=count))
    strata = data.draw(st.lists(st.sampled_from("abc"), min_size=count, max_size=count))
    places = st.none() | st.integers(0, 3)
    before = data.draw(st.lists(places, min_size=count, max_size=count))
    after = assign(labels, strata, before, 4, 0)
    there: dict[int, set[int]] = defaultdict(set)
    for label, fold in zip(labels, before, strict=True):
        if fold is not None:
            there[label].add(fold)
    for label, old, new in zip(labels, before, after, strict=True):
        if old is not None:
            assert new == old
        elif len(there[label]) > 1:
            assert new is None
        else:
            assert new is not None
            same = {a for own, a in zip(labels, after, strict=True) if own == label}
            assert same == {new}
    assert after == assign(labels, strata, before, 4, 0)


def test_classes_and_planes_are_spread_evenly() -> None:
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 9, 200)
    labels = np.repeat(np.arange(200), sizes)
    strata = np.repeat(rng.choice(["a", "a", "a", "b"], 200), sizes)
    assigned = assign(labels.tolist(), strata.tolist(), [None] * len(labels), 5, 0)
    folds = np.array([-1 if fold is None else fold for fold in assigned])
    assert folds.min() == 0
    for stratum in "ab":
        counts = np.bincount(folds[strata == stratum], minlength=5)
        assert counts.max() - counts.min() <= 2


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """30 images of four classes without folds: 24 heads, six of which come twice."""
    source = tmp_path / "download"
    for number in range(30):
        name = ("glioma", "meningioma", "notumor", "pituitary")[number % 4]
        pixels = picture(number % 24)
        if number >= 24:
            pixels = np.ascontiguousarray(pixels[:, ::-1])
        save(pixels, source / name / f"image{2 * number}.png")
    importing.run(request(source, tmp_path / "data", **MADE))
    return tmp_path / "data"


def asked(folder: Path, **more: object) -> splitting.Request:
    return splitting.Request(folder=folder, limits=LIMITS, folds=3, **more)  # type: ignore[arg-type]


def test_a_split_is_stored_and_kept(data: Path) -> None:
    with pytest.raises(DataError, match="is in no fold"):
        read_manifest(data)
    outcome = split(asked(data))
    assert (outcome.kept, outcome.drawn, outcome.left_out, outcome.torn) == (0, 30, 0, 0)
    records = read_manifest(data)
    assert len({record.group for record in records}) == 24
    folds: dict[str, set[int]] = defaultdict(set)
    for record in records:
        folds[record.group].add(record.fold)
    assert all(len(found) == 1 for found in folds.values())
    assert {record.fold for record in records} == {0, 1, 2}
    before = (data / "manifest.csv").read_bytes(), (data / "dataset.json").read_bytes()
    again = split(asked(data, seed=5))
    assert (again.kept, again.drawn) == (30, 0)
    after = (data / "manifest.csv").read_bytes(), (data / "dataset.json").read_bytes()
    assert after == before


def test_drawing_anew_is_asked_for_and_written_down(data: Path) -> None:
    first = split(asked(data)).data.digest
    second = split(asked(data, seed=1, redraw=True)).data
    assert second.digest != first
    assert second.info["split"]["replaces"] == [{"digest": first, "redrawn": True}]
    assert json.loads((data / "dataset.json").read_text())["digest"] == second.digest
    assert read_dataset(data).faults == []
    with pytest.raises(DataError, match="split into 3 folds"):
        split(replace(asked(data), folds=2))
    with pytest.raises(DataError, match="2 to 100 folds"):
        split(replace(asked(data), folds=1))


def test_new_images_follow_their_groups_and_tie_nothing(data: Path, tmp_path: Path) -> None:
    split(asked(data))
    old = {row.id: row.fold for row in read_dataset(data).rows}
    source = tmp_path / "more"
    save(picture(3)[::-1], source / "yes" / "copy.png")
    save(picture(77), source / "no" / "new.png")
    importing.run(request(source, tmp_path / "both", onto=data, **MADE))
    outcome = split(asked(tmp_path / "both"))
    assert (outcome.kept, outcome.drawn) == (30, 2)
    rows = {row.id: row for row in outcome.data.rows}
    assert {name: rows[name].fold for name in old} == old
    assert rows["yes_copy"].fold == rows["pituitary_image6"].fold
    assert outcome.data.info["split"]["kept"] == 30


def test_copies_in_a_set_with_folds_of_its_own_are_not_parted(data: Path, tmp_path: Path) -> None:
    split(asked(data))
    twin = tmp_path / "twin"
    importing.run(request(data, twin, **MADE | {"name": "Twin"}))
    found = read_dataset(twin)
    rows = []
    for row in found.rows:
        with Image.open(twin / row.image) as image:
            save(np.array(image)[:, ::-1], twin / row.image)
        assert row.fold is not None
        digest = hashlib.sha256((twin / row.image).read_bytes()).hexdigest()
        rows.append(replace(row, fold=(row.fold + 1) % 3, group="", sha256=digest))
    replace_rows(found, rows, found.info)
    both = tmp_path / "both"
    outcome = importing.run(request(twin, both, onto=data))
    assert outcome.folds_dropped == 30
    assert json.loads((both / "import.json").read_text())["folds_dropped"] == 30
    done = split(asked(both))
    assert (done.kept, done.drawn, done.left_out, done.torn) == (30, 30, 0, 0)
    folds = {row.id: row.fold for row in done.data.rows}
    assert all(folds[row.id] == folds[f"twin_{row.id}"] for row in rows)


def test_groups_that_are_torn_are_told_of_a_split_that_is_there(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = split(asked(data)).data
    twins = [row for row in found.rows if row.group != row.id]
    torn = {row.id: replace(row, fold=((row.fold or 0) + 1) % 3, group="") for row in twins[:2]}
    replace_rows(found, [torn.get(row.id, row) for row in found.rows], found.info)
    before = (data / "manifest.csv").read_bytes()
    outcome = split(asked(data))
    assert (outcome.kept, outcome.drawn, outcome.torn) == (30, 0, 2)
    call_command("dataset", "split", str(data))
    printed = capsys.readouterr().out
    assert "Every image has a fold already" in printed
    assert "2 groups lie in several of the folds" in printed
    assert (data / "manifest.csv").read_bytes() == before


def test_the_number_of_folds_stays(data: Path, tmp_path: Path) -> None:
    split(asked(data))
    for number, name in enumerate(("yes", "no")):
        save(picture(77 + number), tmp_path / "more" / name / "new.png")
    importing.run(request(tmp_path / "more", tmp_path / "both", onto=data, **MADE))
    for folds in (2, 5):
        with pytest.raises(DataError, match=r"split into 3 folds: leave --folds out"):
            split(replace(asked(tmp_path / "both"), folds=folds))
    found = split(replace(asked(tmp_path / "both"), folds=None)).data
    assert found.info["split"]["folds"] == 3
    assert {row.fold for row in found.rows} == {0, 1, 2}
    again = split(replace(asked(tmp_path / "both", redraw=True), folds=4)).data
    assert {row.fold for row in again.rows} == {0, 1, 2, 3}


def test_a_first_split_has_five_folds(data: Path) -> None:
    found = split(replace(asked(data), folds=None)).data
    assert {row.fold for row in found.rows} == {0, 1, 2, 3, 4}
    # Where no dataset.json tells the number, the folds do.
    (data / "dataset.json").unlink()
    with pytest.raises(DataError, match="split into 5 folds"):
        split(replace(asked(data), folds=6))


def test_an_image_between_two_folds_is_excluded(data: Path) -> None:
    found = split(asked(data)).data
    one, other = (next(row for row in found.rows if row.fold == fold) for fold in (0, 1))
    rows = [
        replace(row, patient="a" * 16) if row.id in {one.id, other.id} else row
        for row in found.rows
    ]
    victim = next(row for row in rows if row.group == row.id and not row.patient)
    rows = [
        replace(row, fold=None, patient="a" * 16) if row.id == victim.id else row for row in rows
    ]
    replace_rows(found, rows, found.info)
    outcome = split(asked(data))
    assert (outcome.left_out, outcome.torn) == (1, 1)
    row = next(row for row in outcome.data.rows if row.id == victim.id)
    assert (row.fold, row.excluded) == (None, BRIDGE)
    assert victim.id not in {record.id for record in read_manifest(data)}
    assert len(read_manifest(data)) == 29


def test_groups_of_an_audit_can_be_given(data: Path, tmp_path: Path) -> None:
    rows = read_dataset(data).rows
    table = tmp_path / "groups.csv"
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("set", "id", "group", "copies"))
        writer.writerows(("Drawn", row.id, number // 6, "") for number, row in enumerate(rows))
    outcome = split(asked(data, groups=table))
    assert len({row.group for row in outcome.data.rows}) == 5
    split(asked(data, redraw=True, groups=table))
    # As Excel saves it.
    table.write_text(table.read_text(), encoding="utf-8-sig")
    split(asked(data, redraw=True, groups=table))
    table.write_text("set,id,group\nDrawn,x,1\n")
    with pytest.raises(DataError, match="has no group for 30 images"):
        split(asked(data, redraw=True, groups=table))
    (tmp_path / "report.json").write_text('{"copies": {}}\n')
    with pytest.raises(DataError, match=r"report\.json is no groups\.csv .* lacks group, id, set"):
        split(asked(data, redraw=True, groups=tmp_path / "report.json"))
    with pytest.raises(DataError, match=r"cannot read .*none\.csv"):
        split(asked(data, redraw=True, groups=tmp_path / "none.csv"))


def test_folds_that_stay_empty_or_lack_a_class_are_told(data: Path, tmp_path: Path) -> None:
    table, said = tmp_path / "groups.csv", io.StringIO()
    lines = [f"Drawn,{row.id},{row.label == 'glioma'}\n" for row in read_dataset(data).rows]
    table.write_text("set,id,group\n" + "".join(lines))
    call_command("dataset", "split", data, groups=table, stdout=said)
    assert "only 2 groups: 2 of 5 folds are filled" in said.getvalue()
    assert "8 glioma; without meningioma, no_tumor, pituitary" in said.getvalue()
    assert "7 pituitary; without glioma" in said.getvalue()


def test_a_patient_is_kept_whole_whatever_an_audit_said(data: Path, tmp_path: Path) -> None:
    """It may be older than the patients of the manifest."""
    found = read_dataset(data)
    one, other = found.rows[0], found.rows[29]
    rows = [
        replace(row, patient="b" * 16) if row.id in {one.id, other.id} else row
        for row in found.rows
    ]
    replace_rows(found, rows, found.info)
    table = tmp_path / "groups.csv"
    lines = (f"Drawn,{row.id},{number}" for number, row in enumerate(rows))
    table.write_text("\n".join(("set,id,group", *lines)))
    by_id = {row.id: row for row in split(asked(data, groups=table)).data.rows}
    assert len({row.group for row in by_id.values()}) == 29
    assert by_id[one.id].group == by_id[other.id].group
    assert by_id[one.id].fold == by_id[other.id].fold


def test_faults_stop_the_split(data: Path) -> None:
    rows = read_dataset(data).rows
    (data / rows[3].image).unlink()
    with pytest.raises(DataError, match=f"{rows[3].image}.*it is missing"):
        split(asked(data))
    with (data / "manifest.csv").open("a") as stream:
        stream.write("broken\n")
    with pytest.raises(DataError, match=r"too few or too many columns|digest"):
        split(asked(data))


def test_an_image_that_is_not_the_manifests_stops_the_split(data: Path) -> None:
    row = read_dataset(data).rows[3]
    save(picture(77), data / row.image)
    with pytest.raises(DataError, match=f"has faults: .*{row.image}"):
        split(asked(data))


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_an_interrupted_split_is_all_or_nothing(
    data: Path, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_dataset(data)
    real, done = Path.replace, 0

    def cut(path: Path, target: Path) -> Path:
        nonlocal done
        done += 1
        if done > writes:
            raise KeyboardInterrupt
        return real(path, target)

    monkeypatch.setattr(Path, "replace", cut)
    with pytest.raises(KeyboardInterrupt):
        split(asked(data))
    monkeypatch.undo()
    after = read_dataset(data)
    assert after.faults == []
    if writes < 2:
        assert after.rows == before.rows
    else:
        assert all(row.fold is not None for row in after.rows)
    assert split(asked(data)).left_out == 0
    assert all(isinstance(row, Row) and row.fold is not None for row in read_dataset(data).rows)


def test_a_full_disk_leaves_the_set_as_it_was(data: Path) -> None:
    before, names = read_dataset(data), sorted(data.iterdir())
    with full_disk(100), pytest.raises(DataError, match=r"cannot write to .*: File too large"):
        replace_rows(before, before.rows, before.info)
    assert read_dataset(data) == before
    assert sorted(data.iterdir()) == names
