"""`manage.py training`: start a training if something is new, follow one, list them."""

from __future__ import annotations

import signal
import time
import uuid
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from mltasks.data import DataError
from mltasks.training.config import RecipeError
from predictions.queueing import drop_connection
from training import services, tasks, triggers
from training.models import TrainingRun

# Between two looks at runs that others may hold.
_LOOK_SECONDS = 15.0
_COLUMNS = "{:<38}{:<20}{:<11}{:<6}{}"


class Command(BaseCommand):
    """One subcommand a step; each calls one service."""

    help = "Start, follow and list training runs of this site."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
        words = "Start a training if data, recipe or code are new, as the scheduler does."
        steps.add_parser("check", help=words, description=words).set_defaults(run=self.look)
        words = "Follow the run that has waited longest in this process, without the queue."
        steps.add_parser("work", help=words, description=words).set_defaults(run=self.work)
        words = "Every run, newest first."
        steps.add_parser("list", help=words, description=words).set_defaults(run=self.list)

    def handle(self, *args: Any, **options: Any) -> None:
        options["run"]()

    def look(self) -> None:
        try:
            run = triggers.check()
        except (DataError, RecipeError) as error:
            raise CommandError(str(error)) from None
        if run is None:
            self.stdout.write("Nothing new: data, recipe and code have had their training.")
        else:
            self.stdout.write(f"Training run {run.pk} waits for a training worker.")

    def work(self) -> None:
        """Follow a run, or wait for one whose worker may be gone.

        A worker that was killed had no time to give its run back: whether it lives, only its
        silence says, so ending here would leave the run to nobody.
        """
        with _ended_by_sigterm():
            seen = _beats()
            while not self._follow_one():
                now = _beats()
                if not any(seen.get(pk, beat) == beat for pk, beat in now.items()):
                    self.stdout.write("Others follow every run." if now else "No run waits.")
                    return
                seen = now | seen
                time.sleep(_LOOK_SECONDS)

    def _follow_one(self) -> bool:
        services.sweep()
        waiting = TrainingRun.objects.filter(status=TrainingRun.Status.QUEUED).order_by("id")
        for pk in waiting.values_list("pk", flat=True):
            task_id = f"work-{uuid.uuid4().hex}"
            try:
                taken = tasks.take_up(run_id=pk, task_id=task_id)
            except SystemExit:
                # It may have come in the middle of a query.
                drop_connection()
                if services.give_back(run_id=pk, task_id=task_id):
                    self.stdout.write(f"{pk}: given back, to go on after its last checkpoint.")
                raise
            if taken:
                run = TrainingRun.objects.get(pk=pk)
                self.stdout.write(f"{pk}: {run.get_status_display()}. {run.message}".rstrip())
                if run.status == TrainingRun.Status.FAILED:
                    raise CommandError("The run has failed.")
                return True
        return False

    def list(self) -> None:
        self.stdout.write(_COLUMNS.format("run", "recipe", "status", "done", "data"))
        for run in TrainingRun.objects.defer("curves", "history", "recipe_text")[:100]:
            done = f"{run.share:.0%}"
            line = (run.pk, run.recipe[:18], run.status, done, run.dataset[:12] or "a folder")
            self.stdout.write(_COLUMNS.format(*map(str, line)))


def _beats() -> dict[UUID, datetime | None]:
    """The last sign of life of every run that somebody holds."""
    running = TrainingRun.objects.filter(status=TrainingRun.Status.RUNNING)
    return dict(running.values_list("pk", "heartbeat_at"))


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """End with an exception, once: what is evicted can still give back what it holds."""

    def leave(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        # Not 0, or a cluster takes the job for done.
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
