"""Bring database, static files, model, pages and first accounts into the state the site needs."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError

from tumorsite import preparation
from tumorsite.settings.values import values


class Command(BaseCommand):
    help = "Prepare database and files. Safe to repeat, and quick when nothing has changed."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        names = [step.__name__ for step in preparation.STEPS]
        parser.add_argument(
            "--steps",
            nargs="+",
            choices=names,
            default=names,
            metavar="STEP",
            help=f"Only these, where the others are done elsewhere: {', '.join(names)}.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            for step in preparation.STEPS:
                if step.__name__ not in options["steps"]:
                    continue
                for line in step():
                    self.stdout.write(line)
        except (DatabaseError, InterfaceError) as error:
            reason = " ".join(str(error).split())
            which = "of DATABASE_URL" if values.DATABASE_URL else "in DATA_DIR"
            raise CommandError(f"The database {which} cannot be used: {reason}") from None
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise CommandError(f"{error.strerror or error}{where}") from None
