"""What is written beside its place first, and there whole or not at all, also on a full disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# What to do when it was a training that could not write.
GO_ON = "the last checkpoint is whole, so make room and go on with --resume"


@contextmanager
def naming(target: Path, draft: Path, *, remedy: str) -> Iterator[None]:
    """Leave no draft of what cannot be written, and say what that was.

    Args:
        target: file or folder that is meant.
        draft: what is written first.
        remedy: what to do.

    Raises:
        OSError: names target and remedy.
    """
    try:
        yield
    except OSError as error:
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        why = error.strerror or error
        raise OSError(f"{target} cannot be written ({why}): {remedy}") from None


@contextmanager
def replacing(path: Path, *, remedy: str) -> Iterator[Path]:
    """A file to write, which takes the place of `path` in one step.

    Args:
        path: the file to write or replace.
        remedy: what to do if it cannot be written.

    Raises:
        OSError: names `path` and the remedy.
    """
    draft = path.with_name(f"{path.name}.part")
    with naming(path, draft, remedy=remedy):
        yield draft
        draft.replace(path)


def put_in_place(fresh: Path, target: Path) -> None:
    """Move a finished folder to `target`, and remove what was there, in this order.

    Args:
        fresh: beside `target`, on the same file system.

    Raises:
        OSError: it cannot be moved.
    """
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)
