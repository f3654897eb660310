from typing import Any

from django.core.management.base import BaseCommand

from education.seeding import seed


class Command(BaseCommand):
    help = "Makes the pages about brain tumours that are missing; changes none that is there."

    def handle(self, *args: Any, **options: Any) -> None:
        made = seed()
        self.stdout.write(f"{len(made)} pages made." if made else "All pages are in place.")
        for address in made:
            self.stdout.write(f"  {address}")
