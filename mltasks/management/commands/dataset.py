"""`manage.py dataset`: from a download to an audited, split data set, and to and from S3."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from mltasks.data import DataError
from mltasks.datasets import audit, finding, importing, remote, splitting
from mltasks.datasets.layouts.lgg import CHANNELS
from mltasks.engines import ModelError
from mltasks.inference import load_analyzer
from mltasks.management.data import limits, place
from mltasks.manifest import REPORT
from mltasks.progress import Tick

# More kinds of files left out are counted together.
_MOST_GROUPS = 12


@contextmanager
def _bar(what: str, total: int) -> Iterator[Tick]:
    with tqdm(total=total or None, desc=what, unit="", file=sys.stderr) as bar:
        yield bar.update


class Command(BaseCommand):
    """One subcommand for each step; the work is in `mltasks.datasets`."""

    help = "Import, audit, split, push and pull data sets. Needs no database."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parts = parser.add_subparsers(dest="step", required=True, metavar="STEP")
        self._import_arguments(parts.add_parser("import", help="a download becomes a data set"))
        self._audit_arguments(parts.add_parser("audit", help="copies, labels, masks, shortcuts"))
        self._split_arguments(parts.add_parser("split", help="groups and folds, drawn once"))
        push = parts.add_parser("push", help="send a data set to DATASET_BUCKET")
        push.add_argument("folder", type=Path)
        push.add_argument("--name", default="", help="default is made of the set's name")
        push.add_argument(
            "--verify",
            action="store_true",
            help="read back every file that is there, and send what is damaged",
        )
        pull = parts.add_parser("pull", help="fetch a data set; needs only the right to read")
        pull.add_argument("which", help="name or digest")
        pull.add_argument("--output", type=Path, required=True)

    def _import_arguments(self, parser: ArgumentParser) -> None:
        known = "; ".join(f"{key}: {layout.about}" for key, layout in finding.LAYOUTS.items())
        parser.add_argument("source", type=Path, help="folder into which it was unpacked")
        parser.add_argument("--output", type=Path, required=True, help="data folder to write")
        parser.add_argument(
            "--layout",
            choices=list(finding.LAYOUTS),
            default="",
            help=f"found if not given; {known}",
        )
        parser.add_argument("--name", default="", help="of the collection")
        parser.add_argument("--licence", default="")
        parser.add_argument("--citation", default="")
        parser.add_argument(
            "--channel", choices=list(CHANNELS), default="post", help="sequence of LGG slices"
        )
        parser.add_argument(
            "--show-names",
            action="store_true",
            help="tell the full names of files left out on standard error, patients' among them; "
            "they are not kept",
        )
        parser.add_argument(
            "--onto", type=Path, help="data folder to which the images are added; it stays as it is"
        )

    def _audit_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
        parser.add_argument("--output", type=Path, required=True, help="report folder to write")
        parser.add_argument(
            "--model", type=Path, help="model folder that tells brains; default is MODEL_DIR"
        )
        parser.add_argument("--no-model", action="store_true", help="do not look for non-brains")
        parser.add_argument(
            "--trial", type=int, default=300, help="images altered to measure the search for copies"
        )
        parser.add_argument("--seed", type=int, default=0)

    def _split_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument(
            "--folds",
            type=int,
            help=f"as many as the data has if not given, or {splitting.FOLDS}; another number "
            "than it has needs --redraw",
        )
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--groups", type=Path, help="groups.csv of an audit")
        parser.add_argument(
            "--redraw", action="store_true", help="give up the folds that are there"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['step']}")(options)
        except (DataError, ModelError) as error:
            raise CommandError(str(error)) from error

    def _import(self, options: dict[str, Any]) -> None:
        fields = ("source", "output", "layout", "name", "licence", "citation", "channel", "onto")
        request = importing.Request(
            **{name: options[name] for name in fields},
            limits=limits(),
            patient_key=settings.DATASET_PATIENT_KEY,
        )
        outcome = importing.run(request, progress=_bar)
        report = outcome.as_json()
        labels = ", ".join(f"{count} {label}" for label, count in report["labels"].items())
        self.stdout.write(
            f"{options['output']}: {report['taken']} images ({labels}), {report['masks']} masks; "
            f"digest {outcome.digest}"
        )
        if patients := outcome.patients():
            self.stdout.write(
                f"Patients: {len(patients)}, the largest of {max(patients.values())} slices"
            )
        for label, count in outcome.of_one_patient():
            self.stderr.write(
                f"All {count} slices of {label} count as one patient's, so they will lie in one "
                "fold. Was the folder between class and pictures named after something else, a "
                "size or a sequence say? Then move the pictures up and import anew."
            )
        if outcome.folds_dropped:
            self.stdout.write(
                f"{outcome.folds_dropped} new images lost the fold that they came with: "
                "dataset split draws it anew, with their copies among the older ones."
            )
        if outcome.left_out:
            self.stdout.write(f"{len(outcome.left_out)} files were left out:")
            self._left_out(outcome, names=options["show_names"])
            self.stdout.write(f"All of them are in {options['output'] / REPORT}.")

    def _left_out(self, outcome: importing.Outcome, *, names: bool) -> None:
        groups = outcome.groups()
        for folder, reason, count in groups[:_MOST_GROUPS]:
            where = f"in {folder}/" if folder else "at the top"
            self.stdout.write(f"  {count} {where}: {reason}")
        if others := sum(count for *_, count in groups[_MOST_GROUPS:]):
            self.stdout.write(f"  {others} for other reasons, or in other folders")
        for name, reason in outcome.names if names else ():
            self.stderr.write(f"{name}: {reason}")

    def _audit(self, options: dict[str, Any]) -> None:
        analyzer = None
        if not options["no_model"]:
            analyzer = load_analyzer(
                options["model"] or settings.MODEL_DIR, threads=settings.INFERENCE_THREADS
            )
        request = audit.Request(
            folders=options["folders"],
            output=options["output"],
            limits=limits(),
            analyzer=analyzer,
            trial=options["trial"],
            seed=options["seed"],
        )
        figures = audit.audit(request, progress=_bar)
        copies = figures["copies"]
        self.stdout.write(
            f"{sum(item['images'] for item in figures['sets'])} images: "
            f"{len(figures['faults'])} faults, {sum(copies['pairs'].values())} pairs of copies, "
            f"{len(copies['contradicting_images'])} with a copy of another label, "
            f"{len(figures['masks']['suspicious'])} masks that look wrong; "
            f"see {options['output'] / 'report.html'}"
        )

    def _split(self, options: dict[str, Any]) -> None:
        fields = ("folder", "folds", "seed", "groups", "redraw")
        request = splitting.Request(**{name: options[name] for name in fields}, limits=limits())
        outcome = splitting.split(request, progress=_bar)
        if not outcome.drawn and not outcome.left_out:
            self.stdout.write(
                "Every image has a fold already; they are kept (--redraw draws anew)."
            )
        for fold, counts in outcome.counts.items():
            labels = ", ".join(f"{count} {label}" for label, count in counts.items())
            lacking = ", ".join(name for name in outcome.labels if name not in counts)
            self.stdout.write(f"fold {fold}: {labels}{lacking and f'; without {lacking}'}")
        if len(outcome.counts) < outcome.folds:
            self.stdout.write(
                f"only {outcome.groups} groups: {len(outcome.counts)} of {outcome.folds} folds are "
                "filled"
            )
        self.stdout.write(
            f"{outcome.kept} images kept their fold, {outcome.drawn} got one, "
            f"{outcome.left_out} would tie folds together and are excluded; "
            f"digest {outcome.data.digest}"
        )
        if outcome.torn:
            self.stdout.write(
                f"{outcome.torn} groups lie in several of the folds that were there: scores "
                "across them are too good. --redraw keeps groups whole."
            )

    def _push(self, options: dict[str, Any]) -> None:
        chosen = {option: options[option] for option in ("name", "verify")}
        done = remote.push(options["folder"], place(), **chosen, progress=_bar)
        self.stdout.write(
            f"{done.name} is {done.digest}: {done.moved} files sent, {done.there} were there"
        )

    def _pull(self, options: dict[str, Any]) -> None:
        done = remote.pull(options["which"], options["output"], place(), progress=_bar)
        self.stdout.write(
            f"{options['output']}: {done.digest}, {done.moved} files fetched, "
            f"{done.there} were there"
        )
