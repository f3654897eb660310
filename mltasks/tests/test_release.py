"""Model folders: replaced without losing anything, and with what they were made from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from mltasks import model_card, release
from mltasks.data import DataError, data_digest, read_manifest
from mltasks.datasets.form import read_dataset, replace_rows
from mltasks.drafts import beside, put_in_place, recover
from mltasks.inference import CARD_NAME, ModelError, read_model
from tests.support.disks import full_disk
from tests.support.networks import write_network

EXTRAS = {"reference.npz": b"fitted anew"}
STATED = {"name": "Drawn", "licence": "CC0", "citation": "Nobody, 2026."}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with figures, a card for people, curves, a report and checkpoints."""
    model = write_network(tmp_path / "model", b"weights", metrics={"validation": {"n": 8}})
    for name in ("MODEL_CARD.md", "history.csv", "curves.svg", "SHA256SUMS", "history.csv.part"):
        (model / name).write_text("as it was")
    return model


def card_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / CARD_NAME).read_text()))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class Killed(BaseException):
    """The process has ended here."""


@contextmanager
def killed(survived: int) -> Iterator[list[Path]]:
    """The process ends before a move of a folder, after so many; yields what was moved."""
    rename, moved = Path.rename, list[Path]()

    def move(path: Path, target: Path) -> Path:
        if len(moved) == survived:
            raise Killed
        moved.append(path)
        return rename(path, target)

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr(Path, "rename", move)
        yield moved


@pytest.mark.parametrize("survived", range(4))
def test_checkpoints_survive_a_kill_at_any_point(folder: Path, survived: int) -> None:
    """Wherever a writer ends, the next one finds them, and one of the two networks."""
    card = card_of(folder) | {"version": "3"}
    with killed(survived) as moved:
        release.write_model(folder, card, b"weights", EXTRAS)
    assert len(moved) == min(survived, 3)
    release.recover(folder)
    assert (folder / "checkpoints" / "last.npz").read_bytes() == b"not for release"
    assert read_model(folder)[0]["version"] in {"2", "3"}
    release.write_model(folder, card, b"weights", EXTRAS)
    assert (folder / "checkpoints" / "last.npz").read_bytes() == b"not for release"
    assert names(folder) == {"model.onnx", CARD_NAME, "reference.npz", "checkpoints"}
    assert names(folder.parent) == {"model"}


@pytest.mark.parametrize(("first", "second"), list(product(range(3), range(4))))
def test_a_folder_outlives_two_kills_at_any_point(tmp_path: Path, first: int, second: int) -> None:
    """The second writer removes nothing that the first has moved aside, before its own is there."""
    target = tmp_path / "report"
    fresh = beside(target, "new")

    def put(content: str) -> None:
        fresh.mkdir()
        (fresh / "report.json").write_text(content)
        put_in_place(fresh, target)

    put("0")
    for content, survived in (("1", first), ("2", second)):
        with killed(survived):
            put(content)
        # As a writer begins.
        shutil.rmtree(fresh, ignore_errors=True)
    recover(target)
    assert (target / "report.json").read_text() in {"0", "1", "2"}
    put("3")
    assert (target / "report.json").read_text() == "3"
    assert names(tmp_path) == {"report"}


def test_a_full_disk_leaves_the_network_as_it_was(folder: Path) -> None:
    before, large = (folder / CARD_NAME).read_bytes(), {"reference.npz": bytes(200_000)}
    card = card_of(folder) | {"version": "3"}
    with full_disk(100_000):
        with pytest.raises(OSError, match=r"/model cannot be written .*go on with --resume"):
            release.write_model(folder, card, b"weights", large)
        with pytest.raises(OSError, match=r"/model cannot be written .*give the command again"):
            release.recalibrate(folder, card, b"weights", large)
    with full_disk(10), pytest.raises(OSError, match=r"model\.json cannot be written .*again"):
        release.write_card(folder, card)
    assert (folder / CARD_NAME).read_bytes() == before
    assert "model.json.part" not in names(folder)
    assert names(folder.parent) == {"model"}


def test_nothing_but_a_model_is_written_over(folder: Path, tmp_path: Path) -> None:
    release.check_output(folder)
    output = tmp_path / "output"
    release.check_output(output)
    for part in ("checkpoints", ".checkpoints.fetched"):
        (output / part).mkdir(parents=True)
        release.check_output(output)
    (output / "checkpoints of last year").mkdir()
    (output / "notes.txt").touch()
    words = r"output holds something else .*\(checkpoints of last year, notes\.txt\).*new folder"
    with pytest.raises(DataError, match=words):
        release.check_output(output)
    with pytest.raises(DataError, match=r"notes\.txt is no folder"):
        release.check_output(output / "notes.txt")


