"""Parts of a data set: which slices are learnt from, watched and held out, and what names them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mltasks.classes import CLASSES
from mltasks.data import DataError, Record, Sample
from mltasks.manifest import MANIFEST
from mltasks.negatives import Named
from mltasks.training import DataConfig


def set_aside(records: list[Record], share: float) -> tuple[list[Record], list[Record]]:
    """Split off whole groups with about `share` of the records, by a digest of their names.

    The same groups every time, whatever else is in the data.
    """
    watched = {
        group
        for group in {record.group for record in records}
        if int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) < share * 16**8
    }
    return (
        [record for record in records if record.group not in watched],
        [record for record in records if record.group in watched],
    )


def split(records: list[Record], fold: int) -> tuple[list[Record], list[Record]]:
    """Records to learn from, and those that are held out to calibrate and evaluate on.

    Raises:
        DataError: one of them is empty, or a group lies on both sides.
    """
    learnt = [record for record in records if record.fold != fold]
    held_out = [record for record in records if record.fold == fold]
    if not learnt or not held_out:
        raise DataError(f"the data has no slices inside, or none outside, fold {fold}")
    shared = {r.group for r in learnt} & {r.group for r in held_out}
    if shared:
        raise DataError(f"groups on both sides of fold {fold}: {', '.join(sorted(shared)[:5])}")
    return learnt, held_out


def check_classes(folder: Path, records: list[Record], where: str) -> None:
    """Refuse a part of the data without all classes: its figures would be of another question.

    Raises:
        DataError: names manifest and class.
    """
    missing = [name for name in CLASSES if name not in {record.label for record in records}]
    if missing:
        raise DataError(
            f"{folder / MANIFEST} has no slice of {', '.join(missing)} {where}: add some, or "
            "split the data anew"
        )


def learnt_from(
    wanted: DataConfig, samples: Iterable[Sample], watched: Iterable[Sample], others: Named
) -> dict[str, Any]:
    """What a run is determined by beside [network] and [training], by the words for it."""
    settings = {name: own for name, own in asdict(wanted).items() if name != "drawn_held_out"}
    return settings | {
        "slices learnt from": samples_digest(samples),
        "slices watched": samples_digest(watched),
        # Their number says that a folder was forgotten; their pixels may differ by a rounding.
        "other pictures": dict(Counter(source for source, _ in others)),
    }


def samples_digest(samples: Iterable[Sample]) -> str:
    """Names slices in their order, with what the manifest need not say a digest of."""
    digest = hashlib.sha256()
    for sample in samples:
        record = sample.record
        stated = (record.id, record.label, record.plane, record.group, record.sha256)
        digest.update(repr(stated).encode())
        if not record.sha256:
            digest.update(sample.pixels.tobytes())
        if sample.mask is not None:
            digest.update(sample.mask.tobytes())
    return digest.hexdigest()
