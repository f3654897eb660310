#!/usr/bin/env python3
"""Backups of a TumorSite: `create`, `verify` and `restore`, with the settings of the environment.

    BACKUPS/<time>/     database.sqlite3 or database.dump, objects.json, small files, SHA256SUMS
    BACKUPS/pool/       contents of objects by SHA-256, once, however many backups name them

The database comes first: objects are never overwritten, so none that it names is missing after
it. A backup has its name only once it is whole. S3 objects are listed, not copied, unless asked.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

SUMS, OBJECTS = "SHA256SUMS", "objects.json"
SMALL_FILES = ("secret-key", "accounts.json")
_STAMP = re.compile(r"\d{8}T\d{6}Z")


class BackupError(Exception):
    """What is wrong, in words for an operator."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object: key, bytes, a mark that changes with the content, SHA-256 if it was read."""

    key: str
    size: int
    mark: str
    sha256: str = ""


class Store(Protocol):
    """Where the site keeps its objects."""

    def entries(self) -> Iterator[Entry]: ...
    def read(self, key: str) -> bytes: ...
    def write(self, key: str, content: bytes) -> None: ...


def setting(name: str) -> str:
    """A setting as the site reads it: NAME, or the content of the file NAME_FILE."""
    if file := os.environ.get(f"{name}_FILE"):
        return Path(file).read_text(encoding="utf-8").strip()
    return os.environ.get(name, "")


def data_dir() -> Path:
    if not (folder := setting("DATA_DIR")):
        raise BackupError("DATA_DIR is not set: run this with the settings file of the site")
    return Path(folder)


class Folder:
    """Objects and media below DATA_DIR."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def entries(self) -> Iterator[Entry]:
        for part in ("objects", "media"):
            for path in sorted((self.root / part).rglob("*")):
                # One may be deleted between the listing and the look.
                with contextlib.suppress(FileNotFoundError):
                    state = path.stat()
                    if path.is_file():
                        key = path.relative_to(self.root).as_posix()
                        yield Entry(key, state.st_size, str(state.st_mtime_ns))

    def read(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def write(self, key: str, content: bytes) -> None:
        target = self.root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, content)


class Bucket:
    """Objects of S3_BUCKET."""

    def __init__(self) -> None:
        import boto3
        from botocore.config import Config

        endpoint = setting("S3_ENDPOINT_URL")
        self.bucket = setting("S3_BUCKET")
        self.client = boto3.client(
            "s3",
            endpoint_url=endpoint or None,
            region_name=setting("S3_REGION") or "eu-central-1",
            aws_access_key_id=setting("S3_ACCESS_KEY_ID") or None,
            aws_secret_access_key=setting("S3_SECRET_ACCESS_KEY") or None,
            config=Config(s3={"addressing_style": "path" if endpoint else "virtual"}),
        )

    def entries(self) -> Iterator[Entry]:
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
            for item in page.get("Contents", []):
                # What the health check writes and removes again is nobody's data.
                if not item["Key"].startswith("health/"):
                    yield Entry(item["Key"], item["Size"], item["ETag"])

    def read(self, key: str) -> bytes:
        try:
            return bytes(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())
        except self.client.exceptions.NoSuchKey:
            raise FileNotFoundError(f"{key} is not in the bucket {self.bucket}") from None

    def write(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=content)


def store() -> Store:
    return Bucket() if setting("S3_BUCKET") else Folder(data_dir())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that nobody sees half of."""
    draft = path.with_name(f".{path.name}.part")
    with draft.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)


def digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# --- the database ---------------------------------------------------------------------------------


def sqlite_path() -> Path | None:
    """The SQLite file, or None if the database is a PostgreSQL."""
    url = urlsplit(setting("DATABASE_URL"))
    if not url.scheme:
        return data_dir() / "db.sqlite3"
    return Path(unquote(url.path)) if url.scheme == "sqlite" else None


def postgres(program: str, *arguments: str) -> str:
    """Run a PostgreSQL program on the site's database, the password not among its arguments."""
    url = urlsplit(setting("DATABASE_URL"))
    place = urlunsplit(url._replace(netloc=re.sub(r"^([^:@]*):[^@]*@", r"\1@", url.netloc)))
    env = {**os.environ, "PGPASSWORD": unquote(url.password or "")}
    if not url.password:
        del env["PGPASSWORD"]
    return run(program, f"--dbname={place}", *arguments, env=env)