def test_another_calibration_takes_the_figures_with_it(folder: Path) -> None:
    card = card_of(folder)
    card["thresholds"] = {**card["thresholds"], "mask": 0.4}
    assert release.recalibrate(folder, card, b"weights", EXTRAS)
    written = card_of(folder)
    assert "metrics" not in written
    assert written["thresholds"]["mask"] == 0.4
    assert (folder / "reference.npz").read_bytes() == b"fitted anew"
    assert (folder / "history.csv").read_text() == (folder / "curves.svg").read_text()
    assert (folder / "report" / "index.html").is_file()
    assert (folder / "checkpoints" / "last.npz").is_file()
    assert not names(folder) & {"MODEL_CARD.md", "SHA256SUMS", "history.csv.part"}
    assert not release.recalibrate(folder, written, b"weights", EXTRAS), "there are none left"


def test_the_same_calibration_leaves_the_figures(folder: Path) -> None:
    assert not release.recalibrate(folder, card_of(folder), b"weights", {})
    assert card_of(folder)["metrics"] == {"validation": {"n": 8}}
    assert (folder / "MODEL_CARD.md").read_text() == "as it was"


def described(folder: Path, info: dict[str, Any]) -> list[str]:
    data = read_dataset(folder)
    replace_rows(data, data.rows, info)
    return release.data_sources(folder, read_manifest(folder))


def test_a_data_folder_says_whose_images_it_holds(slices: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(slices, tmp_path / "data")
    records = read_manifest(folder)
    assert release.data_sources(folder, records) == [
        "Training data: the data folder states no source."
    ]
    assert described(folder, STATED) == ["Training data: Drawn; Nobody, 2026; CC0."]
    assert described(folder, {"name": "Drawn", "citation": "Nobody"}) == [
        "Training data: Drawn; Nobody; dataset.json states no licence."
    ]
    parts = [STATED, {**STATED, "name": "Other", "licence": "CC BY 4.0"}]
    # Images of a plain manifest, onto which others were imported, have no source.
    assert described(folder, {**STATED, "parts": parts}) == [
        "Training data: Drawn; Nobody, 2026; CC0.",
        "Training data: Other; Nobody, 2026; CC BY 4.0.",
        "Other training data: the data folder states no source.",
    ]


def test_the_collection_of_the_projects_own_networks_is_known(
    slices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = card_of(settings.BASE_DIR / "models" / "tumorsite-1")
    assert released["training"]["data_digest"] == release._BRISC_DIGEST
    records = read_manifest(slices)
    monkeypatch.setattr(release, "_BRISC_DIGEST", data_digest(records))
    lines = release.data_sources(slices, records)
    assert [*lines, release.IMAGENET] == released["attribution"]


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_each_delivered_card_is_made_from_its_model_json(version: int) -> None:
    model = settings.BASE_DIR / "models" / f"tumorsite-{version}"
    written = (model / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert written == model_card.text(card_of(model))


def test_a_card_says_how_its_intervals_were_made() -> None:
    card = card_of(settings.BASE_DIR / "models" / "tumorsite-1")
    words = "Wilson's with the number of groups instead"
    # Those of the first versions were written before, and their intervals are not of this kind.
    assert words not in model_card.text(card)
    card["metrics"]["validation"]["tumor_called_no_tumor"] |= {"share": 0, "ci95": [0, 0.0964]}
    text = model_card.text(card)
    assert words in text
    assert "0.0% (0.0–9.6)" in text


def test_what_a_network_goes_on_from_is_inherited(folder: Path) -> None:
    assert release.inherited(folder) == ["model: its card does not say what it was made from."]
    (folder / CARD_NAME).write_text(json.dumps(card_of(folder) | {"attribution": ["One.", "Two."]}))
    assert release.inherited(folder) == ["One.", "Two."]
    with pytest.raises(ModelError, match="no model in"):
        release.inherited(folder.parent)


def test_a_fold_that_was_learnt_from_is_not_held_out(slices: Path) -> None:
    records = read_manifest(slices)
    card: dict[str, Any] = {"name": "own", "version": "1", "training": {"data": {"fold": 1}}}
    release.check_unseen(card, records, 0)  # Other data: its folds have nothing to do with these.
    card["training"] = {"data": {"fold": 1}, "data_digest": data_digest(records)}
    release.check_unseen(card, records, 1)
    with pytest.raises(DataError, match="own 1 has learnt from fold 0 of this data: hold out"):
        release.check_unseen(card, records, 0)


def test_a_fold_that_was_drawn_anew_is_not_held_out(slices: Path) -> None:
    """`dataset split --redraw` leaves the digest of the data and the numbers of its folds."""
    records = read_manifest(slices)
    training = {"data": {"fold": 0}, "data_digest": data_digest(records)}
    card: dict[str, Any] = {"name": "own", "version": "1", "training": training}
    # The other slices of the fold were learnt from: the next eight are held out now.
    redrawn = [replace(own, fold=int(not 20 <= n < 28)) for n, own in enumerate(records)]
    release.check_unseen(card, redrawn, 0)  # An early card, which does not name its slices.
    with pytest.raises(DataError, match="its card does not say which slices that fold held then"):
        release.check_unseen(card, redrawn, 1)
    training["held_out_digest"] = data_digest(own for own in records if own.fold == 0)
    release.check_unseen(card, records, 0)
    with pytest.raises(DataError, match="own 1 has learnt from slices that are in fold 0 now"):
        release.check_unseen(card, redrawn, 0)
