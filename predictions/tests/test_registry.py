"""From a model folder to the network in production: what is kept, refused and undone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from mltasks.artifact import sums_of
from mltasks.inference import ModelError
from predictions import storage
from predictions.models import ModelEvent, ModelVersion
from predictions.services import artifacts, registry, sweeping
from predictions.services.registry import GateError, NoModelError, ReleaseError, production_model
from predictions.tests.test_sweeping import make_old
from tests.support.networks import write_network
from tests.support.records import make_model

pytestmark = [pytest.mark.data_layer, pytest.mark.django_db]

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes model folders that are sound by their digests; nothing loads them here."""

    def made(version: str = "1", *, weights: bytes = b"weights", **changes: Any) -> Path:
        folder = tmp_path / f"model-{version}-{len(list(tmp_path.iterdir()))}"
        return write_network(folder, weights, version=version, **changes)

    return made


def stored() -> set[str]:
    return {name for name, _ in storage.walk("models/")}


def passed(candidate: ModelVersion, against: ModelVersion, *, verdict: bool = True) -> None:
    """The record of a verdict, as the gate leaves it."""
    candidate.gate = {
        "passed": verdict,
        "against": str(against),
        "against_id": against.pk,
        "reasons": ["The sensitivity for glioma may be worse."],
    }
    candidate.save()


def kinds(version: ModelVersion) -> list[str]:
    return list(version.events.order_by("id").values_list("kind", flat=True))


