"""Folds that keep groups whole and balance classes and planes, drawn once.

A group is formed by near copies, images of one patient, groups the data came with, and neighbours
in a series. Existing folds stay: the images of an older set keep theirs when new ones are added,
unless a new draw is asked for.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mltasks.data import DataError
from mltasks.datasets.copies import Groups, find_pairs
from mltasks.datasets.form import (
    BRIDGE,
    Dataset,
    Progress,
    Row,
    no_progress,
    read_dataset,
    replace_rows,
)
from mltasks.datasets.gathering import Gathered, gather
from mltasks.datasets.relations import join_all, relate
from mltasks.images import Limits

FOLDS = 5
_KEY = "split"
_MEND = "mend the file or exclude its row, then import the folder anew, as docs/data.md says"


@dataclass(frozen=True, slots=True)
class Request:
    """What `manage.py dataset split` was asked for.

    Attributes:
        folds: how many; None means as many as the data has, or `FOLDS`.
        groups: groups.csv of an audit, to use instead of searching again.
        redraw: whether existing folds are drawn anew.
    """

    folder: Path
    limits: Limits
    folds: int | None = None
    seed: int = 0
    groups: Path | None = None
    redraw: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a split.

    Attributes:
        kept, drawn: images that kept their fold, and images that got one.
        left_out: images excluded because their group lies in several existing folds.
        torn: groups that lie in several existing folds.
        counts: of each fold that has images, how many of each class.
        folds, groups: how many there are.
    """

    data: Dataset
    kept: int
    drawn: int
    left_out: int
    torn: int
    counts: dict[int, dict[str, int]]
    folds: int
    groups: int

    @property
    def labels(self) -> list[str]:
        """The classes in any fold."""
        return sorted({label for counts in self.counts.values() for label in counts})


def split(request: Request, *, progress: Progress = no_progress) -> Outcome:
    """Put every image into a group and a fold, and store both in the manifest.

    Raises:
        DataError: the data has faults, another number of folds, or cannot be written.
    """
    data = read_dataset(request.folder)
    if data.faults:
        fault = data.faults[0]
        raise DataError(f"{request.folder} has faults: {fault.where}: {fault.message}; {_MEND}")
    rows = [row for row in data.rows if row.grouped]
    before = [None if request.redraw else row.fold for row in rows]
    folds = _folds(data, rows, request)
    labels = _groups(data, rows, request, progress)
    if all(fold is not None for fold in before):
        return _outcome(data, rows, before, labels, folds)
    after = assign(labels, [(row.label, row.plane) for row in rows], before, folds, request.seed)
    names = _group_names(rows, labels)
    changed = {
        row.id: replace(
            row, fold=fold, group=names[int(label)], excluded="" if fold is not None else BRIDGE
        )
        for row, fold, label in zip(rows, after, labels, strict=True)
    }
    new_rows = [changed.get(row.id, row) for row in data.rows]
    info = {**data.info, _KEY: _policy(data, request, folds, before)}
    data = replace_rows(data, new_rows, info)
    return _outcome(data, [changed[row.id] for row in rows], before, labels, folds)


def _folds(data: Dataset, rows: Sequence[Row], request: Request) -> int:
    """The number of folds: as many as exist, unless all are drawn anew."""
    there = max((row.fold for row in rows if row.fold is not None), default=-1) + 1
    if there:
        there = max(there, (data.info.get(_KEY) or {}).get("folds", 0))
    # A single fold is no split.
    known = there if there > 1 else FOLDS
    folds = known if request.folds is None else request.folds
    if not 2 <= folds <= 100:
        raise DataError("a split has 2 to 100 folds")
    if there > 1 and folds != known and not request.redraw:
        raise DataError(
            f"the data is split into {known} folds: leave --folds out, or say --redraw to give "
            "that split up"
        )
    return folds


def _outcome(
    data: Dataset, rows: Sequence[Row], before: Sequence[int | None], labels: Any, folds: int
) -> Outcome:
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row.fold is not None:
            counts[row.fold][row.label] += 1
    kept = sum(fold is not None for fold in before)
    left_out = sum(row.fold is None for row in rows)
    return Outcome(
        data=data,
        kept=kept,
        drawn=len(rows) - kept - left_out,
        left_out=left_out,
        torn=_torn(labels, [row.fold for row in rows]),
        counts={fold: dict(sorted(counts[fold].items())) for fold in sorted(counts)},
        folds=folds,
        groups=len(np.unique(labels)),
    )


def _policy(
    data: Dataset, request: Request, folds: int, before: Sequence[int | None]
) -> dict[str, Any]:
    """How the split was made, and the earlier splits."""
    old = data.info.get(_KEY) or {}
    history = list(old.get("replaces", []))
    if any(row.fold is not None for row in data.rows):
        history.append({"digest": data.digest, "redrawn": request.redraw})
    return {
        "folds": folds,
        "seed": request.seed,
        "groups": "near copies, patients, groups of the source, neighbours in a series",
        "stratified_by": ["label", "plane"],
        "kept": sum(fold is not None for fold in before),
        "replaces": history,
    }


