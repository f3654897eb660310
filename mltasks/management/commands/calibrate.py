"""`manage.py calibrate`: completes a model folder, so that its answers state their doubt."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from mltasks import fitting, release
from mltasks.data import DataError, load_sample, load_samples, read_manifest
from mltasks.engines import ModelError
from mltasks.folds import set_aside, split
from mltasks.inference import read_model
from mltasks.management.data import data_folder
from mltasks.negatives import learnt_pictures, stated_data


class Command(BaseCommand):
    """Fits temperature, prediction sets, detectors and contours on a held-out fold."""

    help = (
        "Complete a model folder: temperature, prediction sets, abstention, thresholds and the "
        "reference features of the detector. Needs slices the network has not learnt from."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--model", type=Path, required=True, help="model folder to complete")
        parser.add_argument("--data", type=Path, help="folder with manifest.csv, images/, masks/")
        parser.add_argument("--fold", type=int, default=0, help="fold the network has not seen")
        parser.add_argument(
            "--negatives",
            type=Path,
            help="folder with <source>/…: pictures that are no brain MRI, as used in training; "
            "train/ of what training was given",
        )
        parser.add_argument("--threads", type=int, default=settings.INFERENCE_THREADS)

    def handle(self, *args: Any, **options: Any) -> None:
        folder, model = data_folder(options["data"]), options["model"]
        try:
            release.recover(model)
            card, content, _ = read_model(model)
            records = read_manifest(folder)
            release.check_unseen(card, records, options["fold"])
            learnt, held_out = split(records, options["fold"])
            wanted = stated_data(card)
            # As in training: what the reference is made of, and how other pictures were chosen.
            learnt, _ = set_aside(learnt, wanted.watch)
            thinned = learnt[:: fitting.REFERENCE_STEP]
            others = learnt_pictures(wanted, options["negatives"])
            with tqdm(
                total=len(thinned)
                + len(held_out)
                + len(held_out[:: fitting.CHANGED_STEP])
                + len(others),
                unit="pass",
                file=sys.stderr,
            ) as bar:
                extras = fitting.complete(
                    card,
                    content,
                    learnt=(load_sample(folder, record).pixels for record in thinned),
                    held_out=load_samples(folder, held_out),
                    others=[pixels for _, pixels in others],
                    threads=options["threads"],
                    report=bar.set_description_str,
                    progress=bar.update,
                )
            dropped = release.recalibrate(model, card, content, extras)
        except (DataError, ModelError, OSError) as error:
            raise CommandError(str(error)) from error
        fitted = card["calibration"]
        for name, figures in {
            **fitted["cross_fitted"],
            "areas": fitted["cross_fitted_areas"],
        }.items():
            stated = ", ".join(f"{key} {own}" for key, own in figures.items() if key != "ci95")
            self.stdout.write(f"{name}: {stated}")
        if dropped:
            self.stdout.write(
                "The figures in model.json were measured before this, so they are gone, and "
                "MODEL_CARD.md with them. Measure anew: python manage.py evaluate "
                f"--model {model} --data {folder} --fold {options['fold']} "
                "--negatives NEGATIVES/holdout --output REPORT --card (and --elsewhere, --bodies, "
                "to state those figures, too)"
            )
