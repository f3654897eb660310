"""Print the table of settings, which is kept as docs/settings.md."""

from typing import Any

from django.core.management.base import BaseCommand

from tumorsite.settings.env import as_markdown


class Command(BaseCommand):
    help = "Print docs/settings.md: every setting, its default and its meaning."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(as_markdown(), ending="")
