"""What a card says of the slices learnt from is seen whatever became of the set since."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from mltasks import model_card, release, seen
from mltasks.data import DataError, Record, data_digest, read_manifest
from mltasks.datasets import splitting
from mltasks.evaluation.measuring import described
from mltasks.evaluation.reading import read_records
from mltasks.images import Limits


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
