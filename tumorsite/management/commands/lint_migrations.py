"""Refuse migrations on whose schema the code from before could not run."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tumorsite.migration_rules import project_findings


class Command(BaseCommand):
    help = "Check that code from before each migration goes on running after it."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        count, found = project_findings()
        if not count:
            raise CommandError("no migration was found: the check itself is broken")
        for one in found:
            self.stderr.write(str(one))
        if found:
            raise CommandError(
                "Code from before would not run on these, or wait: CONTRIBUTING.md says what to do."
            )
        self.stdout.write(f"{count} migrations, all of which the code from before bears")
