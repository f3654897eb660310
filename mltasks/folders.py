"""Folders that are there whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path


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