def _groups(data: Dataset, rows: Sequence[Row], request: Request, progress: Progress) -> Any:
    """The group of each row, as the place of its first member: int (n,)."""
    if request.groups is not None:
        return _read_groups(data, rows, request.groups)
    # Images excluded by an earlier split still connect others.
    found = gather([replace(data, rows=rows)], request.limits, None, progress)
    broken = [fault for _, fault in found.faults if fault.kind in {"missing", "damaged", "digest"}]
    if broken or len(found.rows) < len(rows):
        where = f"{broken[0].where}: {broken[0].message}" if broken else "see dataset audit"
        raise DataError(f"{data.folder} has faults: {where}; {_MEND}")
    return joined_groups(found, progress)


def joined_groups(found: Gathered, progress: Progress) -> Any:
    """The groups for splitting of images that were read: int (n,)."""
    copies = relate(found, find_pairs(found.store, progress=progress)).groups
    return join_all(found, copies).labels()


def _read_groups(data: Dataset, rows: Sequence[Row], path: Path) -> Any:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = csv.DictReader(stream)
            if lacking := {"set", "id", "group"}.difference(lines.fieldnames or ()):
                raise DataError(
                    f"{path} is no groups.csv of an audit: its first line lacks "
                    f"{', '.join(sorted(lacking))}"
                )
            table = {line["id"]: line["group"] for line in lines if line["set"] == data.name}
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} as groups.csv of an audit: {error}") from None
    missing = [row.id for row in rows if row.id not in table]
    if missing:
        raise DataError(
            f"{path} has no group for {len(missing)} images, such as {missing[0]}: the audit did "
            f"not see or could not read them; {_MEND}, and audit it again"
        )
    groups, first = Groups(len(rows)), dict[tuple[str, str], int]()
    for place, row in enumerate(rows):
        for key in (("audit", table[row.id]), ("patient", row.patient), ("group", row.group)):
            if key[1]:
                groups.join(place, first.setdefault(key, place))
    return groups.labels()


def _group_names(rows: Sequence[Row], labels: Any) -> dict[int, str]:
    """A group is named after its first image by id, so that the others' names do not change."""
    names: dict[int, str] = {}
    for row, label in zip(rows, labels, strict=True):
        names[int(label)] = min(row.id, names.get(int(label), row.id))
    return names


def _torn(labels: Any, folds: Sequence[int | None]) -> int:
    places: dict[int, set[int]] = defaultdict(set)
    for label, fold in zip(labels, folds, strict=True):
        if fold is not None:
            places[int(label)].add(fold)
    return sum(len(found) > 1 for found in places.values())


def assign(
    labels: Sequence[int],
    strata: Sequence[Any],
    before: Sequence[int | None],
    folds: int,
    seed: int,
) -> list[int | None]:
    """A fold for each image; groups are kept whole and strata even.

    Groups are assigned from the largest to the smallest, each to the fold that makes the shares of
    its strata most even. Images with a fold keep it, and the rest of their group joins them. If a
    group has images in several folds, the rest of it gets None.

    Args:
        labels: group of each of the n images.
        strata: of each image, what is to be spread evenly.
        before: fold of each image, or None.
        folds: how many there are.
        seed: decides between equals.
    """
    traits = _traits(strata)
    members: dict[int, list[int]] = defaultdict(list)
    for place, label in enumerate(labels):
        members[int(label)].append(place)
    total = traits.sum(axis=0)
    filled = np.zeros((folds, len(total)))
    after = list(before)
    rng = np.random.default_rng(seed)
    order = sorted(members, key=lambda label: (-len(members[label]), rng.random()))
    waiting = []
    for label in order:
        there = {fold for place in members[label] if (fold := before[place]) is not None}
        for place in members[label]:
            if len(there) == 1 and before[place] is None:
                (after[place],) = there
            if (fold := after[place]) is not None:
                filled[fold] += traits[place]
        if not there:
            waiting.append(label)
    for label in waiting:
        own = traits[members[label]].sum(axis=0)
        # How uneven the shares would be if the group went to this fold.
        grown = (filled + own) / np.maximum(total, 1)
        cost = ((grown**2 - (filled / np.maximum(total, 1)) ** 2) * (own > 0)).sum(axis=1)
        best = int(rng.choice(np.flatnonzero(cost <= cost.min() + 1e-12)))
        filled[best] += own
        for place in members[label]:
            after[place] = best
    return after


def _traits(strata: Sequence[Any]) -> Any:
    """What is to be spread evenly: float64 (n, traits) of 0 and 1.

    A stratum such as (class, plane) is spread as a whole and by each of its parts, and so are all
    images: else a fold with a large group of one plane could also get its class's other planes.
    """
    whole = [stratum if isinstance(stratum, tuple) else (stratum,) for stratum in strata]
    columns = [np.ones((len(whole), 1))]
    for values in ([str(stratum) for stratum in whole], *zip(*whole, strict=True)):
        codes = np.unique([str(value) for value in values], return_inverse=True)[1]
        columns.append(np.eye(int(codes.max()) + 1)[codes])
    return np.hstack(columns)