def run(program: str, *arguments: str, env: dict[str, str] | None = None) -> str:
    """Run one of PostgreSQL's programs to its end, and give what it printed."""
    try:
        done = subprocess.run(  # noqa: S603  # its own arguments
            [program, *arguments],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise BackupError(f"{program} is not installed: install postgresql-client") from None
    if done.returncode:
        raise BackupError(f"{program}: {' '.join(done.stderr.split())[:500]}")
    return done.stdout


def save_database(folder: Path) -> None:
    path = sqlite_path()
    if path is None:
        postgres("pg_dump", "--format=custom", "--no-owner", f"--file={folder / 'database.dump'}")
        return
    if not path.is_file():
        raise BackupError(f"there is no database at {path}")
    with (
        contextlib.closing(sqlite3.connect(path, timeout=60)) as source,
        contextlib.closing(sqlite3.connect(folder / "database.sqlite3")) as target,
    ):
        source.backup(target)
        [[said]] = target.execute("PRAGMA integrity_check").fetchall()
    if said != "ok":
        raise BackupError(f"{path} is damaged: {said}")


# Every table, also those that only newer code has: `pg_restore --clean` knows the backup's alone,
# and stops at one that a newer table refers to. The schema stays, with its owner and its rights.
EMPTY = """
DO $$
DECLARE one name;
BEGIN
    FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('DROP TABLE IF EXISTS public.%I CASCADE', one);
    END LOOP;
END $$
"""


def restore_postgres(folder: Path, *, replace: bool) -> None:
    query = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
    if postgres("psql", "-XAtc", query).strip() != "0" and not replace:
        raise BackupError("the database is not empty: say --replace to lose what it holds")
    # A file, not a pipe: psql would take the end of a broken one for the end of the backup.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".", suffix=".part") as place:
        script = f"{place}/database.sql"
        run("pg_restore", "--no-owner", f"--file={script}", str(folder / "database.dump"))
        # Old tables go and those of the backup come in one transaction: all of it, or nothing.
        once = ("-Xq", "--single-transaction", "--set=ON_ERROR_STOP=1")
        postgres("psql", *once, *(("-c", EMPTY) if replace else ()), "-f", script)


def settle(path: Path) -> None:
    """Bring a SQLite file's newest writes, which lie beside it, into it: then it is whole alone.

    Raises:
        BackupError: somebody uses it.
    """
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as database:
            [[busy, *_]] = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        # Damaged, which may be why it is replaced: there is nothing to bring anything into.
        return
    if busy:
        raise BackupError(f"{path} is in use: stop the site before its data is replaced")


def restore_database(folder: Path, *, replace: bool) -> None:
    path, backup = sqlite_path(), folder / "database.sqlite3"
    if path is None:
        restore_postgres(folder, replace=replace)
        return
    if path.exists() and not replace:
        raise BackupError(f"{path} is there already: say --replace to lose what it holds")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.part")
    shutil.copyfile(backup, draft)
    draft.chmod(0o600)
    # What lies beside the old file would be taken for the new one's. Should this be killed before
    # the new one is there, the old one must not miss it.
    if path.exists():
        settle(path)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    draft.replace(path)


# --- backups --------------------------------------------------------------------------------------


def backups(root: Path) -> list[Path]:
    """Whole backups, oldest first."""
    return sorted(p for p in root.iterdir() if _STAMP.fullmatch(p.name) and (p / SUMS).is_file())


def listed(folder: Path) -> list[Entry]:
    return [Entry(**one) for one in json.loads((folder / OBJECTS).read_text(encoding="utf-8"))]


def pooled(root: Path, sha256: str) -> Path:
    return root / "pool" / sha256[:2] / sha256


def save_objects(root: Path, folder: Path, *, copy: bool) -> None:
    known: dict[tuple[str, int, str], str] = {}
    for earlier in backups(root)[-1:]:
        known = {(e.key, e.size, e.mark): e.sha256 for e in listed(earlier)}
    place, entries = store(), list[dict[str, Any]]()
    for entry in place.entries():
        sha256 = known.get((entry.key, entry.size, entry.mark), "")
        if copy and not (sha256 and pooled(root, sha256).is_file()):
            try:
                content = place.read(entry.key)
            except FileNotFoundError:
                continue
            sha256 = hashlib.sha256(content).hexdigest()
            target = pooled(root, sha256)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.is_file():
                write_whole(target, content)
        entries.append({**asdict(entry), "sha256": sha256 if copy else ""})
    write_whole(folder / OBJECTS, json.dumps(entries, indent=0).encode())


def create(root: Path, *, copy: bool, keep: int, after: str, textfile: Path | None) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder, draft = root / stamp, root / f".{stamp}.part"
    for left in root.glob(".*.part"):
        shutil.rmtree(left)
    draft.mkdir(mode=0o700)
    save_database(draft)
    save_objects(root, draft, copy=copy)
    for name in SMALL_FILES:
        if (data_dir() / name).is_file():
            shutil.copyfile(data_dir() / name, draft / name)
    lines = [f"{digest(path)}  {path.name}\n" for path in sorted(draft.iterdir())]
    write_whole(draft / SUMS, "".join(lines).encode())
    draft.rename(folder)
    verify(root, folder)
    prune(root, keep)
    if after and (code := subprocess.run(shlex.split(after), check=False).returncode):  # noqa: S603  # the operator's
        raise BackupError(
            f"{folder} is whole, but {after!r} ended with {code}: it is on this host alone"
        )
    # Last, as the alert is about backups that would outlast this host.
    if textfile is not None:
        note(textfile)
    return folder


def note(textfile: Path) -> None:
    """Tell node-exporter that a backup has ended now."""
    metric = "tumorsite_backup_timestamp_seconds"
    text = f"# HELP {metric} When the last whole backup ended.\n# TYPE {metric} gauge\n"
    write_whole(textfile, f"{text}{metric} {int(time.time())}\n".encode())
    textfile.chmod(0o644)


def verify(root: Path, folder: Path) -> None:
    """Read every byte that the backup needs.

    Raises:
        BackupError: a file or an object is missing or damaged; the message names it.
    """
    for line in (folder / SUMS).read_text(encoding="utf-8").splitlines():
        expected, _, name = line.partition("  ")
        if not (folder / name).is_file() or digest(folder / name) != expected:
            raise BackupError(f"{folder / name} is missing or damaged: use another backup")
    for entry in listed(folder):
        path = pooled(root, entry.sha256)
        if entry.sha256 and (not path.is_file() or digest(path) != entry.sha256):
            raise BackupError(f"{path}, which is {entry.key}, is missing or damaged")


def prune(root: Path, keep: int) -> None:
    """Remove all but the newest backups, and contents that none of those names."""
    for folder in backups(root)[:-keep]:
        # Without its sums it is no backup any more, even if the rest stays.
        (folder / SUMS).unlink()
        shutil.rmtree(folder)
    named = {entry.sha256 for folder in backups(root) for entry in listed(folder)}
    for path in (root / "pool").glob("*/*"):
        if path.name not in named:
            path.unlink()


def restore(root: Path, folder: Path, *, replace: bool) -> str:
    """Objects first, so that no row names one that is not there; then the database."""
    verify(root, folder)
    place, missing, written = store(), list[str](), 0
    there = {entry.key: entry for entry in place.entries()}
    for entry in listed(folder):
        if entry.key.startswith("/") or ".." in entry.key.split("/"):
            raise BackupError(f"the backup names {entry.key!r}, which is no object")
        found = there.get(entry.key)
        if not entry.sha256:
            if found is None or found.size != entry.size:
                missing.append(entry.key)
        elif found is None or hashlib.sha256(place.read(entry.key)).hexdigest() != entry.sha256:
            place.write(entry.key, pooled(root, entry.sha256).read_bytes())
            written += 1
    if missing and not replace:
        raise BackupError(
            f"{len(missing)} objects are not in the store, the first is {missing[0]}: bring back "
            "their versions in the bucket, or say --replace to go on without them"
        )
    restore_database(folder, replace=replace)
    for name in SMALL_FILES:
        if (folder / name).is_file():
            write_whole(data_dir() / name, (folder / name).read_bytes())
            (data_dir() / name).chmod(0o600)
    return f"{folder.name} restored: {written} objects written, {len(missing)} missing"


def chosen(root: Path, name: str) -> Path:
    there = backups(root)
    if not there:
        raise BackupError(f"there is no whole backup in {root}")
    if not name:
        return there[-1]
    found = [folder for folder in there if folder.name == name]
    if not found:
        names = ", ".join(folder.name for folder in there)
        raise BackupError(f"there is no backup {name}; there are {names}")
    return found[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("step", choices=("create", "verify", "restore"))
    parser.add_argument("--backups", type=Path, required=True, help="folder of the backups")
    parser.add_argument("--which", default="", help="its name; the newest if not given")
    parser.add_argument("--keep", type=int, default=14, help="how many backups stay")
    parser.add_argument("--after", default="", help="a command that takes it to another host")
    parser.add_argument("--textfile", type=Path, help="metric for node-exporter")
    parser.add_argument("--copy-objects", action="store_true", help="copy objects of S3, too")
    parser.add_argument("--replace", action="store_true", help="over data that is there")
    given = parser.parse_args()
    os.umask(0o077)
    root: Path = given.backups
    with (root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError("another backup or restore is under way") from None
        if given.step == "create":
            copy = given.copy_objects or not setting("S3_BUCKET")
            keep = max(1, given.keep)
            made = create(root, copy=copy, keep=keep, after=given.after, textfile=given.textfile)
            print(made)
            return
        folder = chosen(root, given.which)
        if given.step == "verify":
            verify(root, folder)
            print(f"{folder.name} is whole")
        else:
            print(restore(root, folder, replace=given.replace))


if __name__ == "__main__":
    try:
        main()
    except (BackupError, OSError, sqlite3.Error) as error:
        sys.exit(f"tumorsite_backup: {error}")
