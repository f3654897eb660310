"""Put the network of MODEL_DIR into production."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from mltasks.inference import ModelError
from predictions.services.models import register_model


class Command(BaseCommand):
    help = "Register the network in MODEL_DIR and put it into production."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            version = register_model(folder=settings.MODEL_DIR)
        except ModelError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"In production: {version} ({version.digest[:12]})")
