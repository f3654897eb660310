"""`manage.py calibrate`: completes a model folder, so that its answers state their doubt."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from mltasks import fitting, release
from mltasks.classes import CLASSES
from mltasks.data import DataError, Record, load_sample, load_samples, read_manifest
from mltasks.engines import ModelError
from mltasks.folds import set_aside, split
from mltasks.inference import read_model
from mltasks.management.data import data_folder
from mltasks.manifest import MANIFEST
from mltasks.negatives import learnt_pictures, stated_data

# Each half of the groups judges what was fitted to the other.
_LEAST_GROUPS = 2
# With fewer, no threshold can promise 95%, see `mltasks.conformal`.
_ENOUGH_SLICES = 19


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
            self._check(folder, held_out, options["fold"])
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
                samples = load_samples(folder, held_out)
                areas = _areas(card)
                extras = fitting.complete(
                    card,
                    content,
                    learnt=(load_sample(folder, record).pixels for record in thinned),
                    held_out=samples,
                    others=[pixels for _, pixels in others],
                    threads=options["threads"],
                    report=bar.set_description_str,
                    progress=bar.update,
                )
            if areas is not None and all(sample.mask is None for sample in samples):
                card["thresholds"]["mask"], card["doubt"]["contours"] = areas
                self.stderr.write(
                    f"No slice of fold {options['fold']} has an expert's mask: the thresholds of "
                    "areas and contours stay as they were."
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

    def _check(self, folder: Path, held_out: Sequence[Record], fold: int) -> None:
        """Refuse slices that cannot say how the network errs; say which are few.

        Raises:
            DataError: a class is missing, or has too few groups.
        """
        manifest = folder / MANIFEST
        slices = Counter(record.label for record in held_out)
        groups = Counter(label for label, _ in {(own.label, own.group) for own in held_out})
        what = f"{manifest}: fold {fold}, on which the answers would be calibrated,"
        advice = "split the data anew, or add slices"
        if missing := [name for name in CLASSES if name not in slices]:
            raise DataError(f"{what} has no slice of {', '.join(missing)}: {advice}")
        if lone := [name for name in CLASSES if groups[name] < _LEAST_GROUPS]:
            raise DataError(
                f"{what} has fewer than {_LEAST_GROUPS} groups of {', '.join(lone)}, so that "
                f"nothing could be tried on others than it was fitted to: {advice}"
            )
        if few := [f"{slices[name]} {name}" for name in CLASSES if slices[name] < _ENOUGH_SLICES]:
            self.stderr.write(
                f"{what} has only {', '.join(few)}: with fewer than {_ENOUGH_SLICES} slices of a "
                "class, sets of answers that hold the right one in 95% of cases always hold it."
            )


def _areas(card: dict[str, Any]) -> tuple[float, dict[str, Any]] | None:
    """The thresholds of areas and contours of an earlier calibration, if there was one."""
    contours = card.get("doubt", {}).get("contours")
    return None if contours is None else (card["thresholds"]["mask"], contours)
