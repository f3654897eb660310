"""The data of a run, fetched by digest to the worker's own disk."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.conf import settings

from mltasks.data import DataError
from mltasks.datasets import remote
from mltasks.management.data import place
from mltasks.progress import Tick
from training.models import TrainingRun

Report = Callable[[str], None]
# Data sets kept on a worker's disk: the present one, and the one before it.
KEPT = 2


def obtain(run: TrainingRun, *, report: Report, save_digest: Callable[[str], None]) -> Path:
    """The folder to train from.

    A run that names its data set gets that one, whatever its name stands for by now. One that
    was asked for by a person takes TRAINING_DATA, or else what TRAINING_DATASET stands for.

    Args:
        report: told how far the transfer is.
        save_digest: told the digest, which the run keeps from then on.

    Raises:
        DataError: there is none, or it cannot be fetched.
    """
    digest = run.dataset
    if not digest and settings.TRAINING_DATA is not None:
        return Path(settings.TRAINING_DATA)
    if not digest and not settings.TRAINING_DATASET:
        raise DataError(
            "no training data: set TRAINING_DATA or TRAINING_DATASET on the training worker"
        )
    if not digest:
        digest = remote.resolve(settings.TRAINING_DATASET, place())
        save_digest(digest)
    return _fetched(digest, report)


def _fetched(digest: str, report: Report) -> Path:
    root = Path(settings.DATA_DIR) / "training" / "data"
    folder = root / digest
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _alone(root / f".{digest}.lock"):
            if not folder.is_dir():
                remote.pull(digest, folder, place(), progress=_progress(report))
            _prune(root, folder)
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror}") from None
    return folder


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Workers that share a disk fetch the same data set one after another."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _progress(report: Report) -> Any:
    @contextmanager
    def bar(_what: str, total: int) -> Iterator[Tick]:
        done = 0

        def tick(count: int) -> None:
            nonlocal done
            done += count
            report(f"fetching the data: {done:,} of {total:,} files")

        yield tick

    return bar


def _prune(root: Path, present: Path) -> None:
    """Remove what was fetched longest ago, and what was never fetched to its end.

    A set in use elsewhere on this disk is among the last.
    """
    present.touch()
    folders = [one for one in root.iterdir() if one.is_dir() and not one.name.startswith(".")]
    for folder in sorted(folders, key=lambda one: one.stat().st_mtime, reverse=True)[KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)
        (root / f".{folder.name}.lock").unlink(missing_ok=True)
    for waiting in root.glob(".*.pull"):
        # Of a worker that died; one that is alive holds the lock. The lock stays: another worker
        # may be waiting for it.
        with waiting.with_suffix(".lock").open("w") as stream, suppress(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(waiting, ignore_errors=True)
