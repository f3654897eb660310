"""`manage.py evaluate`: the figures of a model folder, measured again."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from mltasks import evaluation, robustness
from mltasks.data import DataError, load_samples, read_manifest
from mltasks.engines import ENGINES, ModelError
from mltasks.inference import load_analyzer
from mltasks.management.commands.train import data_folder
from mltasks.pipeline import DRAWN_HELD_OUT, held_out_pictures


class Command(BaseCommand):
    """Analyses one fold as the site would, and compares with the experts."""

    help = "Measure a model folder on one fold of the data; prints JSON."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--model", type=Path, help="model folder; default is MODEL_DIR")
        parser.add_argument("--data", type=Path, help="folder with manifest.csv, images/, masks/")
        parser.add_argument("--fold", type=int, default=0)
        parser.add_argument(
            "--negatives",
            type=Path,
            help="folder with <source>/…: pictures that are no brain MRI and were not trained on, "
            "beside those that are drawn by code",
        )
        parser.add_argument(
            "--drawn", type=int, default=DRAWN_HELD_OUT, help="other pictures drawn by code"
        )
        parser.add_argument("--engine", choices=ENGINES, default="onnx")
        parser.add_argument(
            "--changed",
            action="store_true",
            help="also measure the slices turned, framed, inverted and so on",
        )
        parser.add_argument("--output", type=Path, help="also write the figures to this file")

    def handle(self, *args: Any, **options: Any) -> None:
        folder = data_folder(options["data"])
        try:
            analyzer = load_analyzer(
                options["model"] or settings.MODEL_DIR, engine=options["engine"]
            )
            records = [r for r in read_manifest(folder) if r.fold == options["fold"]]
            if not records:
                raise DataError(f"the data has no slices in fold {options['fold']}")
            samples = load_samples(folder, records)
            results = evaluation.run(analyzer, samples)
            others = evaluation.refusals(
                analyzer, held_out_pictures(options["negatives"], drawn=options["drawn"])
            )
        except (DataError, ModelError) as error:
            raise CommandError(str(error)) from error
        figures = {
            "model": f"{analyzer.name} {analyzer.version}",
            "digest": analyzer.digest,
            "fold": options["fold"],
            "validation": evaluation.summary(results),
            "other_pictures": evaluation.refusal_summary(
                others, analyzer.card["thresholds"]["brain"]
            ),
        }
        if options["changed"]:
            figures["changed"] = robustness.measure(analyzer, samples)
        text = json.dumps(figures, indent=2)
        self.stdout.write(text)
        if options["output"] is not None:
            options["output"].write_text(text + "\n", encoding="utf-8")
