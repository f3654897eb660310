"""`manage.py analyze`: the site's analysis over files and folders."""

from __future__ import annotations

import errno
import sys
from argparse import ArgumentParser
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


class Command(BaseCommand):
    """Writes one JSON object a line, and the affected areas as PNG files."""

    help = "Analyse pictures with the same code as the site. Needs no database."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
        parser.add_argument("--output", type=Path, required=True, help="JSON lines file to write")
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
        if holds(options["paths"], options["output"]):
            raise CommandError(
                f"{options['output']} is one of the files to analyse: choose another place for "
                "the results"
            )
        try:
            if options["areas"] is not None:
                options["areas"].mkdir(parents=True, exist_ok=True)
            options["output"].parent.mkdir(parents=True, exist_ok=True)
            output = options["output"].open("w", encoding="utf-8")
        except OSError as error:
            raise self._unwritten(options["output"], error) from error
        written = [path for path in (options["output"], options["areas"]) if path is not None]
        total = sum(1 for _ in find_files(options["paths"], written=written))
        streamer = Streamer(
            analyzer,
            output,
            areas=options["areas"],
            batch=max(1, chosen("batch", "INFERENCE_BATCH")),
            limits=limits(),
        )
        try:
            with output, tqdm(total=total, unit="file", file=sys.stderr) as bar:
                for done in streamer.run(find_files(options["paths"], written=written)):
                    bar.update(done)
        except OSError as error:  # Whatever cannot be read has its line: this is the output's disk.
            raise self._unwritten(options["output"], error) from error
        counts = ", ".join(f"{count} {status}" for status, count in streamer.counts.items())
        self.stdout.write(f"{total} files: {counts} -> {options['output']}")

    def _unwritten(self, output: Path, error: OSError) -> CommandError:
        """What to say when file or folders of the results cannot be written."""
        path, why = error.filename or output, error.strerror or error
        remedy = f": {ANEW}" if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} else ""
        return CommandError(f"cannot write the results to {path} ({why}){remedy}")
