"""Checkpoints in the object store: whoever takes a run over goes on from there.

    training/<run>/<number>/<name>        the files of one checkpoint
    training/<run>/<number>/SHA256SUMS    their digests, written last

What has no list is not there. A number is written once; when one is whole, all but the one
before it are removed, so that a damaged one leaves another to go on from.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from mltasks.artifact import SUMS_NAME, Sums
from mltasks.engines import ModelError
from mltasks.training.trainer import position
from predictions import storage
from training.models import TrainingRun

logger = logging.getLogger(__name__)

PREFIX = "training/"
# All that a run needs to go on; the curves can be drawn anew from it.
_FILES = ("state.npz", "best.npz")
_WHOLE = 2
# A run that was given up may be taken up again for so long.
PATIENCE = timedelta(days=30)


def _prefix(run_id: UUID) -> str:
    return f"{PREFIX}{run_id}/"


def _numbers(run_id: UUID) -> dict[int, bool]:
    """The run's checkpoints, and whether each is whole."""
    found: dict[int, bool] = {}
    for key, _ in storage.walk(_prefix(run_id)):
        number, _, name = key.removeprefix(_prefix(run_id)).partition("/")
        if number.isdigit():
            found[int(number)] = found.get(int(number), False) or name == SUMS_NAME
    return found


class CheckpointUploader:
    """Copies a run's checkpoints to the store as it goes, not more often than the setting says."""

    def __init__(self, run_id: UUID, *, alive: Callable[[], None]) -> None:
        self._run_id, self._alive = run_id, alive
        self._next = 0.0

    def __call__(self, folder: Path) -> None:
        """Copy what is new in the folder; a store that is away costs a warning, not the run."""
        if time.monotonic() < self._next:
            return
        # A worker whose run was taken over must not write over its successor's progress.
        self._alive()
        try:
            keep(run_id=self._run_id, folder=folder)
        except storage.StorageUnavailableError as error:
            logger.warning("the checkpoint was not copied to the store: %s", type(error).__name__)
        self._next = time.monotonic() + settings.TRAINING_CHECKPOINT_SECONDS


def keep(*, run_id: UUID, folder: Path) -> None:
    """Copy the folder's checkpoint, then remove those before the last one.

    Raises:
        predictions.storage.StorageUnavailableError: not all of it is stored.
    """
    contents = {name: (folder / name).read_bytes() for name in _FILES if (folder / name).exists()}
    sums = Sums({name: hashlib.sha256(content).hexdigest() for name, content in contents.items()})
    there = _numbers(run_id)
    number = max(there, default=0) + 1
    where = f"{_prefix(run_id)}{number:06d}/"
    try:
        for name, content in contents.items():
            storage.put(where + name, content)
        storage.put(where + SUMS_NAME, sums.text)
    except FileExistsError:
        raise storage.StorageUnavailableError("another worker writes it") from None
    whole = sorted((one for one, is_whole in there.items() if is_whole), reverse=True)
    for one in set(there) - set(whole[: _WHOLE - 1]):
        # Its list goes first, so that nobody takes what is left for a checkpoint.
        storage.delete(f"{_prefix(run_id)}{one:06d}/{SUMS_NAME}")
        storage.delete_prefix(f"{_prefix(run_id)}{one:06d}/")


def fetch(*, run_id: UUID, folder: Path) -> bool:
    """Bring the folder to the last checkpoint in the store, unless it is as far already.

    A damaged checkpoint is passed over for the one before it.

    Returns:
        Whether the folder was changed.

    Raises:
        predictions.storage.StorageUnavailableError: the store does not answer.
    """
    whole = [number for number, is_whole in _numbers(run_id).items() if is_whole]
    for number in sorted(whole, reverse=True):
        where = f"{_prefix(run_id)}{number:06d}/"
        draft = folder.with_name(f".{folder.name}.fetched")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            _download(where, draft)
            # In this order: without a state, nothing else counts as a checkpoint.
            here, there = position(folder), position(draft)
            if there is None:
                raise ModelError(f"{where} holds no checkpoint")
            if here is not None and here >= there:
                return False
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
        except (ModelError, FileNotFoundError) as error:
            logger.error("a checkpoint in the store cannot be used: %s", error)
        else:
            return True
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return False


def _download(where: str, draft: Path) -> None:
    sums = Sums.parse(storage.get(where + SUMS_NAME), where=where + SUMS_NAME)
    draft.mkdir(parents=True)
    for name, digest in sums.files.items():
        content = storage.get(where + name)
        if name not in _FILES or hashlib.sha256(content).hexdigest() != digest:
            raise ModelError(f"{where}{name} is damaged: its digest is not that of {SUMS_NAME}")
        (draft / name).write_bytes(content)


def remove(run_id: UUID) -> None:
    """Remove all of the run's checkpoints from the store."""
    storage.delete_prefix(_prefix(run_id))


def tidy() -> int:
    """Remove the checkpoints that nobody will go on from, and say of how many runs."""
    runs = {key.removeprefix(PREFIX).partition("/")[0] for key, _ in storage.walk(PREFIX)}
    removed = 0
    for name in runs:
        try:
            run = TrainingRun.objects.filter(pk=UUID(name)).first()
        except ValueError:
            continue
        if run is None or _is_over(run):
            storage.delete_prefix(f"{PREFIX}{name}/")
            removed += 1
    return removed


def tidy_disk() -> None:
    """Remove folders of runs that ended long ago from this worker's disk; see `folder_of`.

    Until then somebody may look at them, or take the run up again.
    """
    root = Path(settings.DATA_DIR) / "training"
    for folder in list(root.iterdir()) if root.is_dir() else []:
        try:
            run = TrainingRun.objects.filter(pk=UUID(folder.name)).first()
        except ValueError:
            # Of the data sets, which `data` clears up itself.
            continue
        if run is None or _ended_long_ago(run):
            shutil.rmtree(folder, ignore_errors=True)


def _ended_long_ago(run: TrainingRun) -> bool:
    return run.finished_at is not None and run.finished_at < timezone.now() - PATIENCE


def _is_over(run: TrainingRun) -> bool:
    return run.status == TrainingRun.Status.SUCCEEDED or _ended_long_ago(run)
