"""Which data a command is about, where data sets are kept, and what is read of their files."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError

from mltasks.datasets.bucket import Place
from mltasks.images import Limits


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


def place() -> Place:
    """Where data sets are kept."""
    return Place(**settings.DATASET_STORE)


def limits() -> Limits:
    """What is read of a file: as much as of an upload."""
    return Limits(max_bytes=settings.MAX_UPLOAD_BYTES, max_pixels=settings.MAX_PIXELS)
