"""What is written beside its place first, and there whole or not at all, also on a full disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

# What to do when it was a training that could not write.
GO_ON = "the last checkpoint is whole, so make room and go on with --resume"
# What to do when something that is there already cannot be written anew.
AGAIN = "it is as it was, so make room and give the command again"

# What to do when something new cannot be written.
ANEW = "make room and give the command again"


@contextmanager
def naming(target: Path, draft: Path, *, remedy: str = "") -> Iterator[None]:
    """Leave no draft of what cannot be written, and say what that was.

    Args:
        target: file or folder that is meant.
        draft: what is written first.
        remedy: what to do; without one, the error stays the system's own.

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
        if not remedy:
            raise
        why = error.strerror or error
        raise OSError(f"{target} cannot be written ({why}): {remedy}") from None


@contextmanager
def replacing(path: Path, *, remedy: str = "") -> Iterator[Path]:
    """A file to write, which takes the place of `path` in one step.

    Args:
        path: the file to write or replace.
        remedy: see `naming`.

    Raises:
        OSError: it cannot be written; see `naming`.
    """
    draft = path.with_name(f"{path.name}.part")
    with naming(path, draft, remedy=remedy):
        yield draft
        draft.replace(path)


def beside(path: Path, suffix: str) -> Path:
    """The hidden place next to a folder where it is made (`new`) or moved aside (`old`)."""
    return path.with_name(f".{path.name}.{suffix}")


def put_in_place(fresh: Path, target: Path, *, kept: Sequence[str] = ()) -> None:
    """Move a finished folder to `target`, and remove what was there, in this order.

    Whoever is killed in between leaves the one or the other whole, and `recover` finds it.

    Args:
        fresh: beside `target`, on the same file system.
        kept: names in the folder that was there of what moves along into the new one.

    Raises:
        OSError: it cannot be moved.
    """
    recover(target, kept=kept)
    old = beside(target, "old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    # Only now: until here whoever is killed leaves them in a folder that `recover` knows.
    _move_along(kept, old, target)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def replacing_folder(target: Path, *, remedy: str = "", kept: Sequence[str] = ()) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `target` once all is in it.

    Whatever breaks it off, what was begun is removed.

    Args:
        target: the folder to write or replace.
        remedy: see `naming`.
        kept: see `put_in_place`.

    Raises:
        OSError: it cannot be written; see `naming`.
    """
    recover(target, kept=kept)
    fresh = beside(target, "new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with naming(target, fresh, remedy=remedy):
            fresh.mkdir(parents=True)
            yield fresh
        put_in_place(fresh, target, kept=kept)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def recover(target: Path, *, kept: Sequence[str] = ()) -> None:
    """Put back what `put_in_place` has moved aside, if it was killed then."""
    old = beside(target, "old")
    if old.exists() and not target.exists():
        old.rename(target)
    else:
        _move_along(kept, old, target)


def _move_along(names: Sequence[str], old: Path, target: Path) -> None:
    for name in names:
        if (old / name).exists() and not (target / name).exists():
            (old / name).rename(target / name)
