"""What an import takes over from an older set: its images, folds and collections."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mltasks.data import DataError
from mltasks.datasets.form import Row, collections, read_dataset

_SPLITS = "split"


def take_over(folder: Path, onto: Path, info: dict[str, Any]) -> list[Row]:
    """Copy an older set into a new folder, and add what its dataset.json says.

    Args:
        info: what the new images' dataset.json says; changed to describe both sets.

    Returns:
        The rows of the older set.

    Raises:
        DataError: the older set has faults, or one of its files is missing or has changed.
        OSError: the new folder cannot be written.
    """
    older = read_dataset(onto)
    if older.faults:
        raise DataError(f"{onto} has faults: {older.faults[0].message}")
    for row in older.rows:
        _copy(onto / row.image, folder / row.image, row.sha256)
        if row.has_mask:
            _copy(onto / row.mask, folder / row.mask, row.mask_sha256)
    info["parts"] = [_summary(part) for part in (*collections(older.info), *collections(info))]
    # The new images' folds are dropped, and with them the record of how they were split.
    info.pop(_SPLITS, None)
    if _SPLITS in older.info:
        info[_SPLITS] = older.info[_SPLITS]
    return list(older.rows)


def _copy(source: Path, target: Path, sha256: str) -> None:
    """Copy a file of an older set.

    Args:
        sha256: as stated by its manifest; empty if it states none.

    Raises:
        DataError: the file is missing or has changed.
    """
    try:
        content = source.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {source}: {error.strerror}; restore it first") from None
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(
            f"{source} is not the file of the manifest: its digest differs; restore it first"
        )
    target.write_bytes(content)


def _summary(info: Mapping[str, Any]) -> dict[str, Any]:
    return {name: info.get(name) for name in ("name", "licence", "citation", "source", "digest")}
