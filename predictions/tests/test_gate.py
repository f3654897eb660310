"""The gate on real networks and slices, what it records, and whom it tells."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from PIL import Image, ImageOps
from pytest_django import Settings

from mltasks import evaluation, gate, seen
from mltasks.data import DataError
from mltasks.tests.conftest import write_data
from predictions import storage
from predictions.models import ModelVersion
from predictions.services import notifying, registry
from predictions.services.gate import HeldOut, compare, held_out
from predictions.services.registry import GateError, ReleaseError, production_model
from tests.support.mailbox import Mailbox, open_mailbox, text_of
from tests.support.networks import fitted, mixed_up, onnx_bytes, write_network
from tests.support.processes import free_port

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 drawn slices in fold 1, each a group, tumours as bright squares."""
    return write_data(tmp_path_factory.mktemp("slices") / "data", 44)


@pytest.fixture(scope="module")
def networks(slices: Path) -> dict[str, bytes]:
    """Those that know the slices, mix up the classes, or draw the whole skull as a tumour."""
    weights = fitted(slices)
    return {
        "good": onnx_bytes(weights),
        "poor": onnx_bytes(mixed_up(weights)),
        "sprawling": onnx_bytes(weights, bright=0.3),
    }


@pytest.fixture
def data(slices: Path) -> HeldOut:
    return held_out(slices, 1)


@pytest.fixture
def add(tmp_path: Path, networks: dict[str, bytes]) -> Callable[..., ModelVersion]:
    """Registers one of the networks."""

    def added(kind: str, version: str, *, promote: bool = False) -> ModelVersion:
        folder = write_network(tmp_path / f"model-{version}", networks[kind], version=version)
        row = registry.register(folder=folder)
        return registry.promote(version=row, override="a test") if promote else row

    return added


Add = Callable[..., ModelVersion]


def test_a_better_one_passes_and_may_be_promoted(data: HeldOut, add: Add) -> None:
    production, candidate = add("poor", "1", promote=True), add("good", "2")
    verdict = compare(candidate=candidate, data=data, actor="ada at a shell")
    assert verdict.passed
    assert (verdict.n, verdict.groups) == (36, 36)
    candidate.refresh_from_db()
    assert candidate.gate is not None
    assert candidate.gate["against_id"] == production.pk
    assert candidate.gate["fold"] == 1
    assert "accuracy on changed slices" in {row["name"] for row in candidate.gate["rows"]}
    event = candidate.events.first()
    assert event is not None
    assert (event.kind, event.actor) == ("passed", "ada at a shell")
    registry.promote(version=candidate)
    assert production_model() == candidate


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("poor", "sensitivity for meningioma may be worse"),
        ("sprawling", "median Dice of the area may be worse"),
        ("good", "not better anywhere"),
    ],
)
def test_a_worse_one_is_refused_with_the_reason(
    data: HeldOut, add: Add, kind: str, words: str, settings: Settings
) -> None:
    # Whoever would be told could not be reached, which would be logged: nobody is.
    settings.NOTIFY_URLS = [f"mailto://127.0.0.1:{free_port()}?from=a@b.example&to=c@d.example"]
    add("good", "1", promote=True)
    candidate = add(kind, "2") if kind != "good" else add("good", "2-the-same")
    verdict = compare(candidate=candidate, data=data)
    assert not verdict.passed
    assert words in " ".join(verdict.reasons)
    assert candidate.events.first().kind == "refused"  # type: ignore[union-attr]
    with pytest.raises(GateError, match=words):
        registry.promote(version=candidate)


