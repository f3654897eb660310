"""`manage.py screen`: what each change of the training pictures is good for."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from mltasks.data import DataError
from mltasks.engines import ModelError
from mltasks.management.data import data_folder
from mltasks.screening import (
    Plan,
    PlanError,
    models_table,
    read_plan,
    screen,
    try_models,
    write_report,
)
from mltasks.training import Progress, find_recipe
from mltasks.training.loop import Watch


class Command(BaseCommand):
    """Trains small networks by a screening design and writes what each factor did."""

    help = (
        "Train one small network for each run of a screening plan, try them on held-out slices in "
        "many forms, and write what each factor did. Broken off, the same command goes on."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("plan", help="a TOML file, or the name of one in experiments/")
        parser.add_argument("--data", type=Path, help="folder with manifest.csv, images/, masks/")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--output", type=Path, help="folder of runs and report")
        what.add_argument(
            "--models",
            type=Path,
            nargs="+",
            metavar="MODEL",
            help="train nothing: try these model folders in the same way, and print a table",
        )
        parser.add_argument("--negatives", type=Path, help="as for train")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            plan = read_plan(find_recipe(options["plan"], settings.BASE_DIR / "experiments"))
            data = data_folder(options["data"])
            if options["models"]:
                self.stdout.write(models_table(try_models(plan, data, options["models"])))
                return
            result = self._screen(plan, data, options["output"], options["negatives"])
            write_report(options["output"], result)
        except (DataError, ModelError, PlanError, ValueError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{options['output']}/screening.md, screening.svg, screening.json")

    def _screen(
        self, plan: Plan, data: Path, output: Path, negatives: Path | None
    ) -> dict[str, Any]:
        with tqdm(total=1.0, bar_format="{l_bar}{bar}| {desc}", leave=False) as bar:

            def watch(number: int, count: int) -> Watch:
                def seen(progress: Progress) -> None:
                    bar.n = (number + progress.share) / count
                    bar.set_description_str(
                        f"run {number + 1}/{count}, {progress.sentence()}", refresh=False
                    )
                    bar.refresh()

                return seen

            return screen(plan, data, output, negatives=negatives, watch=watch, report=self._report)

    def _report(self, line: str) -> None:
        tqdm.write(line, file=self.stdout)
        self.stdout.flush()
