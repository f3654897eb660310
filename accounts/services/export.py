"""Everything the site holds about a person, as one zip file that is sent as it is made."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import chain
from pathlib import PurePosixPath
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone

from accounts.models import User
from accounts.selectors import account_facts, exported_facts, exported_scans, in_chunks
from predictions import storage
from predictions.history_csv import csv_lines
from predictions.models import Prediction, Scan
from predictions.owners import Owner
from predictions.selectors import Filters, export_rows, scans_of
from predictions.services.auditing import record_export

README = """\
Your data at TumorSite, as of {now:%d %B %Y, %H:%M} UTC

data.json     your account, where you are signed in, and every scan with its results, the readings
              staff made of them, and who was handed which picture of it and when
history.csv   your results as a table, one line a result
scans/        your pictures, by the scan's id:
              image.png, thumbnail.png          what you uploaded, as the site stored it
              <result's id>/area.png            the affected area, as an overlay
              <result's id>/outline.svg         its outline, as an overlay (.png in older results)
              <result's id>/contours.svg        what is surely and what may be affected, likewise
              <result's id>/attention.png       where the network looked, as an overlay

TumorSite is for research and education. None of its results is a diagnosis.
"""
MISSING = "\nThese pictures could not be found in storage:\n"
UNREAD = "\nThese pictures could not be read for now. Ask for your data again later:\n"
# After so many failures of the store no other pictures are asked for: each failure takes long.
MOST_FAILURES = 5


def export_account(*, user: User) -> Iterator[bytes]:
    """The zip, piece by piece, the account's records first.

    One picture and a few hundred rows are in memory at a time. A picture that cannot be read once
    pieces have been sent is named in README.txt, the last of the files.

    Raises:
        predictions.storage.StorageUnavailableError: pictures cannot be read at the moment. Nothing
            has been made then.
    """
    first = scans_of(Owner(user=user)).first()
    if first is not None:
        with suppress(FileNotFoundError):
            storage.get(first.thumbnail_key)
    return _archive(user, timezone.now())


class _Sent(io.RawIOBase):
    """A file that can only be written, and keeps what has been written until it is taken."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._kept += content
        return len(content)

    def taken(self) -> bytes:
        kept = bytes(self._kept)
        self._kept.clear()
        return kept


def _archive(user: User, now: datetime) -> Iterator[bytes]:
    sent = _Sent()
    missing: list[str] = []
    unread: list[str] = []
    with ZipFile(sent, "w", ZIP_DEFLATED) as archive:
        for name, parts in (
            ("data.json", _json(user, now)),
            ("history.csv", _csv(user)),
        ):
            with archive.open(_entry(name, now), "w", force_zip64=True) as file:
                for part in parts:
                    file.write(part.encode())
                    yield sent.taken()
        for name, content in _pictures(user, missing, unread):
            # PNG is compressed already, and drawings are small. Merely stored they would need their
            # size before them, for programs that read from the start.
            archive.writestr(_entry(name, now), content, compresslevel=0)
            yield sent.taken()
        readme = README.format(now=now) + _listed(MISSING, missing) + _listed(UNREAD, unread)
        archive.writestr(_entry("README.txt", now), readme)
    yield sent.taken()


def _entry(name: str, now: datetime) -> ZipInfo:
    entry = ZipInfo(f"tumorsite-data/{name}", now.timetuple()[:6])
    entry.compress_type = ZIP_DEFLATED
    entry.external_attr = 0o600 << 16
    return entry


def _listed(heading: str, names: Iterable[str]) -> str:
    lines = "".join(f"{name}\n" for name in names)
    return heading + lines if lines else ""


def _json(user: User, now: datetime) -> Iterator[str]:
    """One JSON object whose list of scans is written as it is read."""

    def dump(value: Any) -> str:
        return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False, indent=1)

    yield f'{{"exported_at": {dump(now)},\n"account": {dump(account_facts(user))},\n"scans": ['
    for number, facts in enumerate(exported_facts(user)):
        yield (",\n" if number else "\n") + dump(facts)
    yield "\n]}\n"


def _csv(user: User) -> Iterator[str]:
    rows = export_rows(Owner(user=user), Filters())
    return csv_lines(chain.from_iterable(in_chunks(rows)))


def _keys(scan: Scan, runs: Iterable[Prediction]) -> Iterator[tuple[str, str]]:
    """Key in storage and name in the zip of each picture of a scan."""
    yield scan.image_key, f"scans/{scan.pk}/image.png"
    yield scan.thumbnail_key, f"scans/{scan.pk}/thumbnail.png"
    for run in runs:
        for kind in ("area", "outline", "contours", "attention"):
            if key := run.picture_key(kind):
                yield key, f"scans/{scan.pk}/{run.pk}/{kind}{PurePosixPath(key).suffix}"


def _pictures(user: User, missing: list[str], unread: list[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of every picture that can be read; each scan's are written down before.

    Args:
        missing, unread: get the names of those that storage no longer has, or could not give.
    """
    failures = 0
    for scans in exported_scans(user):
        record_export(scans=scans, user=user)
        for scan in scans:
            for key, name in _keys(scan, scan.predictions.all()):
                if failures == MOST_FAILURES:
                    unread.append(name)
                    continue
                try:
                    content = storage.get(key)
                except FileNotFoundError:
                    missing.append(name)
                except storage.StorageUnavailableError:
                    failures += 1
                    unread.append(name)
                else:
                    yield name, content
