"""Data sets in S3, named by what they contain.

    <prefix>/blobs/<sha256>                 a file, stored once for all sets that contain it
    <prefix>/datasets/<digest>/files.json   the files of a set; <digest> is its own SHA-256
    <prefix>/names/<name>.json              which digest a name stands for; written last

Nothing is visible before everything it names is there, so an interrupted push leaves no partial
set; run again, it continues. A pull checks every byte, and needs read access only.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mltasks.data import DataError, file_digest
from mltasks.datasets.bucket import PART, Bucket, Place
from mltasks.datasets.form import (
    INFO,
    Dataset,
    Progress,
    collections,
    is_unstated,
    no_progress,
    read_dataset,
    write_file,
)
from mltasks.manifest import MANIFEST, REPORT

__all__ = ["Outcome", "Place", "pull", "push", "resolve"]

_TERMS = ("licence", "citation")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_THREADS = 8
_FORMAT = 1
# Whoever pulls may have no right to write, and has no sound copy to push.
_ASK = "ask whoever pushed the set to push it again"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a set."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a transfer; counts of files."""

    digest: str
    name: str
    moved: int
    there: int


def _entries(data: Dataset) -> Iterator[str]:
    yield from (MANIFEST, INFO)
    if (data.folder / REPORT).exists():
        yield REPORT
    for row in data.rows:
        yield row.image
        if row.has_mask:
            yield row.mask


def push(
    folder: Path,
    place: Place,
    *,
    name: str = "",
    verify: bool = False,
    progress: Progress = no_progress,
) -> Outcome:
    """Send a data set.

    Args:
        verify: read back every file that is already there, and send damaged ones again.

    Raises:
        DataError: the folder has faults or files that differ from its manifest, does not state
            whose data it is, the name is invalid, or the bucket cannot be written.
    """
    data = read_dataset(folder)
    _check_terms(data)
    if data.faults:
        raise DataError(f"{folder} has faults: {data.faults[0].message}")
    name = name or re.sub(r"[^a-z0-9._-]+", "-", data.name.lower()).strip("-.")
    if not _NAME.fullmatch(name):
        raise DataError(f"{name!r} is no name for a set: use letters, digits, dots and dashes")
    bucket = Bucket(place)
    expected = {row.image: row.sha256 for row in data.rows}
    expected |= {row.mask: row.mask_sha256 for row in data.rows if row.has_mask}
    paths = list(_entries(data))

    def one(path: str) -> tuple[Entry, bool]:
        return _push_file(bucket, folder, path, expected.get(path, ""), verify=verify)

    entries, moved = list[Entry](), 0
    with progress("push", len(paths)) as tick, ThreadPoolExecutor(_THREADS) as pool:
        for entry, sent in pool.map(one, paths):
            entries.append(entry)
            moved += sent
            tick(1)
    content = _list_bytes(data, entries)
    digest = hashlib.sha256(content).hexdigest()
    # The list after its files, the name after the list; both always, as an old one may be damaged.
    bucket.put(bucket.files(digest), content)
    pointer = json.dumps({"format": _FORMAT, "name": name, "digest": digest})
    bucket.put(bucket.name(name), pointer.encode())
    return Outcome(digest, name, moved, len(entries) - moved)


def _check_terms(data: Dataset) -> None:
    """Licence and citation of every collection must be stated, as they are passed on with it."""
    if not data.info:
        raise DataError(
            f"{data.folder} has no dataset.json: import it, so that licence and citation travel "
            "along"
        )
    for part in (data.info, *collections(data.info)):
        missing = [key for key in _TERMS if not str(part.get(key) or "").strip()]
        if missing:
            raise DataError(
                f"{data.folder / INFO} states no {' and no '.join(missing)} of "
                f"{part.get('name') or data.name}: write it there, as it has to travel along"
            )
    if is_unstated(data.info, (row.source for row in data.rows)):
        raise DataError(
            f"{data.folder} states no licence and no citation of some of its images, which came "
            "from a folder without dataset.json: import that folder with --licence and "
            "--citation, and join the sets anew"
        )


