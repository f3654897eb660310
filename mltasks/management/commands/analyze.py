"""`manage.py analyze`: the site's analysis over files and folders."""

from __future__ import annotations

import errno
import sys
from argparse import ArgumentParser
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from mltasks.drafts import ANEW
from mltasks.engines import ENGINES, ModelError
from mltasks.inference import load_analyzer
from mltasks.management.data import limits
from mltasks.stream import Streamer, find_files, holds

STANDARD_OUTPUT = Path("-")


class Command(BaseCommand):
    """Writes one JSON object a line, and the affected areas as PNG files."""

    help = "Analyse pictures with the same code as the site. Needs no database."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
        parser.add_argument(
            "--output",
            type=Path,
            required=True,
            help="JSON lines file to write; - is standard output",
        )
        parser.add_argument("--areas", type=Path, help="folder for the area masks (0/255 PNG)")
        parser.add_argument("--model", type=Path, help="model folder; default is MODEL_DIR")
        parser.add_argument("--engine", choices=ENGINES, help="default is INFERENCE_ENGINE")
        parser.add_argument("--batch", type=int, help="pictures in one forward pass")
        parser.add_argument("--threads", type=int, help="0 means one per core")

    def handle(self, *args: Any, **options: Any) -> None:
        def chosen(name: str, setting: str) -> Any:
            return getattr(settings, setting) if options[name] is None else options[name]

        try:
            analyzer = load_analyzer(
                chosen("model", "MODEL_DIR"),
                engine=chosen("engine", "INFERENCE_ENGINE"),
                threads=chosen("threads", "INFERENCE_THREADS"),
            )
        except ModelError as error:
            raise CommandError(str(error)) from error
        output = None if options["output"] == STANDARD_OUTPUT else options["output"]
        if output and holds(options["paths"], output):
            raise CommandError(
                f"{output} is one of the files to analyse: choose another place for the results"
            )
        written = [path for path in (output, options["areas"]) if path is not None]
        passed_over = Counter[str]()
        found = find_files(options["paths"], written=written, passed_over=passed_over)
        total = sum(1 for _ in found)
        passed = _listed(passed_over)
        if not total:
            raise CommandError("; ".join(filter(None, ("no pictures found", passed))))
        try:
            # Whatever cannot be read has its line: an error is the output's disk.
            with self._opened(output, options["areas"]) as lines:
                streamer = Streamer(
                    analyzer,
                    lines,
                    areas=options["areas"],
                    batch=max(1, chosen("batch", "INFERENCE_BATCH")),
                    limits=limits(),
                )
                with tqdm(total=total, unit="file", file=sys.stderr) as bar:
                    for done in streamer.run(find_files(options["paths"], written=written)):
                        bar.update(done)
        except OSError as error:
            raise self._unwritten(output, error) from error
        counts = ", ".join(f"{count} {status}" for status, count in streamer.counts.items())
        summary = self.stdout if output else self.stderr
        summary.write(f"{total} files: {counts} -> {options['output']}", lambda text: text)
        if passed:
            summary.write(passed, lambda text: text)

    def _opened(self, output: Path | None, areas: Path | None) -> AbstractContextManager[Any]:
        """Where the lines go, and before, the folders for them and for the areas."""
        if areas is not None:
            areas.mkdir(parents=True, exist_ok=True)
        if output is None:
            return nullcontext(self.stdout)
        output.parent.mkdir(parents=True, exist_ok=True)
        return output.open("w", encoding="utf-8")

    def _unwritten(self, output: Path | None, error: OSError) -> CommandError:
        """What to say when file or folders of the results cannot be written."""
        path = error.filename or output or "standard output"
        why = error.strerror or error
        remedy = f": {ANEW}" if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} else ""
        return CommandError(f"cannot write the results to {path} ({why}){remedy}")


def _listed(passed_over: Counter[str]) -> str:
    """What was in the folders besides pictures, in one line; "" if nothing was."""
    if not passed_over:
        return ""
    kinds = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{kind} {count}" for kind, count in kinds)
    return f"{passed_over.total()} files passed over, as they are no pictures by name: {listed}"