def test_a_second_comparison_measures_nothing_again(
    data: HeldOut, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("poor", "1", promote=True)
    candidate = add("good", "2")
    first = compare(candidate=candidate, data=data)
    measured: list[Any] = []
    run = evaluation.run

    def counted(*args: Any, **kwargs: Any) -> evaluation.Results:
        measured.append(args)
        return run(*args, **kwargs)

    monkeypatch.setattr(evaluation, "run", counted)
    said: list[str] = []
    assert compare(candidate=candidate, data=data, say=said.append) == first
    assert said == ["tumorsite 2: measured before", "tumorsite 1: measured before"]
    # Results kept in vain, damaged ones and those of other code are no results.
    [name] = [
        name for name, _ in storage.walk(f"models/{candidate.artifact}/") if "/results/" in name
    ]
    storage.delete(name)
    storage.put(name, b"no results")
    assert compare(candidate=candidate, data=data) == first
    assert compare(candidate=candidate, data=data) == first
    assert len(measured) == 1, "and what was measured anew is kept in its place"
    monkeypatch.setattr("predictions.services.gate.code_digest", lambda: "f" * 64)
    assert compare(candidate=candidate, data=data) == first
    assert len(measured) == 3


def test_other_images_are_other_data_where_no_digest_is_stated(tmp_path: Path) -> None:
    """Else figures measured before would be taken for those of the changed image."""
    data = write_data(tmp_path / "data", 44)
    manifest = data / "manifest.csv"
    manifest.write_text(re.sub(r",\w{64}$", ",", manifest.read_text(), flags=re.MULTILINE))
    before = held_out(data, 1).digest
    assert held_out(data, 1).digest == before
    path = data / "images" / "slice0.jpg"
    with Image.open(path) as image:
        ImageOps.invert(image).save(path)
    assert held_out(data, 1).digest != before


def test_other_masks_are_other_data(slices: Path, tmp_path: Path) -> None:
    one = write_data(tmp_path / "copy", 44)
    assert held_out(one, 1).digest == held_out(slices, 1).digest
    mask = next((one / "masks").iterdir())
    Image.new("1", (128, 160)).save(mask)
    digests = {held_out(one, fold).digest for fold in (0, 1)}
    assert len(digests | {held_out(slices, fold).digest for fold in (0, 1)}) == 3
    mask.unlink()
    with pytest.raises(DataError, match=f"cannot read {mask}"):
        [held_out(one, fold) for fold in (0, 1)]
    with pytest.raises(DataError, match="has no slices in fold 7"):
        held_out(one, 7)


def test_another_baseline_decides_nothing(data: HeldOut, add: Add) -> None:
    candidate, other = add("good", "2"), add("poor", "3")
    with pytest.raises(
        ReleaseError, match="nothing is in production to compare with: start the site once"
    ):
        compare(candidate=candidate, data=data)
    assert compare(candidate=candidate, baseline=other, data=data).passed
    candidate.refresh_from_db()
    assert candidate.gate is None
    with pytest.raises(ReleaseError, match="with itself"):
        compare(candidate=candidate, baseline=candidate, data=data)


@pytest.mark.parametrize("learnt", ["1", "2"])
def test_what_one_of_them_has_learnt_from_is_no_measure(
    data: HeldOut, networks: dict[str, bytes], tmp_path: Path, learnt: str
) -> None:
    """Whichever of them it is, and whatever it would have scored, there is no verdict."""
    stated = {"data": {"fold": 0}, "data_digest": data.whole}
    cards: dict[str, dict[str, Any]] = {"1": {}, "2": {}, learnt: {"training": stated}}
    one, two = (
        registry.register(
            folder=write_network(
                tmp_path / version,
                networks[kind],
                version=version,
                **cards[version],
            )
        )
        for version, kind in (("1", "poor"), ("2", "good"))
    )
    registry.promote(version=one, override="the first")
    with pytest.raises(DataError, match=f"tumorsite {learnt} has learnt from fold 1 of this data"):
        compare(candidate=two, data=data)
    two.refresh_from_db()
    assert two.gate is None


def test_what_they_have_learnt_from_may_be_left_out(
    data: HeldOut, networks: dict[str, bytes], tmp_path: Path
) -> None:
    """Each of them has learnt from ten others."""
    cards = [
        {"learnt_prefixes": seen.learnt_prefixes(data.records[first : first + 10])}
        for first in (0, 10)
    ]
    production, candidate = (
        registry.register(
            folder=write_network(tmp_path / version, networks[kind], version=version, training=card)
        )
        for version, kind, card in zip("12", ("poor", "good"), cards, strict=True)
    )
    registry.promote(version=production, override="a test")
    with pytest.raises(DataError, match=r"learnt from 10 of these 36 slices, .*--leave-out-seen"):
        compare(candidate=candidate, data=data)
    said: list[str] = []
    verdict = compare(candidate=candidate, data=data, leave_out_seen=True, say=said.append)
    assert (verdict.n, verdict.groups) == (16, 16)
    assert said[0].startswith("20 of 36 slices have been learnt from and are left out; 16 remain")
    candidate.refresh_from_db()
    assert candidate.gate is not None
    assert candidate.gate["left_out"] == 20
    event = candidate.events.first()
    assert event is not None
    assert "Left out, as learnt from: 20 slices." in event.note
    # What was measured is kept under these slices, not under all of them.
    assert candidate.gate["data_digest"] != data.digest
    few = dataclasses.replace(data, records=data.records[:29])
    with pytest.raises(gate.GateError, match="9 groups; intervals need at least 10"):
        compare(candidate=candidate, data=few, leave_out_seen=True)


class TestCommand:
    def test_all_that_is_new_to_both_is_measured(
        self, slices: Path, add: Add, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Without a fold, and without folds."""
        folder = shutil.copytree(slices, tmp_path / "unsplit")
        text = (folder / "manifest.csv").read_text()
        text = re.sub(r",axial,[01],", ",axial,,", text)
        (folder / "manifest.csv").write_text(text)
        add("poor", "1", promote=True)
        add("good", "2")
        call_command("model", "compare", "2", data=folder, leave_out_seen=True)
        said = capsys.readouterr()
        assert said.out.startswith("44 slices in 44 groups")
        assert "0 of 44 slices have been learnt from" in said.err

    def test_it_prints_the_table_and_the_verdict(
        self, slices: Path, add: Add, capsys: pytest.CaptureFixture[str]
    ) -> None:
        add("poor", "1", promote=True)
        add("good", "2")
        call_command("model", "compare", "2", data=slices, fold=1)
        said = capsys.readouterr().out.splitlines()
        assert said[0] == "36 slices in 36 groups, at least 9 of each class"
        assert "PASSED" in said
        assert said.index("Not worse (95%)") < said.index("Better (99.2%)")
        [line] = [one for one in said if "share of brain scans accepted" in one]
        assert "no difference seen in 36 groups: up to 8.0% of such groups may differ" in line
        assert any("sensitivity for glioma" in line and "(>= -0.030: yes)" in line for line in said)

    def test_faults_are_named(self, slices: Path, tmp_path: Path, add: Add) -> None:
        add("poor", "1", promote=True)
        add("good", "2")
        for words, options in (
            ("no network is registered as '7'", {"name": "7", "data": slices}),
            ("cannot read .*manifest.csv", {"data": tmp_path}),
            ("no slices in fold 5", {"data": slices, "fold": 5}),
            ("8 groups; intervals need at least 10", {"data": slices, "fold": 0}),
            ("A margin is a share", {"data": slices, "margin": 3.0}),
        ):
            with pytest.raises(CommandError, match=words):
                call_command("model", "compare", options.pop("name", "2"), **options)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with open_mailbox() as box:
        yield box


class TestNotification:
    def test_data_scientists_get_a_mail(
        self, data: HeldOut, add: Add, settings: Settings, mailbox: Mailbox
    ) -> None:
        settings.NOTIFY_URLS = [mailbox.address]
        add("poor", "1", promote=True)
        candidate = add("good", "2")
        assert compare(candidate=candidate, data=data).passed
        [(receivers, mail)] = mailbox.mails
        assert receivers == ["ada@example.org"]
        assert mail["Subject"] == "TumorSite: tumorsite 2 has passed the gate"
        text = text_of(mail)
        assert "36 held-out slices in 36 groups" in text
        assert "The accuracy is better: 1.000 against 0.000." in text
        assert "manage.py model promote 2" in text

    def test_faults_stay_inside_and_name_nobody(
        self,
        data: HeldOut,
        add: Add,
        settings: Settings,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
        mailbox: Mailbox,
    ) -> None:
        settings.NOTIFY_URLS = [
            f"mailto://ada:hidden-word@127.0.0.1:{free_port()}?from=a@b.example&to=c@d.example",
            "nonsense://ada:hidden-word@nowhere.example",
            mailbox.address,
        ]
        add("poor", "1", promote=True)
        assert compare(candidate=add("good", "2"), data=data).passed
        assert len(mailbox.mails) == 1, "the others go on"
        said = caplog.text + "".join(capfd.readouterr())
        assert "a mailto address was not notified" in said
        assert "a nonsense address of NOTIFY_URLS is none that Apprise knows" in said
        assert "hidden-word" not in said
        assert "c@d.example" not in said

    def test_nobody_is_told_by_default(self, settings: Settings) -> None:
        assert settings.NOTIFY_URLS == []
        assert notifying.notify(title="a", body="b") == 0