def _push_file(
    bucket: Bucket, folder: Path, path: str, expected: str, *, verify: bool
) -> tuple[Entry, bool]:
    digest, size = file_digest(folder / path), (folder / path).stat().st_size
    if expected and digest != expected:
        raise DataError(
            f"{folder / path} is not the file of the manifest: its digest differs; audit the data"
        )
    entry = Entry(path, digest, size)
    blob = bucket.blob(digest)
    if bucket.size(blob) == size and not (verify and bucket.sha256(blob, size) != digest):
        return entry, False
    bucket.send(blob, folder / path)
    return entry, True


def _list_bytes(data: Dataset, entries: list[Entry]) -> bytes:
    listed = {
        "format": _FORMAT,
        "name": data.name,
        "licence": data.info.get("licence", ""),
        "citation": data.info.get("citation", ""),
        **_parts(data.info),
        "manifest": data.digest,
        "files": [
            {"path": entry.path, "sha256": entry.sha256, "size": entry.size}
            for entry in sorted(entries, key=lambda entry: entry.path)
        ],
    }
    return (json.dumps(listed, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def _parts(info: Mapping[str, Any]) -> dict[str, Any]:
    """The collections of a joined set: its own licence is only that of the last one."""
    if "parts" not in info:
        return {}
    keys = ("name", *_TERMS)
    return {"parts": [{key: part.get(key) for key in keys} for part in collections(info)]}


def pull(which: str, output: Path, place: Place, *, progress: Progress = no_progress) -> Outcome:
    """Fetch a data set by name or digest; needs read access only.

    Files come into `.<output>.pull` beside the output and stay there if the pull is interrupted,
    so that the next one continues. The output appears once everything is there and verified.

    Raises:
        DataError: there is no such set, the output exists, an object is missing or does not match
            its digest, or the disk cannot be written.
    """
    if output.exists():
        raise DataError(f"{output} is there already: remove it or choose another output")
    bucket = Bucket(place)
    name, digest = _resolve(bucket, which)
    entries = _read_list(bucket, digest)
    waiting = output.with_name(f".{output.name}.pull")

    def one(entry: Entry) -> bool:
        return _pull_file(bucket, waiting, entry)

    try:
        _prepare(waiting, digest)
        moved = 0
        with progress("pull", len(entries)) as tick, ThreadPoolExecutor(_THREADS) as pool:
            for fetched in pool.map(one, entries):
                moved += fetched
                tick(1)
        _only(waiting, entries)
        waiting.rename(output)
    except OSError as error:
        raise DataError(
            f"cannot write {error.filename or output}: {error.strerror or error}; make room or "
            "choose another output, then pull again: what is there already is not fetched again"
        ) from error
    return Outcome(digest, name, moved, len(entries) - moved)


def resolve(which: str, place: Place) -> str:
    """The digest that a name stands for at present, or the digest itself.

    Raises:
        DataError: there is no such set, or the bucket cannot be read.
    """
    return _resolve(Bucket(place), which)[1]


def _resolve(bucket: Bucket, which: str) -> tuple[str, str]:
    """Name and digest of what was asked for."""
    if _DIGEST.fullmatch(which):
        return "", which
    if not _NAME.fullmatch(which):
        raise DataError(
            f"{which!r} is neither the name nor the digest of a set: a name has small letters, "
            "digits, dots, dashes and underscores, a digest 64 digits from 0 to f, as push "
            "prints them"
        )
    key = bucket.name(which)
    content = bucket.get(
        key,
        f"no data set called {which} was pushed, there is no {bucket.where(key)}: check the "
        "name, DATASET_BUCKET and DATASET_PREFIX",
    )
    try:
        digest = json.loads(content)["digest"]
    except (ValueError, KeyError, TypeError):
        digest = ""
    if not _DIGEST.fullmatch(str(digest)):
        raise DataError(
            f"{bucket.where(key)}, which says what the name {which} stands for, is damaged: pull "
            f"the set by its digest if you have that, or {_ASK}"
        )
    return which, str(digest)


def _read_list(bucket: Bucket, digest: str) -> list[Entry]:
    key = bucket.files(digest)
    content = bucket.get(
        key,
        f"no data set has the digest {digest}, there is no {bucket.where(key)}: check the "
        "digest, DATASET_BUCKET and DATASET_PREFIX",
    )
    listed = f"the list of files {bucket.where(key)}"
    if hashlib.sha256(content).hexdigest() != digest:
        raise DataError(f"{listed} is damaged, its digest is another one: {_ASK}")
    try:
        entries = [Entry(**entry) for entry in json.loads(content)["files"]]
    except (ValueError, KeyError, TypeError):
        raise DataError(
            f"{listed} is not of format {_FORMAT}, the only one known here: it may be of a newer "
            "release, so update this one"
        ) from None
    for entry in entries:
        if not _safe(entry.path) or not _DIGEST.fullmatch(entry.sha256):
            raise DataError(
                f"{listed} names {entry.path!r}, which is no file of a data set: nothing was "
                "fetched. No push writes such a list; do not use this set, and ask whoever "
                "keeps the bucket where it came from"
            )
    return entries


def _safe(path: str) -> bool:
    """Whether a path stays in the folder: a file name, there or in images/ or masks/."""
    parts = path.split("/")
    return (
        len(parts) <= 2
        and all(
            part and not part.startswith(".") and "\\" not in part and "\0" not in part
            for part in parts
        )
        and (len(parts) == 1 or parts[0] in {"images", "masks"})
    )


def _prepare(waiting: Path, digest: str) -> None:
    """A folder for this digest; what was left there by another digest is removed."""
    mark = waiting / ".digest"
    if waiting.exists() and (not mark.exists() or mark.read_bytes() != digest.encode()):
        shutil.rmtree(waiting)
    for part in ("images", "masks"):
        (waiting / part).mkdir(parents=True, exist_ok=True)
    write_file(mark, digest.encode())


def _only(waiting: Path, entries: list[Entry]) -> None:
    """Remove files that do not belong to the set."""
    named = {entry.path for entry in entries}
    for path in list(waiting.rglob("*")):
        if path.is_file() and path.relative_to(waiting).as_posix() not in named:
            path.unlink()


def _pull_file(bucket: Bucket, waiting: Path, entry: Entry) -> bool:
    """Fetch one file if needed; whether it was."""
    target = waiting / entry.path
    if target.exists() and target.stat().st_size == entry.size:
        if file_digest(target) == entry.sha256:
            return False
        target.unlink()
    part = target.with_name(f".{target.name}.part")
    begun = part.exists()
    whole = _fetch(bucket, part, entry)
    if begun and not whole:
        # What an earlier pull had left may be at fault, after a power cut say, not the store.
        whole = _fetch(bucket, part, entry)
    if not whole:
        raise DataError(
            f"{entry.path} is missing or damaged in the store, at "
            f"{bucket.where(bucket.blob(entry.sha256))}; what came of it was removed here. Pull "
            "again: the other files are not fetched twice. If it says this again, ask whoever "
            "has a sound copy of the set to send it with dataset push --verify"
        )
    part.replace(target)
    return True


def _fetch(bucket: Bucket, part: Path, entry: Entry) -> bool:
    """Fetch what `part` lacks of a file; whether it is sound then, else it is removed."""
    done = part.stat().st_size if part.exists() else 0
    if done > entry.size:
        part.unlink()
        done = 0
    with part.open("ab") as stream:
        while done < entry.size:
            content = bucket.get_range(
                bucket.blob(entry.sha256), done, min(entry.size, done + PART)
            )
            if not content:
                break
            stream.write(content)
            done += len(content)
    if part.stat().st_size == entry.size and file_digest(part) == entry.sha256:
        return True
    part.unlink()
    return False
