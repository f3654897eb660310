"""Rules of the house that no single app can hold by itself."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import current_app
from django.conf import settings
from django.core.management import call_command

from predictions.queueing import Queue

ROOT = Path(__file__).parent.parent
APPS = ("tumorsite", "accounts", "predictions", "education", "mltasks", "training")


def sources() -> Iterator[Path]:
    for app in APPS:
        yield from (ROOT / app).rglob("*.py")


def bare_decorators(tree: ast.AST) -> Iterator[str]:
    """Celery's own ways to declare a task."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("celery"):
            yield from (name.name for name in node.names if name.name == "shared_task")
        elif isinstance(node, ast.Attribute) and node.attr == "shared_task":
            yield ast.unparse(node)
        elif isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                if isinstance(called, ast.Attribute) and called.attr == "task":
                    yield ast.unparse(called)


class TestOneWayToDeclareATask:
    def test_nobody_uses_celerys_own(self) -> None:
        found = {
            path.relative_to(ROOT).as_posix()
            for path in sources()
            if any(bare_decorators(ast.parse(path.read_text(encoding="utf-8"))))
        }
        assert found == {"predictions/queueing.py"}

    @pytest.mark.parametrize(
        "code",
        [
            "from celery import shared_task",
            "import celery\n@celery.shared_task\ndef a(): ...",
            "@app.task\ndef a(): ...",
            "@app.task(bind=True)\ndef a(): ...",
        ],
    )
    def test_the_search_would_find_it(self, code: str) -> None:
        assert list(bare_decorators(ast.parse(code)))

    def test_the_linter_bans_it_as_well(self) -> None:
        configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
        assert "TID" in configured["select"]
        banned = configured["flake8-tidy-imports"]["banned-api"]
        assert {"celery.shared_task", "tumorsite.celery.app.task"} <= set(banned)
        exempt = [
            path
            for path, codes in configured["per-file-ignores"].items()
            if any(code.startswith("TID") for code in codes)
        ]
        assert exempt == ["predictions/queueing.py"]


def status_writes(tree: ast.AST) -> Iterator[str]:
    """Where a status is set: an assignment, or an `update` of rows."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield from (
                ast.unparse(target)
                for target in node.targets
                if isinstance(target, ast.Attribute) and target.attr == "status"
            )
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("update"):
            yield from (ast.unparse(node) for word in node.keywords if word.arg == "status")


class TestOneWriterOfAStatus:
    def test_only_the_lifecycle_moves_a_prediction(self) -> None:
        found = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / "predictions").rglob("*.py")
            if "tests" not in path.parts and any(status_writes(ast.parse(path.read_text())))
        }
        assert found == {"predictions/services/lifecycle.py"}

    @pytest.mark.parametrize(
        "code", ["row.status = 'failed'", "rows.filter(pk=1).update(status=Status.FAILED)"]
    )
    def test_the_search_would_find_it(self, code: str) -> None:
        assert list(status_writes(ast.parse(code)))


class TestTasks:
    @pytest.fixture(autouse=True)
    def _loaded(self) -> None:
        current_app.loader.import_default_modules()

    def own(self) -> dict[str, object]:
        return {name: task for name, task in current_app.tasks.items() if name.startswith(APPS)}

    def test_each_entry_of_the_schedule_names_a_task(self) -> None:
        assert settings.CELERY_BEAT_SCHEDULE
        for entry, values in settings.CELERY_BEAT_SCHEDULE.items():
            assert values["task"] in current_app.tasks, entry

    def test_what_is_due_again_is_not_done_twice(self) -> None:
        for entry, values in settings.CELERY_BEAT_SCHEDULE.items():
            assert values["options"]["expires"] == max(60, values["schedule"]), entry

    def test_each_follows_the_queue_rules(self) -> None:
        assert len(self.own()) >= 6
        for name, task in self.own().items():
            assert getattr(task, "acks_late", None), name
            assert getattr(task, "reject_on_worker_lost", None), name
            assert getattr(task, "ignore_result", None), name
            soft, hard = getattr(task, "soft_time_limit", 0), getattr(task, "time_limit", 0)
            assert 0 < soft < hard, name
            visible = settings.CELERY_BROKER_TRANSPORT_OPTIONS["visibility_timeout"]
            # Training outlasts it; its row tells a message that comes again (training.services).
            assert hard < visible or name == "training.tasks.train", name

    def test_only_the_analysis_runs_beside_the_network(self) -> None:
        router = current_app.amqp.router
        queues = {name: router.route({}, name)["queue"].name for name in self.own()}
        assert set(settings.CELERY_TASK_ROUTES) <= set(queues)
        analysis = queues.pop("predictions.tasks.analyze_prediction")
        assert analysis == "inference"
        assert queues.pop("training.tasks.train") == "training"
        assert queues.pop("predictions.tasks.run_shadow") == "shadow"
        assert set(queues.values()) == {"general"}
        known = {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}
        assert known | {settings.CELERY_TASK_DEFAULT_QUEUE} == set(Queue)

    def test_workers_take_one_message_at_a_time(self) -> None:
        assert current_app.conf.worker_prefetch_multiplier == 1
        assert current_app.conf.task_ignore_result is True


@pytest.mark.parametrize("entry", ["tumorsite.wsgi", "tumorsite.celery"])
def test_neither_web_nor_the_workers_parent_imports_a_network(entry: str) -> None:
    script = (
        f"import importlib, sys; importlib.import_module({entry!r})\n"
        "import django; django.setup()\n"
        "from django.urls import get_resolver; get_resolver().url_patterns\n"
        "heavy = {'tensorflow', 'keras', 'onnxruntime', 'torch', 'onnx', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "import threading; print(threading.active_count())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={
            "PATH": "/usr/bin:/bin",
            "DATA_DIR": str(settings.DATA_DIR),
            "DJANGO_SETTINGS_MODULE": "tumorsite.settings",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["[]", "1"]


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
