"""`manage.py train`: from a data folder to a model folder."""

from __future__ import annotations

import importlib.metadata
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from mltasks import pipeline
from mltasks.data import DataError
from mltasks.engines import ModelError


def data_folder(given: Path | None) -> Path:
    """The folder given, or that of the setting.

    Raises:
        CommandError: neither is there.
    """
    folder = given or getattr(settings, "TRAINING_DATA", None)
    if folder is None:
        raise CommandError(
            "no training data: give --data DIR or set TRAINING_DATA to a folder with "
            "manifest.csv, images/ and masks/"
        )
    return Path(folder)


class Command(BaseCommand):
    """Trains, calibrates, evaluates and writes the model folder."""

    help = "Train the network on a folder of brain MRI slices and write a model folder."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--data", type=Path, help="folder with manifest.csv, images/, masks/")
        parser.add_argument("--output", type=Path, required=True, help="model folder to write")
        parser.add_argument(
            "--negatives",
            type=Path,
            help="folder with train/<source>/… and holdout/<source>/…: pictures that are no brain "
            "MRI, beside those that are drawn by code",
        )
        parser.add_argument("--epochs", type=int, default=10)
        parser.add_argument("--size", type=int, default=224, help="side of the network's input")
        parser.add_argument("--fold", type=int, default=0, help="fold held out for validation")
        parser.add_argument(
            "--drawn-held-out",
            type=int,
            default=pipeline.DRAWN_HELD_OUT,
            help="pictures drawn by code to evaluate on",
        )
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--threads", type=int, default=0, help="0 means one per core")
        parser.add_argument(
            "--drawn", type=int, default=pipeline.DRAWN, help="pictures drawn by code to train on"
        )
        parser.add_argument("--resume", action="store_true", help="go on after the last epoch done")
        parser.add_argument(
            "--from-scratch", action="store_true", help="without the ImageNet weights"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        request = pipeline.TrainingRequest(
            data=data_folder(options["data"]),
            output=options["output"],
            negatives=options["negatives"],
            epochs=options["epochs"],
            size=options["size"],
            fold=options["fold"],
            seed=options["seed"],
            threads=options["threads"],
            resume=options["resume"],
            pretrained=not options["from_scratch"],
            drawn=options["drawn"],
            drawn_held_out=options["drawn_held_out"],
        )
        try:
            card = pipeline.train_model(request, report=self._report)
        except (DataError, ModelError, ValueError, OSError) as error:
            raise CommandError(str(error)) from error
        metrics = card["metrics"]["validation"]
        self.stdout.write(
            f"{options['output']}: accuracy {metrics['accuracy']['value']:.2%}, "
            f"median Dice {metrics['dice']['median']['value']:.3f} "
            f"(n = {metrics['n']}, Keras {importlib.metadata.version('keras')})"
        )

    def _report(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
