"""`manage.py model`: the registry of networks, from a folder to what answers on the site."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, ProgrammingError, connection
from django.db.migrations.executor import MigrationExecutor

from mltasks import gate
from mltasks.data import DataError
from mltasks.inference import ModelError, load_analyzer
from mltasks.lazy import need
from mltasks.management.data import data_folder
from mltasks.release import MODEL_CARD_NAME
from predictions.models import ModelVersion
from predictions.services import artifacts, registry, shadowing
from predictions.services.gate import compare, held_out
from predictions.services.registry import GateError, ReleaseError
from predictions.shadow_report import shadow_report
from predictions.storage import StorageUnavailableError

ONE = "version, name and version, or the first letters of its digest, as `list` shows them"
_COLUMNS = "{:<14}{:<24}{:<12}{:<10}{:<8}{}"


def who() -> str:
    """Whoever types, as far as the machine knows."""
    try:
        return f"{getpass.getuser()} at a shell"
    except (KeyError, OSError):
        return "somebody at a shell"


def _migrations_wait() -> bool:
    """Whether tables, or columns of them, are still to be made."""
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


class Command(BaseCommand):
    """One subcommand a step; each calls one service."""

    help = "Register, compare, release and fetch networks."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")

        def step(name: str, run: Callable[..., None], words: str) -> ArgumentParser:
            one = steps.add_parser(name, help=words, description=words)
            one.set_defaults(run=run)
            return one

        one = step("register", self.register, "Store a model folder and record it as a candidate.")
        one.add_argument("folder", type=Path)

        step("list", self.list, "Every network, newest first.")

        one = step("compare", self.compare, "Hold a candidate against the network in production.")
        one.add_argument("candidate", help=ONE)
        one.add_argument("baseline", nargs="?", help="another than the one in production")
        one.add_argument("--data", type=Path, help="folder with manifest.csv, images/, masks/")
        one.add_argument(
            "--fold",
            type=int,
            help="one that was held out; 0 if not given, or all with --leave-out-seen",
        )
        one.add_argument(
            "--leave-out-seen",
            action="store_true",
            help="only slices that neither has learnt from, as far as their cards say",
        )
        margins = gate.Margins()
        one.add_argument(
            "--margin",
            type=float,
            default=margins.share,
            help="loss allowed of each class's sensitivity, of the share of brain scans accepted, "
            "of the accuracy on changed slices and, as a gain, of the calibration error, 0 to 1; "
            f"{margins.share} if not given",
        )
        one.add_argument(
            "--dice-margin",
            type=float,
            default=margins.dice,
            help="loss allowed of the median and the mean Dice, and of the mean Dice on changed "
            f"slices; {margins.dice} if not given",
        )

        one = step("promote", self.promote, "Put a network that has passed into production.")
        one.add_argument("model", help=ONE)
        one.add_argument(
            "--override", default="", metavar="REASON", help="release it against the gate"
        )

        one = step("rollback", self.rollback, "Go back to the network before.")
        one.add_argument("--reason", default="", help="why; kept in the records")

        one = step("shadow", self.shadow, "Run a candidate in the shadow of production.")
        one.add_argument("model", nargs="?", help=f"{ONE}; off: nothing runs there")
        one.add_argument("--report", action="store_true", help="what it says beside production")

        one = step("pull", self.pull, "Copy a network from the store to a folder.")
        one.add_argument("model", nargs="?", help=f"{ONE}; the one in production if not given")
        one.add_argument("--output", type=Path, help="a new folder; ./NAME-VERSION if not given")
        one.add_argument(
            "--keras",
            action="store_true",
            help="with model.keras, which keras.models.load_model reads without this code",
        )

        step("bundled", self.bundled, "Register the network of MODEL_DIR, as each start does.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            options["run"](**options)
        except GateError as error:
            raise CommandError(
                f'{error}\nTo release it all the same: --override "the reason"'
            ) from None
        except (ReleaseError, ModelError, DataError, gate.GateError) as error:
            raise CommandError(str(error)) from None
        except (OperationalError, ProgrammingError):
            if not _migrations_wait():
                raise
            raise CommandError(
                "the database is not set up: python manage.py migrate (make run does it)"
            ) from None
        except StorageUnavailableError as error:
            raise CommandError(f"The object store does not answer: {error}") from None

    def register(self, *, folder: Path, **_: Any) -> None:
        # One that cannot run at all is no candidate, nor one of which nobody can read how it errs.
        load_analyzer(folder).warm_up()
        if not (folder / MODEL_CARD_NAME).is_file():
            raise CommandError(
                f"{folder} has no {MODEL_CARD_NAME}, which says how the network errs: calibrate "
                "takes it away with the figures. Measure anew with manage.py evaluate --card on "
                "the fold that training held out; whoever does not have it writes the file by hand"
            )
        version = registry.restore(folder=folder, actor=who())
        stage = version.get_stage_display().lower()
        self.stdout.write(f"Registered: {version} ({version.artifact[:12]}), {stage}")

    def list(self, **_: Any) -> None:
        versions = [*ModelVersion.objects.all()]
        self.stdout.write(
            _COLUMNS.format("digest", "network", "stage", "accuracy", "Dice", "gate").rstrip()
        )
        for version in versions:
            figures = version.figures()
            self.stdout.write(
                _COLUMNS.format(
                    version.artifact[:12],
                    str(version)[:22],
                    version.stage,
                    *("–" if value is None else f"{value:.3f}" for value in figures),
                    version.gate_words(),
                ).rstrip()
            )

    def compare(
        self,
        *,
        candidate: str,
        baseline: str | None,
        data: Path | None,
        fold: int | None,
        leave_out_seen: bool,
        margin: float,
        dice_margin: float,
        **_: Any,
    ) -> None:
        if not (0 <= margin < 1 and 0 <= dice_margin < 1):
            raise CommandError("A margin is a share from 0 to 1, such as 0.03.")
        verdict = compare(
            candidate=registry.find(candidate),
            baseline=registry.find(baseline) if baseline else None,
            data=held_out(data_folder(data), 0 if fold is None and not leave_out_seen else fold),
            margins=gate.Margins(margin, dice_margin),
            leave_out_seen=leave_out_seen,
            actor=who(),
            say=self.stderr.write,
        )
        self.stdout.write(
            f"{verdict.n} slices in {verdict.groups} groups, "
            f"at least {verdict.class_groups} of each class\n"
        )
        for heading, rows in gate.blocks(verdict.as_dict()["rows"]):
            self.stdout.write(heading)
            for row in rows:
                limit = "> 0" if row["margin"] is None else f">= {-row['margin']:.3f}"
                self.stdout.write(
                    f"  {row['name']:<34}{row['candidate']:>8.4f}{row['production']:>8.4f}"
                    f"   {gate.bound_words(row)} ({limit}: {'yes' if row['passed'] else 'no'})"
                )
        self.stdout.write("PASSED" if verdict.passed else "REFUSED")
        for reason in verdict.reasons:
            self.stdout.write(f"  {reason}")

    def promote(self, *, model: str, override: str, **_: Any) -> None:
        version = registry.promote(version=registry.find(model), actor=who(), override=override)
        self.stdout.write(f"In production: {version} ({version.artifact[:12]})")

    def rollback(self, *, reason: str, **_: Any) -> None:
        version = registry.rollback(actor=who(), note=reason)
        self.stdout.write(f"Back in production: {version} ({version.artifact[:12]})")

    def pull(self, *, model: str | None, output: Path | None, keras: bool, **_: Any) -> None:
        if keras:
            need("keras", "tensorflow", "onnx")
            from mltasks.tensorflow_engine import write_keras
        version = registry.find(model) if model else registry.in_production()
        if version is None:
            raise CommandError("No network is in production: name one.")
        target = (output or Path(f"{version.name}-{version.version}")).absolute()
        if target.exists():
            raise CommandError(f"{target} exists already: name a new folder with --output")
        artifacts.fetch(artifact=version.artifact, target=target)
        if keras:
            write_keras(target)
        self.stdout.write(f"{version} is in {target}; check it with: sha256sum -c SHA256SUMS")

    def shadow(self, *, model: str | None, report: bool, **_: Any) -> None:
        if model == "off":
            ended = shadowing.end(actor=who())
            self.stdout.write("The shadow has ended." if ended else "Nothing ran in the shadow.")
        elif model and not report:
            version = registry.find(model)
            shadowing.begin(version=version, actor=who())
            self.stdout.write(
                f"{version} answers {settings.SHADOW_PERCENT}% of the scans in the shadow from now "
                "on. It needs a worker of the queue shadow."
            )
        else:
            shadowed = registry.find(model) if model else shadowing.in_shadow()
            if shadowed is None:
                raise CommandError("Nothing runs in the shadow: name a network.")
            self.stdout.write("\n".join(shadow_report(shadowed).lines()))

    def bundled(self, **_: Any) -> None:
        version, production = registry.follow_bundle(folder=settings.MODEL_DIR)
        self.stdout.write(f"In production: {production} ({production.artifact[:12]})")
        if version != production and version.stage == ModelVersion.Stage.CANDIDATE:
            self.stdout.write(
                f"{version} came with the code and is a candidate: manage.py model compare "
                f"{version.version}"
            )