class TestRegister:
    def test_every_file_is_stored_under_the_digest(self, object_store: str, make: Make) -> None:
        version = registry.register(folder=make("3"), actor="ada at a shell")
        assert (str(version), version.stage) == ("tumorsite 3", "candidate")
        assert stored() == {
            f"models/{version.artifact}/{name}"
            for name in (
                "SHA256SUMS",
                "model.json",
                "model.onnx",
                "reference.npz",
                "MODEL_CARD.md",
                "report/index.html",
            )
        }
        [event] = version.events.all()
        assert (event.kind, event.actor) == ("registered", "ada at a shell")

    def test_the_same_again_changes_nothing(self, make: Make) -> None:
        folder = make()
        one = registry.register(folder=folder)
        before = dict(storage.walk("models/"))
        assert registry.register(folder=folder) == one
        assert dict(storage.walk("models/")) == before
        assert kinds(one) == ["registered"]

    def test_of_two_processes_at_once_the_second_takes_the_firsts_row(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def slow(name: str, version: str, artifact: str) -> str:
            make_model(version, stage="candidate", artifact=artifact)
            return version

        monkeypatch.setattr(registry, "_free_version", slow)
        version = registry.register(folder=make())
        assert ModelVersion.objects.get() == version

    def test_the_same_weights_with_another_card_are_another_network(self, make: Make) -> None:
        one = registry.register(folder=make())
        two = registry.register(folder=make(temperature=2.0))
        assert one.digest == two.digest
        assert one.artifact != two.artifact
        # Two networks must not go by one name.
        assert str(two) == f"tumorsite 1+{two.artifact[:6]}"

    def test_what_an_upload_that_ended_early_left_is_used(
        self, object_store: str, make: Make
    ) -> None:
        folder = make()
        sums = sums_of(folder)
        storage.put(artifacts.key(sums.digest, "model.onnx"), b"weights")
        storage.put(artifacts.key(sums.digest, "model.json"), b"half of something")
        version = registry.register(folder=folder)
        artifacts.check(version.artifact)

    def test_a_damaged_folder_is_refused_and_leaves_nothing(self, make: Make) -> None:
        folder = make()
        (folder / "model.onnx").write_bytes(b"weightz")
        with pytest.raises(ModelError, match=r"model\.onnx is damaged"):
            registry.register(folder=folder)
        assert stored() == set()
        assert not ModelVersion.objects.exists()

    def test_a_newer_format_says_what_to_do(self, make: Make) -> None:
        with pytest.raises(ModelError, match=r"model\.json .* newer .* upgrade TumorSite"):
            registry.register(folder=make(format=99))

    def test_a_link_to_elsewhere_is_refused(self, make: Make, tmp_path: Path) -> None:
        folder = make()
        (folder / "notes.txt").symlink_to("/etc/hostname")
        with pytest.raises(ModelError, match=r"notes\.txt is a link"):
            registry.register(folder=folder)

    def test_a_store_that_is_away_leaves_no_row(
        self, make: Make, settings: Settings, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("in the way")
        settings.STORAGES = {
            **settings.STORAGES,
            "scans": {
                "BACKEND": "predictions.storage.ImmutableFileStorage",
                "OPTIONS": {"location": tmp_path / "file"},
            },
        }
        with pytest.raises(storage.StorageUnavailableError):
            registry.register(folder=make())
        assert not ModelVersion.objects.exists()

    def test_restoring_mends_a_flipped_bit(self, object_store: str, make: Make) -> None:
        folder = make()
        version = registry.register(folder=folder)
        spoil(version)
        with pytest.raises(ModelError, match=r"models/.*/model\.onnx in the object store is dam"):
            artifacts.check(version.artifact)
        assert registry.restore(folder=folder) == version
        artifacts.check(version.artifact)


def spoil(version: ModelVersion) -> None:
    name = artifacts.key(version.artifact, "model.onnx")
    content = bytearray(storage.get(name))
    content[0] ^= 1
    storage.delete(name)
    storage.put(name, bytes(content))


class TestFetch:
    def test_a_copy_is_whole_and_checked(self, object_store: str, make: Make) -> None:
        folder = make()
        version = registry.register(folder=folder)
        copy = artifacts.local(version.artifact)
        assert (copy / "report" / "index.html").read_text() == "<p>As measured.</p>"
        assert not (copy / "checkpoints").exists()
        assert sums_of(copy) == sums_of(folder)
        # The second time, the store is not asked.
        storage.delete_prefix("models/")
        assert artifacts.local(version.artifact) == copy

    def test_what_was_not_used_for_long_leaves_the_disk(self, make: Make) -> None:
        answering, shadow, old, recent = (
            registry.register(folder=make(version)) for version in ("1", "2", "3", "4")
        )
        registry.promote(version=answering, override="the first")
        ModelVersion.objects.filter(pk=shadow.pk).update(shadow=True)
        copies = {one: artifacts.local(one.artifact) for one in (answering, shadow, old, recent)}
        draft = copies[old].with_name(".draft-of-a-killed-worker")
        draft.mkdir()
        long_ago = time.time() - artifacts.UNUSED.total_seconds() - 60
        for folder in (copies[answering], copies[shadow], copies[old], draft):
            os.utime(folder, (long_ago, long_ago))
        artifacts.local(recent.artifact)
        left = {copies[one] for one in (answering, shadow, recent)}
        assert set(copies[old].parent.iterdir()) == left
        assert artifacts.local(old.artifact) == copies[old], "fetched anew"

    def test_one_that_another_worker_clears_away_meanwhile_is_fetched_anew(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        version = registry.register(folder=make())
        copy, utime = artifacts.local(version.artifact), os.utime

        def gone(folder: Path) -> None:
            shutil.rmtree(folder)
            utime(folder)

        monkeypatch.setattr(artifacts.os, "utime", gone)
        assert artifacts.local(version.artifact) == copy
        assert (copy / "model.onnx").is_file()

    def test_a_flipped_bit_on_disk_is_named(self, make: Make) -> None:
        version = registry.register(folder=make())
        copy = artifacts.local(version.artifact)
        (copy / "model.onnx").write_bytes(b"wejghts")
        with pytest.raises(ModelError, match=rf"{copy}/model\.onnx is damaged.*remove the folder"):
            artifacts.local(version.artifact)
        shutil.rmtree(copy)
        artifacts.local(version.artifact)

    def test_a_flipped_bit_in_the_store_leaves_no_folder(
        self, object_store: str, make: Make, tmp_path: Path
    ) -> None:
        version = registry.register(folder=make())
        spoil(version)
        with pytest.raises(ModelError, match=r"manage\.py model register FOLDER"):
            artifacts.fetch(artifact=version.artifact, target=tmp_path / "out" / "copy")
        assert list((tmp_path / "out").iterdir()) == []

    def test_a_lost_object_is_named(self, object_store: str, make: Make, tmp_path: Path) -> None:
        version = registry.register(folder=make())
        storage.delete(artifacts.key(version.artifact, "model.json"))
        with pytest.raises(ModelError, match=r"model\.json is missing from the object store"):
            artifacts.fetch(artifact=version.artifact, target=tmp_path / "copy")

    def test_the_list_cannot_lead_out_of_the_folder(self, tmp_path: Path) -> None:
        from mltasks.artifact import SUMS_NAME, Sums

        sums = Sums({"../escaped": "0" * 64})
        storage.put(artifacts.key(sums.digest, SUMS_NAME), sums.text)
        with pytest.raises(ModelError, match="outside the model folder"):
            artifacts.fetch(artifact=sums.digest, target=tmp_path / "copy")


def test_without_tables_the_way_is_named(tmp_path: Path) -> None:
    """As in a fresh checkout where the site has never run."""
    done = subprocess.run(
        [sys.executable, "manage.py", "model", "list"],
        cwd=settings.BASE_DIR,
        env=os.environ
        | {
            "DATA_DIR": str(tmp_path),
            "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
            "DJANGO_SETTINGS_MODULE": "tumorsite.settings",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    said = done.stderr.strip().splitlines()[-1]
    assert said == (
        "CommandError: the database is not set up: python manage.py migrate (make run does it)"
    )
    assert "Traceback" not in done.stderr


class TestPromote:
    def test_the_first_is_compared_with_nothing_so_a_person_answers_for_it(
        self, make: Make
    ) -> None:
        version = registry.register(folder=make())
        with pytest.raises(GateError, match="nothing is in production to compare with: start the"):
            registry.promote(version=version, actor="ada at a shell")
        with pytest.raises(NoModelError):
            production_model()
        registry.promote(version=version, actor="ada at a shell", override="a test")
        assert production_model() == version
        assert kinds(version) == ["registered", "overridden"]

    def test_the_network_of_the_code_needs_no_gate(self, make: Make) -> None:
        version, answering = registry.follow_bundle(folder=make())
        assert version == answering == production_model()

    def test_one_that_was_not_compared_is_refused(self, make: Make) -> None:
        registry.promote(version=registry.register(folder=make("1")), override="the first")
        two = registry.register(folder=make("2"))
        with pytest.raises(GateError, match="tumorsite 2 has not been compared with tumorsite 1"):
            registry.promote(version=two)
        assert str(production_model()) == "tumorsite 1"

    def test_one_that_was_refused_says_why(self, make: Make) -> None:
        one = registry.promote(version=registry.register(folder=make("1")), override="the first")
        two = registry.register(folder=make("2"))
        passed(two, one, verdict=False)
        with pytest.raises(GateError, match="sensitivity for glioma may be worse"):
            registry.promote(version=two)

    def test_a_verdict_against_another_network_does_not_count(self, make: Make) -> None:
        one = registry.promote(version=registry.register(folder=make("1")), override="the first")
        two, three = (registry.register(folder=make(version)) for version in "23")
        passed(two, one)
        passed(three, one)
        registry.promote(version=two)
        with pytest.raises(GateError, match="was compared with tumorsite 1, but tumorsite 2"):
            registry.promote(version=three)

    def test_an_override_is_written_down(self, make: Make, django_user_model: Any) -> None:
        root = django_user_model.objects.create_superuser("root@example.org", "a long password")
        registry.promote(version=registry.register(folder=make("1")), override="the first")
        two = registry.register(folder=make("2"))
        registry.promote(version=two, by=root, override="the clinic asked for it")
        two.refresh_from_db()
        assert two.promoted_by == root
        assert two.promoted_at is not None
        assert two.note.startswith("the clinic asked for it (Against the gate: tumorsite 2 has not")
        event = two.events.first()
        assert event is not None
        assert (event.kind, event.by, event.note) == ("overridden", root, two.note)

    def test_blanks_are_no_reason(self, make: Make) -> None:
        registry.promote(version=registry.register(folder=make("1")), override="the first")
        two = registry.register(folder=make("2"))
        with pytest.raises(GateError, match="has not been compared"):
            registry.promote(version=two, override=" \n")
        assert str(production_model()) == "tumorsite 1"

    def test_damaged_files_are_not_released(self, object_store: str, make: Make) -> None:
        version = registry.register(folder=make())
        spoil(version)
        with pytest.raises(ModelError, match="damaged"):
            registry.promote(version=version)
        with pytest.raises(NoModelError):
            production_model()

    def test_one_in_production_or_without_files_is_refused(self, make: Make) -> None:
        version = registry.promote(version=registry.register(folder=make()), override="the first")
        with pytest.raises(ReleaseError, match="in production already"):
            registry.promote(version=version)
        with pytest.raises(ModelError, match="missing from the object store"):
            registry.promote(version=make_model("old", stage="retired"))

    def test_rollback_goes_back_one_release_each_time(self, make: Make) -> None:
        versions = [registry.register(folder=make(version)) for version in "123"]
        for version in versions:
            registry.promote(version=version, override="a test")
        assert registry.rollback(note="it was worse") == versions[1]
        assert production_model() == versions[1]
        assert kinds(versions[2])[-1] == "retired"
        assert kinds(versions[1])[-1] == "rolled_back"
        assert registry.rollback() == versions[0]
        with pytest.raises(ReleaseError, match="nothing to go back to"):
            registry.rollback()
        assert production_model() == versions[0]

    def test_a_release_in_between_ends_a_rollback(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While the files of the one before are read, which takes a while."""
        one, two, three = (registry.register(folder=make(version)) for version in "123")
        for version in (one, two):
            registry.promote(version=version, override="a test")
        check = artifacts.check

        def meanwhile(artifact: str) -> None:
            monkeypatch.setattr(artifacts, "check", check)
            registry.promote(version=three, override="a test")

        monkeypatch.setattr(artifacts, "check", meanwhile)
        with pytest.raises(ReleaseError, match="put into production meanwhile"):
            registry.rollback()
        assert production_model() == three
        assert kinds(one) == ["registered", "overridden", "retired"]

    def test_rollback_passes_a_network_that_was_released_twice_and_ends(self, make: Make) -> None:
        one, two, three = (registry.register(folder=make(version)) for version in "123")
        for version in (one, two, one, three):
            registry.promote(version=version, override="a test")
        assert [registry.rollback() for _ in range(3)] == [one, two, one]
        with pytest.raises(ReleaseError, match="nothing to go back to"):
            registry.rollback()
        registry.promote(version=three, override="a test")
        assert registry.rollback() == one, "what was rolled back is not gone back to"
        with pytest.raises(ReleaseError, match="nothing to go back to"):
            registry.rollback()

    def test_what_was_in_production_before_events_is_gone_back_to(self, make: Make) -> None:
        first, second, third = (registry.register(folder=make(version)) for version in "123")
        registry.promote(version=first, override="a test")
        ModelEvent.objects.all().delete()
        for version in (second, third):
            registry.promote(version=version, override="a test")
        assert [registry.rollback() for _ in range(2)] == [second, first]
        with pytest.raises(ReleaseError, match="nothing to go back to"):
            registry.rollback()

    def test_without_a_network_there_is_nothing_to_roll_back(self) -> None:
        with pytest.raises(ReleaseError, match="no network is in production"):
            registry.rollback()


class TestBundle:
    """What each start of the site does with the network that came with the code."""

    def test_the_first_goes_into_production(self, make: Make) -> None:
        version, production = registry.follow_bundle(folder=make())
        assert version == production == production_model()
        assert kinds(version) == ["registered", "bundled"]

    def test_a_start_without_changes_changes_nothing(self, make: Make) -> None:
        folder = make()
        registry.follow_bundle(folder=folder)
        before = ModelVersion.objects.values().get(), ModelEvent.objects.count()
        registry.follow_bundle(folder=folder)
        assert (ModelVersion.objects.values().get(), ModelEvent.objects.count()) == before

    def test_a_site_that_never_chose_goes_with_the_code(self, make: Make) -> None:
        registry.follow_bundle(folder=make("1"))
        registry.follow_bundle(folder=make("2"))
        assert str(production_model()) == "tumorsite 2"

    def test_or_stays_if_it_is_told_to(self, make: Make, settings: Settings) -> None:
        settings.BUNDLED_MODEL = "first"
        registry.follow_bundle(folder=make("1"))
        version, production = registry.follow_bundle(folder=make("2"))
        assert (version.stage, str(production)) == ("candidate", "tumorsite 1")

    def test_what_somebody_has_chosen_stays(self, make: Make) -> None:
        registry.follow_bundle(folder=make("1"))
        own = registry.register(folder=make("own"))
        registry.promote(version=own, override="ours")
        version, production = registry.follow_bundle(folder=make("2"))
        assert (version.stage, production) == ("candidate", own)

    def test_what_somebody_rolled_back_to_stays(self, make: Make) -> None:
        registry.follow_bundle(folder=make("1"))
        newer = make("2")
        registry.follow_bundle(folder=newer)
        registry.rollback()
        registry.follow_bundle(folder=newer)
        assert str(production_model()) == "tumorsite 1"

    def test_one_whose_files_are_nowhere_is_replaced(self, make: Make, model: ModelVersion) -> None:
        registry.follow_bundle(folder=make("2"))
        assert str(production_model()) == "tumorsite 2"
        model.refresh_from_db()
        assert model.stage == "retired"


class TestOrphans:
    def test_what_no_row_names_is_removed_once_it_is_old(
        self, object_store: str, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        version = registry.register(folder=make("1"))
        left = make("2")
        artifacts.upload(folder=left, sums=sums_of(left), anew=True)
        kept = {name for name in stored() if version.artifact in name}
        assert sweeping.check_orphans() == {"removed": 0, "lost": 0}
        monkeypatch.setattr(sweeping, "MODEL_ORPHAN_AGE", timedelta(seconds=-5))
        assert sweeping.check_orphans() == {"removed": 6, "lost": 0}
        assert stored() == kept

    def test_what_a_new_upload_goes_on_with_is_young(self, make: Make) -> None:
        """Its row comes last, and the check may run between the two."""
        used, left = make("1"), make("2")
        for folder in (used, left):
            artifacts.upload(folder=folder, sums=sums_of(folder), anew=True)
        make_old(days=2)
        artifacts.upload(folder=used, sums=sums_of(used), anew=True)
        assert sweeping.check_orphans() == {"removed": 6, "lost": 0}
        assert artifacts.is_complete(sums_of(used))

    def test_a_network_registered_during_the_check_is_not_missed(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(artifacts, "stored", lambda: iter(()))
        registry.register(folder=make())
        assert sweeping.check_orphans() == {"removed": 0, "lost": 0}

    def test_a_network_that_lost_its_files_is_counted(
        self, object_store: str, make: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        version = registry.register(folder=make())
        artifacts.remove(version.artifact)
        assert sweeping.check_orphans() == {"removed": 0, "lost": 1}
        assert "the files of network tumorsite 1 are gone" in caplog.text


def test_code_from_before_this_can_still_write_rows() -> None:
    """An older web process beside the new database: it names none of the new columns."""
    names = "name, version, digest, stage, card, created_at"
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO predictions_modelversion ({names}) "  # noqa: S608  # no outside text
            "VALUES ('tumorsite', '1', 'abc', 'candidate', '{}', '2026-01-01 00:00:00+00:00')"
        )
    version = ModelVersion.objects.get()
    assert (version.artifact, version.note, version.gate) == ("", "", None)


class TestCommand:
    @pytest.fixture
    def run(self, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
        def ran(*words: str | Path) -> str:
            call_command("model", *map(str, words))
            return capsys.readouterr().out

        return ran

    @pytest.fixture
    def one(self, make: Make) -> ModelVersion:
        return registry.promote(version=registry.register(folder=make("1")), override="the first")

    def test_list(self, run: Callable[..., str], one: ModelVersion, make: Make) -> None:
        metrics = {"validation": {"accuracy": {"value": 0.987}, "dice": {"median": {"value": 0.9}}}}
        two = registry.register(folder=make("2", metrics=metrics))
        passed(two, one)
        lines = run("list").splitlines()
        assert lines[1].split() == [
            two.artifact[:12], "tumorsite", "2", "candidate", "0.987", "0.900",
            "passed", "against", "tumorsite", "1",
        ]  # fmt: skip
        assert lines[2].split()[3:] == ["production", "–", "–", "not", "compared"]

    def test_promote_and_rollback(
        self, run: Callable[..., str], one: ModelVersion, make: Make
    ) -> None:
        two = registry.register(folder=make("2"))
        with pytest.raises(CommandError, match=r"(?s)has not been compared.*--override"):
            run("promote", "2")
        assert "In production: tumorsite 2" in run("promote", "2", "--override", "a test")
        event = two.events.first()
        assert event is not None
        assert event.actor.endswith("at a shell")
        assert "Back in production: tumorsite 1" in run("rollback", "--reason", "worse")
        with pytest.raises(CommandError, match="nothing to go back to"):
            run("rollback")

    def test_pull(self, run: Callable[..., str], one: ModelVersion, tmp_path: Path) -> None:
        target = tmp_path / "pulled"
        run("pull", "--output", target)
        assert (target / "model.onnx").read_bytes() == b"weights"
        with pytest.raises(CommandError, match="exists already"):
            run("pull", "1", "--output", target)

    def test_pull_for_keras_says_what_is_no_network(
        self, run: Callable[..., str], one: ModelVersion, tmp_path: Path
    ) -> None:
        with pytest.raises(CommandError, match="not an ONNX file"):
            run("pull", "--output", tmp_path / "pulled", "--keras")
        assert not list((tmp_path / "pulled").glob("*.keras"))

    def test_one_that_cannot_run_is_no_candidate(self, run: Callable[..., str], make: Make) -> None:
        with pytest.raises(CommandError, match="ONNX Runtime cannot load the model"):
            run("register", make("2"))
        assert not ModelVersion.objects.exists()

    def test_one_without_a_card_is_no_candidate(
        self, run: Callable[..., str], tmp_path: Path
    ) -> None:
        """As after `calibrate`: no figure would say how it errs."""
        shipped = settings.BASE_DIR / "models" / "tumorsite-5"
        left = shutil.ignore_patterns("MODEL_CARD.md")
        folder = shutil.copytree(shipped, tmp_path / "model", ignore=left)
        with pytest.raises(CommandError, match=r"has no MODEL_CARD\.md.*evaluate --card"):
            run("register", folder)
        assert not ModelVersion.objects.exists()
        shutil.copy(shipped / "MODEL_CARD.md", folder)
        assert "Registered: tumorsite 5" in run("register", folder)

    def test_bundled(
        self, run: Callable[..., str], make: Make, settings: Settings, one: ModelVersion
    ) -> None:
        settings.MODEL_DIR = make("2")
        assert "tumorsite 2 came with the code and is a candidate" in run("bundled")
        settings.MODEL_DIR = settings.MODEL_DIR / "none"
        with pytest.raises(CommandError, match="no model in"):
            run("bundled")

    def test_which_one_is_meant(self, one: ModelVersion, make: Make) -> None:
        assert registry.find("1") == one
        assert registry.find("tumorsite-1") == one
        assert registry.find(one.artifact[:8]) == one
        for text, words in (("9", "no network is registered"), (one.artifact[:3], "no network")):
            with pytest.raises(ReleaseError, match=words):
                registry.find(text)
        ModelVersion.objects.create(name="tumorsite", version="1", digest="d" * 64)
        with pytest.raises(ReleaseError, match="means several networks"):
            registry.find("1")
