"""`manage.py train`: from a data folder to a model folder."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from mltasks import pipeline
from mltasks.data import DataError
from mltasks.engines import ModelError
from mltasks.management.data import data_folder
from mltasks.training import Progress, Recipe, find_recipe, read_recipe


class Command(BaseCommand):
    """Trains, calibrates, evaluates and writes the model folder."""

    help = "Train the network on a folder of brain MRI slices and write a model folder."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("recipe", help="a TOML file, or the name of one in recipes/")
        parser.add_argument("--data", type=Path, help="folder with manifest.csv, images/, masks/")
        parser.add_argument("--output", type=Path, required=True, help="model folder to write")
        parser.add_argument(
            "--negatives",
            type=Path,
            help="folder with train/<source>/… and holdout/<source>/…: pictures that are no brain "
            "MRI, beside those that are drawn by code",
        )
        parser.add_argument("--epochs", type=int, help="another number than the recipe's")
        parser.add_argument("--threads", type=int, default=0, help="0 means one per core")
        parser.add_argument(
            "--resume", action="store_true", help="go on after the last checkpoint, if there is one"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            recipe = read_recipe(find_recipe(options["recipe"]))
            if options["epochs"] is not None:
                training = dataclasses.replace(recipe.training, epochs=options["epochs"])
                recipe = dataclasses.replace(recipe, training=training)
            card = self._train(recipe, options)
        except (DataError, ModelError, ValueError, OSError) as error:
            raise CommandError(str(error)) from error
        metrics = card["metrics"]["validation"]
        dice = metrics["dice"]["median"]["value"]
        outlines = (
            "no expert's mask to measure areas by" if dice is None else f"median Dice {dice:.3f}"
        )
        self.stdout.write(
            f"{options['output']}: accuracy {metrics['accuracy']['value']:.2%}, {outlines} "
            f"(n = {metrics['n']}, Keras {importlib.metadata.version('keras')})"
        )

    def _train(self, recipe: Recipe, options: dict[str, Any]) -> dict[str, Any]:
        request = pipeline.TrainingRequest(
            recipe=recipe,
            data=data_folder(options["data"]),
            output=options["output"],
            negatives=options["negatives"],
            threads=options["threads"],
            resume=options["resume"],
            epochs=options["epochs"],
            tracking_uri=settings.MLFLOW_TRACKING_URI,
        )
        with tqdm(total=1.0, unit="run", bar_format="{l_bar}{bar}| {desc}", leave=False) as bar:

            def watch(progress: Progress) -> None:
                bar.n = progress.share
                bar.set_description_str(progress.sentence(), refresh=False)
                bar.refresh()
                if progress.step == progress.steps:
                    self._report(progress.sentence())

            return pipeline.train_model(request, watch=watch, report=self._report)

    def _report(self, line: str) -> None:
        tqdm.write(line, file=self.stdout)
        self.stdout.flush()
