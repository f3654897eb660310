"""Model folders in the object store, each under its own digest, and copies of them on local disk.

A release is read from here by every worker, whatever host it runs on. Objects are written before
the row that names them and checked whenever they are read.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import Q

from mltasks.artifact import SUMS_NAME, Sums, verify
from mltasks.engines import ModelError
from mltasks.inference import Analyzer, load_analyzer
from predictions import storage
from predictions.models import ModelVersion

logger = logging.getLogger(__name__)

PREFIX = "models/"
# How long a network that neither answers nor runs in the shadow stays on a disk after its last use,
# so that a rollback within days finds it there.
UNUSED = timedelta(days=7)
GONE = ".gone-"
_AGAIN = "put it back with: manage.py model register FOLDER"


def key(artifact: str, name: str) -> str:
    """The object of a file of an artifact."""
    return f"{PREFIX}{artifact}/{name}"


def upload(*, folder: Path, sums: Sums, anew: bool) -> None:
    """Store every file of a model folder, the list of them last.

    Objects left by an upload that ended early are used again. One whose content does not match its
    digest is damaged, and is written again.

    Args:
        anew: no row names the artifact yet. Its list is then written in any case, so that the
            check for orphans sees a young one.

    Raises:
        ModelError: a file has changed since it was listed, or cannot be read.
        predictions.storage.StorageUnavailableError: not all are stored; try again.
    """
    if anew:
        storage.delete(key(sums.digest, SUMS_NAME))
    for name, digest in sums.files.items():
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise ModelError(f"cannot read {folder / name}: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise ModelError(f"{folder / name} has changed while it was registered: try again")
        _put(key(sums.digest, name), content)
    _put(key(sums.digest, SUMS_NAME), sums.text)


def _put(name: str, content: bytes) -> None:
    try:
        storage.put(name, content)
    except FileExistsError:
        logger.error("%s was damaged and is written again", name)
        storage.delete(name)
        storage.put(name, content)


def is_complete(sums: Sums) -> bool:
    """Whether every object of the artifact is there, by name."""
    names = (*sums.files, SUMS_NAME)
    return all(storage.exists(key(sums.digest, name)) for name in names)


def is_listed(artifact: str) -> bool:
    """Whether the list of its files is there, which is written last."""
    return storage.exists(key(artifact, SUMS_NAME))


def _read(name: str) -> bytes:
    try:
        return storage.get(name)
    except FileNotFoundError:
        raise ModelError(f"{name} is missing from the object store: {_AGAIN}") from None


def contents(artifact: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file of an artifact, each checked, the list of them last.

    Raises:
        ModelError: an object is missing or damaged; the message names it.
        predictions.storage.StorageUnavailableError: the store does not answer.
    """
    name = key(artifact, SUMS_NAME)
    text = _read(name)
    sums = Sums.parse(text, digest=artifact, where=f"{name} in the object store")
    for name, digest in sums.files.items():
        content = _read(key(artifact, name))
        if hashlib.sha256(content).hexdigest() != digest:
            raise ModelError(
                f"{key(artifact, name)} in the object store is damaged: its digest is not that "
                f"of {SUMS_NAME}; {_AGAIN}"
            )
        yield name, content
    yield SUMS_NAME, text


def check(artifact: str) -> None:
    """Read and check all of an artifact in the store; see `contents`."""
    for _ in contents(artifact):
        pass


def fetch(*, artifact: str, target: Path) -> None:
    """Copy an artifact to a folder, which appears only once it is whole.

    Raises:
        ModelError: an object is missing or damaged, or the folder cannot be written or is taken.
        predictions.storage.StorageUnavailableError: the store does not answer.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}.", dir=target.parent))
    except OSError as error:
        raise ModelError(f"cannot write beside {target}: {error.strerror}") from None
    try:
        for name, content in contents(artifact):
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(content)
        draft.chmod(0o755)
        draft.rename(target)
    except OSError as error:
        raise ModelError(f"cannot write {target}: {error.strerror}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def local(artifact: str) -> Path:
    """The artifact's folder on this machine, fetched if need be, and checked in any case.

    Raises:
        ModelError: it is damaged here or in the store; the message names the file.
        predictions.storage.StorageUnavailableError: the store does not answer.
    """
    folder: Path = settings.DATA_DIR / "models" / artifact
    if not folder.is_dir():
        try:
            fetch(artifact=artifact, target=folder)
        except ModelError:
            # Another worker of this machine may have been first.
            if not folder.is_dir():
                raise
    # Before the check, which takes a while: another worker may be clearing up.
    try:
        os.utime(folder)
    except FileNotFoundError:
        fetch(artifact=artifact, target=folder)
    except OSError as error:
        raise ModelError(f"cannot use {folder}: {error.strerror}") from None
    _prune(folder.parent)
    try:
        verify(folder, artifact)
    except ModelError as error:
        raise ModelError(f"{error}; remove the folder {folder}: it is fetched anew") from None
    return folder


def load(version: ModelVersion, *, threads: int, engine: str = "onnx") -> Analyzer:
    """Fetch, check, load and warm up a network.

    Raises:
        ModelError: it cannot be used; the message names the file and what to do.
        predictions.storage.StorageUnavailableError: its files cannot be fetched at the moment.
    """
    analyzer = load_analyzer(local(version.artifact), engine=engine, threads=threads)
    analyzer.warm_up()
    return analyzer


def _prune(root: Path) -> None:
    """Remove what this disk has not used for long; if it is needed again, it is fetched again.

    This includes drafts left by a killed worker.
    """
    answers = Q(stage=ModelVersion.Stage.PRODUCTION) | Q(shadow=True)
    kept = set(ModelVersion.objects.filter(answers).values_list("artifact", flat=True))
    limit = time.time() - UNUSED.total_seconds()
    for folder in root.iterdir():
        # Another worker may have been first.
        with suppress(OSError):
            if folder.name not in kept and folder.stat().st_mtime < limit:
                # Renamed first: a folder that is half removed would be taken for a damaged one.
                gone = folder.with_name(f"{GONE}{folder.name.removeprefix(GONE)}")
                shutil.rmtree(folder.rename(gone), ignore_errors=True)


def stored() -> Iterator[tuple[str, datetime]]:
    """Each artifact that has objects in the store, with the time of its youngest one."""
    name, youngest = "", None
    for entry, changed in storage.walk(PREFIX):
        artifact = entry.removeprefix(PREFIX).split("/")[0]
        if youngest is not None and artifact != name:
            yield name, youngest
            youngest = None
        name, youngest = artifact, changed if youngest is None else max(youngest, changed)
    if youngest is not None:
        yield name, youngest


def remove(artifact: str) -> int:
    """Remove all objects of an artifact from the store, and return how many there were."""
    return storage.delete_prefix(f"{PREFIX}{artifact}/")
