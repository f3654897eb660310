"""What starts a training by itself: once for each state of data, recipe and code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from mltasks.data import DataError, read_manifest
from mltasks.datasets import importing, remote
from mltasks.datasets.form import read_dataset, replace_rows
from mltasks.datasets.tests.conftest import MADE, request
from tests.support.servers import S3
from training import data, services, tasks, triggers
from training.models import TrainingRun

pytestmark = pytest.mark.django_db
TINY = "[network]\nsize = 32\n[training]\nepochs = 1\npretrained = false\n"


@pytest.fixture
def store(s3_server: S3, settings: Settings, tmp_path: Path) -> remote.Place:
    """A prefix of its own on a real S3 server, and a recipe to train with."""
    place = {
        "bucket": s3_server.BUCKET,
        "prefix": tmp_path.name,
        "endpoint": s3_server.url,
        "region": "us-east-1",
        "key": s3_server.KEY,
        "secret": s3_server.SECRET,
    }
    (tmp_path / "tiny-1.toml").write_text(TINY)
    settings.DATASET_STORE, settings.DATA_DIR = place, tmp_path / "worker"
    settings.TRAINING_DATASET = "drawn"
    settings.TRAINING_RECIPE = str(tmp_path / "tiny-1.toml")
    settings.TRAINING_DATA = None
    return remote.Place(**place)


@pytest.fixture
def folder(slices: Path, tmp_path: Path) -> Path:
    importing.run(request(slices, tmp_path / "data", **MADE))
    return tmp_path / "data"


def change(folder: Path) -> None:
    """The data gets another digest: one slice fewer."""
    found = read_dataset(folder)
    replace_rows(found, found.rows[:-1], found.info)


def _imported(path: Path) -> Iterator[str]:
    """Names of `mltasks` that a file imports, at its head or later."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mltasks"):
            yield from (f"{node.module}.{one.name}" for one in node.names)
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name.startswith("mltasks"))


