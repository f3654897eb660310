"""What a card says of the slices learnt from is seen whatever became of the set since."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from PIL import Image

from mltasks import model_card, release, seen
from mltasks.data import DataError, Record, data_digest, read_manifest, read_records
from mltasks.datasets import importing, splitting
from mltasks.datasets.tests.conftest import MADE, request as wanted, tumour, write_brisc
from mltasks.evaluation.measuring import described
from mltasks.images import Limits

# Of BRISC 2025, as the project's networks were given it.
LEARNT = {
    "glioma": "test_00011_gl_ax_t1 train_00261_gl_ax_t1 train_00650_gl_co_t1",
    "meningioma": "test_00255_me_ax_t1 train_01364_me_ax_t1 train_01887_me_co_t1",
    "no_tumor": "test_00562_no_ax_t1 train_02733_no_ax_t1 train_03138_no_co_t1",
    "pituitary": "test_00701_pi_ax_t1 train_03757_pi_ax_t1 train_04381_pi_co_t1",
}
HELD_OUT = {
    "glioma": "test_00100_gl_co_t1 train_00460_gl_co_t1 train_00826_gl_sa_t1",
    "meningioma": "test_00259_me_ax_t1 train_01623_me_co_t1 train_02052_me_sa_t1",
    "no_tumor": "test_00561_no_ax_t1 train_02731_no_ax_t1 train_03119_no_co_t1",
    "pituitary": "test_00741_pi_ax_t1 train_03733_pi_ax_t1 train_04299_pi_co_t1",
}


@pytest.fixture
def records(slices: Path) -> list[Record]:
    return read_manifest(slices)


def card_of(
    records: list[Record], start: dict[str, Any] | None = None, fold: int = 0
) -> dict[str, Any]:
    """A card as training writes it."""
    held_out = [own for own in records if own.fold == fold]
    training = {
        "data": {"fold": fold},
        "data_digest": data_digest(records),
        "held_out_digest": data_digest(held_out),
        **seen.for_card([own for own in records if own.fold != fold], start),
    }
    return {"name": "own", "version": "1", "training": training}


def learnt(card: dict[str, Any], folder: Path, fold: int) -> bool:
    """Whether a report would warn."""
    return bool(described(card, folder, read_records(folder, fold), fold)["learnt"])


def test_a_split_drawn_anew_is_seen_through(slices: Path, tmp_path: Path) -> None:
    """It gives groups other names, so that the digest of the set is another one, too."""
    folder = shutil.copytree(slices, tmp_path / "slices")
    card = card_of(read_manifest(folder))
    splitting.split(splitting.Request(folder, Limits(2**20, 10**6), folds=2, redraw=True))
    redrawn = read_manifest(folder)
    assert data_digest(redrawn) != card["training"]["data_digest"]
    for fold in (0, 1):
        with pytest.raises(DataError, match=r"own 1 has learnt from \d+ of these \d+ slices, such"):
            release.check_unseen(card, redrawn, fold)
        assert learnt(card, folder, fold)


def test_rows_that_come_and_go_do_not_matter(slices: Path, records: list[Record]) -> None:
    card = card_of(records)
    release.check_unseen(card, records, 0)
    release.check_unseen(card, records[1:], 0)
    with pytest.raises(DataError, match="has learnt from 35 of these 35 slices, such as slice1:"):
        release.check_unseen(card, records[1:], 1)
    assert not learnt(card, slices, 0)
    assert learnt(card, slices, 1)


def test_what_a_network_started_from_has_seen_it_has_seen(
    slices: Path, records: list[Record]
) -> None:
    elsewhere = [replace(own, sha256=own.sha256[::-1]) for own in records]
    card = card_of(elsewhere, start=card_of(elsewhere, start=card_of(records)))
    count = len({own.sha256 for own in records if own.fold})
    assert len(card["training"]["learnt_prefixes"]) == 2 * 10 * count
    with pytest.raises(DataError, match="has learnt from"):
        release.check_unseen(card, records, 1)
    release.check_unseen(card, records, 0)


def test_a_network_started_from_names_its_set_if_not_its_slices(records: list[Record]) -> None:
    """As cards of the first versions do."""
    early = card_of(records)
    del early["training"]["learnt_prefixes"], early["training"]["held_out_digest"]
    elsewhere = [replace(own, sha256=own.sha256[::-1]) for own in records]
    card = card_of(elsewhere, start=card_of(elsewhere, start=early))
    release.check_unseen(card, records, 0)
    with pytest.raises(DataError, match="has learnt from fold 1 of this data: hold out fold 0"):
        release.check_unseen(card, records, 1)


def test_a_model_card_states_no_figures_of_slices_known_by_inheritance(
    slices: Path, records: list[Record]
) -> None:
    card = card_of(records, start=card_of(records, fold=1))
    held_out = read_records(slices, 0)
    with pytest.raises(DataError, match="started from, has learnt from some of these"):
        model_card.check(card, described(card, slices, held_out, 0))
    card = card_of(records)
    model_card.check(card, described(card, slices, held_out, 0))


def test_slices_are_named_in_short(records: list[Record]) -> None:
    some = [records[2], records[1], replace(records[3], sha256=""), records[2]]
    expected = sorted(own.sha256[:10] for own in records[1:3])
    assert seen.learnt_prefixes(some) == "".join(expected)


def test_people_are_shown_a_count(records: list[Record]) -> None:
    card = card_of(records)
    shown = seen.abridged(card)
    assert shown["training"]["learnt_prefixes"] == "of 36 files"
    assert len(card["training"]["learnt_prefixes"]) == 360
    early = json.loads((settings.BASE_DIR / "models" / "tumorsite-4" / "model.json").read_text())
    assert seen.abridged(early) == early
    # The whole card is given to the page that people read.
    early["training"] |= card["training"]
    assert card["training"]["learnt_prefixes"] not in model_card.text(early)


def converted(download: Path, to: Path) -> Path:
    """The same collection as other files: pictures of twice the size."""
    for path in sorted(download.rglob("*.[jp]*g")):
        target = to / path.relative_to(download)
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.resize((192, 192)).save(target)
    return to


@pytest.fixture
def collection(tmp_path: Path) -> tuple[Path, list[Record]]:
    """BRISC as it was given to training, the half of it in fold 0, and as it is downloaded."""
    download = write_brisc(tmp_path / "given", 2, lambda number, label: tumour(number))
    importing.run(wanted(download, tmp_path / "set"))
    records = read_records(tmp_path / "set", None)
    assert len(records) == 48
    given = [replace(own, fold=number % 2, source="") for number, own in enumerate(records)]
    return converted(download, tmp_path / "brisc2025"), given


@pytest.mark.parametrize("layout", ["brisc", "classes", "onto"])
def test_converted_files_are_known_by_their_names(
    collection: tuple[Path, list[Record]], tmp_path: Path, layout: str
) -> None:
    download, given = collection
    card, data = card_of(given), tmp_path / "data"
    more: dict[str, object] = {}
    if layout == "classes":
        download, more = download / "classification_task", {"layout": "classes", **MADE}
    if layout == "onto":
        more = {"onto": tmp_path / "set"}
    importing.run(wanted(download, data, **more))
    files = {own.sha256 for own in given}
    new = [own for own in read_records(data, None) if own.sha256 not in files]
    assert len(new) == 48
    why = seen.why_seen(card, new, fold=None, whole="")
    assert "has learnt from 24 of these 48 slices, by their names: the files are others" in why
    assert "--leave-out-seen" in why
    rest = seen.unseen([card], new, whole="")
    held_out = {own.id for own in given if own.fold == 0}
    assert len(rest) == 24
    assert all(any(own.id.endswith(name) for name in held_out) for own in rest)
    assert seen.why_seen(card, rest, fold=None, whole="") == ""
    words = seen.left_out(new, rest)
    assert words.startswith("24 of 48 slices have been learnt from and are left out; 24 remain, in")
    with pytest.raises(DataError, match="none of these 24 slices would be left"):
        seen.unseen([card, card_of(given, fold=1)], rest, whole="")


def test_names_that_any_collection_has_say_nothing(records: list[Record]) -> None:
    names = (
        "1",
        "glioma_12",
        "training_glioma_img_0003",
        "yes_y12",
        "no_tumor_slice_7",
        "tr-gl_10",
    )
    learnt = [replace(records[1], id=name, fold=1) for name in names]
    card = card_of([*records, *learnt])
    others = [replace(own, sha256=own.sha256[::-1]) for own in learnt]
    assert card["training"]["learnt_names"] == ""
    assert seen.why_seen(card, others, fold=None, whole="") == ""


def test_a_name_or_two_may_be_chance(records: list[Record]) -> None:
    def called(name: str, count: int, first: int = 0) -> list[Record]:
        numbers = range(first, first + count)
        return [replace(records[0], id=f"{name}_{n}", sha256=f"{n}{name}", fold=1) for n in numbers]

    card = card_of([*records, *called("charite", 300)])
    for known, others, told in ((9, 91, False), (10, 90, True), (10, 200, False), (2, 2, True)):
        slices = [
            *(replace(own, sha256=own.sha256[::-1]) for own in called("charite", known)),
            *called("elsewhere", others),
        ]
        assert bool(seen.why_seen(card, slices, fold=None, whole="")) is told
    # Another label makes it another slice.
    other = [replace(own, label="no_tumor", sha256="") for own in called("charite", 300)]
    assert seen.why_seen(card, other, fold=None, whole="") == ""


def test_slices_of_a_fold_held_out_by_an_early_card_are_left(records: list[Record]) -> None:
    early = card_of(records)
    del early["training"]["learnt_prefixes"], early["training"]["learnt_names"]
    whole = data_digest(records)
    rest = seen.unseen([early], records, whole=whole)
    assert rest == [own for own in records if own.fold == 0]
    assert seen.why_seen(early, rest, fold=None, whole=whole) == ""
    early["training"]["held_out_digest"] = "another"
    with pytest.raises(DataError, match="own 1 has learnt from slices that are in fold 0 now"):
        seen.unseen([early], records, whole=whole)


def test_the_released_network_knows_its_collection_by_name() -> None:
    path = settings.BASE_DIR / "models" / "tumorsite-5" / "model.json"
    card = json.loads(path.read_text())
    blank = Record("", "", "", -1, "", has_mask=False, sha256="")
    learnt, held_out = (
        [
            replace(blank, id=f"brisc2025_{name}", label=label)
            for label, names in stated.items()
            for name in names.split()
        ]
        for stated in (LEARNT, HELD_OUT)
    )
    why = seen.why_seen(card, [*learnt, *held_out], fold=None, whole="")
    assert f"has learnt from {len(learnt)} of these {len(learnt + held_out)} slices, by" in why
    assert seen.unseen([card], [*learnt, *held_out], whole="") == held_out
