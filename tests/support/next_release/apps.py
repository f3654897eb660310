"""Adds the later release's column to the records of scans."""

from django.apps import AppConfig
from django.db import models

# What the later release writes; rows of the present one have nothing there.
WRITTEN = "next"


class NextRelease(AppConfig):
    name = "tests.support.next_release"

    def ready(self) -> None:
        from predictions.models import Scan

        models.CharField(max_length=20, null=True, default=WRITTEN).contribute_to_class(
            Scan, "written_by"
        )
