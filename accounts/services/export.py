"""Everything the site holds about a person, as one zip file."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone

from accounts.models import User
from accounts.selectors import account_facts, exported_scans, scan_facts
from predictions import storage
from predictions.history_csv import COLUMNS, csv_row
from predictions.models import Prediction, Scan
from predictions.selectors import Filters, export_rows
from predictions.visitors import Owner

README = """\
Your data at TumorSite, as of {now:%d %B %Y, %H:%M} UTC

data.json     your account, where you are signed in, and every scan with its results, the readings
              staff made of them, and who was handed which picture of it and when
history.csv   your results as a table, one line a result
scans/        your pictures, by the scan's id:
              image.png, thumbnail.png          what you uploaded, as the site stored it
              <result's id>/area.png            the affected area, as an overlay
              <result's id>/outline.png         its outline, as an overlay
              <result's id>/contours.png        what is surely and what may be affected, likewise
              <result's id>/attention.png       where the network looked, as an overlay

TumorSite is for research and education. None of its results is a diagnosis.
"""
MISSING = "\nThese pictures could not be found in storage:\n"


def export_account(*, user: User) -> IO[bytes]:
    """Write the zip to a temporary file, so that it is whole before anything of it is sent.

    One picture and a few hundred rows are in memory at a time.

    Returns:
        The open file, at its start. It is gone from the disk once closed.

    Raises:
        predictions.storage.StorageUnavailableError: pictures cannot be read at the moment.
        OSError: there is no room for the temporary file.
    """
    with ExitStack() as stack:
        target = stack.enter_context(tempfile.TemporaryFile())
        now = timezone.now()
        with ZipFile(target, "w", ZIP_DEFLATED) as archive:
            _write_text(archive, "data.json", now, lambda text: _write_json(text, user, now))
            _write_text(archive, "history.csv", now, lambda text: _write_csv(text, user))
            missing = _write_pictures(archive, user, now)
            readme = README.format(now=now) + (MISSING + "\n".join(missing) if missing else "")
            _write_text(archive, "README.txt", now, lambda text: text.write(readme))
        target.seek(0)
        stack.pop_all()
    return target


def _entry(name: str, now: datetime, compression: int) -> ZipInfo:
    entry = ZipInfo(f"tumorsite-data/{name}", now.timetuple()[:6])
    entry.compress_type = compression
    entry.external_attr = 0o600 << 16
    return entry


def _write_text(
    archive: ZipFile, name: str, now: datetime, write: Callable[[io.TextIOWrapper], object]
) -> None:
    with (
        archive.open(_entry(name, now, ZIP_DEFLATED), "w", force_zip64=True) as raw,
        io.TextIOWrapper(raw, encoding="utf-8", newline="") as text,
    ):
        write(text)


def _write_json(text: IO[str], user: User, now: datetime) -> None:
    """One JSON object whose list of scans is written as it is read."""

    def dump(value: Any) -> str:
        return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False, indent=1)

    text.write(f'{{"exported_at": {dump(now)},\n"account": {dump(account_facts(user))},\n')
    text.write('"scans": [')
    for number, scan in enumerate(exported_scans(user)):
        text.write((",\n" if number else "\n") + dump(scan_facts(scan, user)))
    text.write("\n]}\n")


def _write_csv(text: IO[str], user: User) -> None:
    # Without the mark, spreadsheets take UTF-8 for another encoding.
    text.write("\ufeff")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in export_rows(Owner(user=user), Filters()).iterator(chunk_size=500):
        writer.writerow(csv_row(row))


def _pictures(scan: Scan, runs: list[Prediction]) -> Iterator[tuple[str, str]]:
    """Key in storage and name in the zip of each picture of a scan."""
    yield scan.image_key, f"scans/{scan.pk}/image.png"
    yield scan.thumbnail_key, f"scans/{scan.pk}/thumbnail.png"
    for run in runs:
        for kind in ("area", "outline", "contours", "attention"):
            if key := getattr(run, f"{kind}_key"):
                yield key, f"scans/{scan.pk}/{run.pk}/{kind}.png"


def _write_pictures(archive: ZipFile, user: User, now: datetime) -> list[str]:
    """Add every picture.

    Returns:
        Names of those that storage no longer has.
    """
    missing = []
    for scan in exported_scans(user):
        for key, name in _pictures(scan, list(scan.predictions.all())):
            try:
                content = storage.get(key)
            except FileNotFoundError:
                missing.append(name)
                continue
            # PNG is compressed already.
            archive.writestr(_entry(name, now, ZIP_STORED), content)
    return missing
