"""Which training data a command is about."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError


def data_folder(given: Path | None) -> Path:
    """The folder given, or that of the setting.

    Raises:
        CommandError: neither is there.
    """
    folder = given or getattr(settings, "TRAINING_DATA", None)
    if folder is None:
        raise CommandError(
            "no training data: give --data DIR or set TRAINING_DATA to a folder with "
            "manifest.csv, images/ and masks/"
        )
    return Path(folder)
