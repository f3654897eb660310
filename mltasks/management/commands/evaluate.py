"""`manage.py evaluate`: how a model errs on any labelled set, as a page, pictures and JSON."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from mltasks import model_card, other_bodies, seen
from mltasks.data import DataError, Record, load_sample, read_records
from mltasks.drafts import ANEW, replacing_folder
from mltasks.engines import ENGINES, ModelError
from mltasks.evaluation import gallery, reporting
from mltasks.evaluation.measuring import Request, described, measure, set_digest
from mltasks.inference import load_analyzer, read_model
from mltasks.management.data import data_folder
from mltasks.negatives import DRAWN_HELD_OUT, held_out_pictures, real_pictures

_BODIES, _BODIES_SEED = 200, 5


class Command(BaseCommand):
    """Analyses the set as the site would, compares with the experts, writes a report."""

    help = "Measure a model folder on a set, failures first: report.html, report.json, pictures."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--model", type=Path, help="model folder; default is MODEL_DIR")
        parser.add_argument(
            "--data",
            type=Path,
            help="folder with manifest.csv (id and label; label may be tumor), images/, masks/",
        )
        parser.add_argument("--fold", type=int, help="only this fold; default is all slices")
        parser.add_argument(
            "--leave-out-seen",
            action="store_true",
            help="only slices that the network has not learnt from, as far as its card says",
        )
        parser.add_argument(
            "--negatives",
            type=Path,
            help="folder with <source>/…: pictures that are no brain MRI and were not trained on, "
            "beside those that are drawn by code; holdout/ of what training was given",
        )
        parser.add_argument(
            "--bodies",
            type=Path,
            help="folder with <source>/…: medical pictures of other parts of the body and by other "
            "means, stated apart from the other pictures, beside those drawn by code",
        )
        parser.add_argument(
            "--elsewhere",
            type=Path,
            help="a second labelled folder, of other people, scanners and hospitals; stated by the "
            "source that its manifest names",
        )
        parser.add_argument(
            "--drawn", type=int, default=DRAWN_HELD_OUT, help="other pictures drawn by code"
        )
        parser.add_argument(
            "--corruptions",
            type=int,
            default=200,
            metavar="N",
            help="slices shown in 39 other forms, as evenly of the classes as the set allows and, "
            "within a class, of its groups in turn; 0 for none",
        )
        parser.add_argument("--engine", choices=ENGINES, default="onnx")
        parser.add_argument("--output", type=Path, required=True, help="folder for the report")
        parser.add_argument(
            "--card",
            action="store_true",
            help="also write the figures into the model folder, model.json and MODEL_CARD.md; for "
            "the fold that its training held out",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        folder, model = data_folder(options["data"]), options["model"] or settings.MODEL_DIR
        if not reporting.may_replace(options["output"]):
            raise CommandError(f"{options['output']} holds something else than a report")
        try:
            analyzer = load_analyzer(model, engine=options["engine"])
            fold, records = options["fold"], read_records(folder, options["fold"])
            chosen = self._chosen(analyzer.card, records, options, folder)
            request = Request(
                folder=folder,
                records=chosen,
                fold=fold,
                others=held_out_pictures(options["negatives"], count=options["drawn"]),
                bodies=chain(
                    other_bodies.drawn(_BODIES if options["drawn"] else 0, _BODIES_SEED),
                    () if options["bodies"] is None else real_pictures(options["bodies"]),
                ),
                corrupted=max(0, options["corruptions"]),
                elsewhere=options["elsewhere"],
                left_out=len(records) - len(chosen),
            )
            if options["card"]:
                model_card.check(analyzer.card, described(analyzer.card, folder, chosen, fold))
            with replacing_folder(options["output"], remedy=ANEW) as report:
                with tqdm(total=request.passes, unit="picture", file=sys.stderr) as bar:
                    figures, results = measure(
                        analyzer, read_model(model)[1], request, progress=bar.update
                    )
                (report / reporting.PICTURES).mkdir()
                figures["misses"] = gallery.write(
                    analyzer,
                    results,
                    request.records,
                    partial(load_sample, folder),
                    report / reporting.PICTURES,
                )
                reporting.write(report, figures)
            if blank := figures["data"].get("blank_masks"):
                self.stderr.write(
                    f"Tumours with a mask that marks nothing: {blank}; no area could be compared "
                    "with them."
                )
            if options["card"]:
                model_card.record(model, figures)
        except (DataError, ModelError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(str(options["output"] / reporting.PAGE_NAME))

    def _chosen(
        self, card: dict[str, Any], records: list[Record], options: dict[str, Any], folder: Path
    ) -> list[Record]:
        """The slices to measure; whoever measures those learnt from is told so."""
        fold, whole = options["fold"], set_digest(folder)
        if options["leave_out_seen"]:
            rest = seen.unseen([card], records, whole=whole)
            self.stderr.write(seen.left_out(records, rest))
            return rest
        if why := seen.why_seen(card, records, fold=fold, whole=whole):
            self.stderr.write(f"The figures will be too good: the network {why}")
        return records