class TestCheck:
    def test_each_state_of_data_and_recipe_starts_one_run(
        self,
        store: remote.Place,
        folder: Path,
        settings: Settings,
        sent: list[Any],
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        first = remote.push(folder, store, name="drawn").digest
        with django_capture_on_commit_callbacks(execute=True):
            run = triggers.check()
        assert run is not None
        assert (run.dataset, run.recipe, run.automatic) == (first, "tiny-1", True)
        assert sent == [(str(run.pk),)]
        assert triggers.check() is None

        change(folder)
        second = remote.push(folder, store, name="drawn").digest
        again = triggers.check()
        assert again is not None
        assert again.dataset == second != first

        Path(settings.TRAINING_RECIPE).write_text(TINY + "# another\n")
        assert triggers.check() is not None
        assert triggers.check() is None

    def test_other_code_starts_one_only_if_that_is_asked_for(
        self,
        store: remote.Place,
        folder: Path,
        settings: Settings,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        remote.push(folder, store, name="drawn")
        settings.TRAINING_TRIGGER = "data"
        assert triggers.check() is not None
        monkeypatch.setattr(triggers, "training_code", lambda: "other code")
        assert triggers.check() is None
        settings.TRAINING_TRIGGER = "data-or-code"
        assert triggers.check() is not None

    def test_code_that_no_training_reaches_starts_none(self) -> None:
        """Whatever is named anywhere in a file that `mltasks.pipeline` leads to may be reached."""
        files = triggers.training_files()
        reached, ahead = set[str](), ["pipeline.py"]
        while ahead:
            name = ahead.pop()
            if name in reached or name not in files:
                continue
            reached.add(name)
            for module in _imported(files[name]):
                parts = module.split(".")[1:]
                for count in range(len(parts) + 1):
                    place = "/".join(parts[:count])
                    ahead += [f"{place}.py", f"{place}/__init__.py".lstrip("/")]
        assert reached == files.keys()

    def test_of_two_that_look_at_once_one_starts_it(
        self, store: remote.Place, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        remote.push(folder, store, name="drawn")
        rivals: list[TrainingRun | None] = []
        usual = TrainingRun.clean_fields

        def slow(run: TrainingRun, *arguments: Any) -> None:
            # Between the look and the row, another scheduler goes the whole way.
            monkeypatch.setattr(TrainingRun, "clean_fields", usual)
            rivals.append(triggers.check())

        monkeypatch.setattr(TrainingRun, "clean_fields", slow)
        assert triggers.check() is None
        assert [run.pk for run in rivals if run] == [TrainingRun.objects.get().pk]

    def test_a_message_that_was_never_sent_is_sent_by_the_sweeper(
        self,
        store: remote.Place,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        sent: list[Any],
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        remote.push(folder, store, name="drawn")
        # The process ends between commit and message: no callback is run.
        run = triggers.check()
        assert run is not None
        assert sent == []
        monkeypatch.setattr(services, "PATIENCE", services.PATIENCE * 0)
        with django_capture_on_commit_callbacks(execute=True):
            services.sweep()
        assert sent == [(str(run.pk),)]

    def test_says_what_is_missing(
        self, store: remote.Place, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(DataError, match="no data set called drawn was pushed"):
            triggers.check()
        tasks.look.run()
        assert "no data set called drawn was pushed" in caplog.text
        settings.TRAINING_RECIPE = "none"
        with pytest.raises(CommandError, match="there is no 'none' in recipes/"):
            call_command("training", "check")
        settings.TRAINING_DATASET = ""
        with pytest.raises(DataError, match="set TRAINING_DATASET and TRAINING_RECIPE"):
            triggers.check()
        assert not TrainingRun.objects.exists()

    def test_a_check_after_a_push_asks_at_once(
        self, store: remote.Place, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        call_command("dataset", "push", folder, name="drawn")
        call_command("training", "check")
        run = TrainingRun.objects.get()
        said = capsys.readouterr().out
        assert f"Training run {run.pk} waits" in said
        call_command("dataset", "push", folder, name="drawn")
        call_command("training", "check")
        assert "Nothing new" in capsys.readouterr().out
        call_command("training", "list")
        assert run.dataset[:12] in capsys.readouterr().out


class TestData:
    def obtain(self, run: TrainingRun) -> tuple[Path, list[str]]:
        settled: list[str] = []
        said: list[str] = []
        return data.obtain(run, report=said.append, save_digest=settled.append), settled

    def test_a_run_gets_the_data_of_its_digest(self, store: remote.Place, folder: Path) -> None:
        first = remote.push(folder, store, name="drawn").digest
        count = len(read_manifest(folder))
        change(folder)
        second = remote.push(folder, store, name="drawn").digest
        old, settled = self.obtain(TrainingRun(dataset=first))
        assert settled == []
        assert len(read_manifest(old)) == count
        # One that a person asked for gets what the name stands for now, and says so.
        new, settled = self.obtain(TrainingRun())
        assert (settled, len(read_manifest(new))) == ([second], count - 1)
        assert self.obtain(TrainingRun(dataset=first))[0] == old

    def test_old_data_is_removed_from_the_disk(
        self, store: remote.Place, folder: Path, settings: Settings
    ) -> None:
        digests = []
        for _ in range(data.KEPT + 1):
            digests.append(remote.push(folder, store, name="drawn").digest)
            self.obtain(TrainingRun(dataset=digests[-1]))
            change(folder)
        root = settings.DATA_DIR / "training" / "data"
        assert {one.name for one in root.iterdir() if one.is_dir()} == set(digests[1:])

    def test_what_was_never_fetched_to_its_end_is_removed(
        self, store: remote.Place, folder: Path, settings: Settings
    ) -> None:
        """A worker died over it; one that is at it still holds the lock."""
        root = settings.DATA_DIR / "training" / "data"
        for name in ("dead", "alive"):
            (root / f".{name}.pull" / "images").mkdir(parents=True)
        remote.push(folder, store, name="drawn")
        with data._alone(root / ".alive.lock"):
            self.obtain(TrainingRun())
        assert [one.name for one in root.glob(".*.pull")] == [".alive.pull"]
