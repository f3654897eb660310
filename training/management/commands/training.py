"""`manage.py training`: start a training if something is new, follow one, list them."""

from __future__ import annotations

import uuid
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mltasks.data import DataError
from mltasks.training.config import RecipeError
from training import services, tasks, triggers
from training.models import TrainingRun

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
        services.sweep()
        waiting = TrainingRun.objects.filter(status=TrainingRun.Status.QUEUED).order_by("id")
        for pk in waiting.values_list("pk", flat=True):
            if tasks.take_up(run_id=pk, task_id=f"work-{uuid.uuid4().hex}"):
                run = TrainingRun.objects.get(pk=pk)
                self.stdout.write(f"{pk}: {run.get_status_display()}. {run.message}".rstrip())
                if run.status == TrainingRun.Status.FAILED:
                    raise CommandError("The run has failed.")
                return
        self.stdout.write("No run waits.")

    def list(self) -> None:
        self.stdout.write(_COLUMNS.format("run", "recipe", "status", "done", "data"))
        for run in TrainingRun.objects.defer("curves", "history", "recipe_text")[:100]:
            done = f"{run.share:.0%}"
            line = (run.pk, run.recipe[:18], run.status, done, run.dataset[:12] or "a folder")
            self.stdout.write(_COLUMNS.format(*map(str, line)))
