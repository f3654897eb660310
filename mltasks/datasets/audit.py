"""The steps of an audit, in order: read, compare, test the comparison, shortcuts, report."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mltasks.classes import NO_TUMOR
from mltasks.data import DataError
from mltasks.datasets import shortcuts, trial
from mltasks.datasets.copies import FRAMED, WHOLE, find_pairs, likeness_within
from mltasks.datasets.fingerprints import TURNS, turned_pictures
from mltasks.datasets.form import Progress, collections, no_progress
from mltasks.datasets.gathering import Gathered, gather, open_sets
from mltasks.datasets.masks import check_mask, misplaced
from mltasks.datasets.relations import Relations, join_all, part_of, relate
from mltasks.datasets.report import PICTURES, write_report
from mltasks.datasets.series import neighbours_by_name
from mltasks.drafts import replacing_folder
from mltasks.evaluation import dice_score, proportion_interval
from mltasks.images import Limits
from mltasks.inference import Analyzer

GROUPS = "groups.csv"
# All that a report folder holds; only a folder with exactly these is overwritten.
_OWN = {"report.html", "report.json", GROUPS, PICTURES}
_PICTURE = re.compile(r"\d+\.jpg")
# Masks of neighbours that overlap less than this show another slice or tumour.
_OTHER_TUMOUR = 0.5
_MOST_NEIGHBOURS = 2000


@dataclass(frozen=True, slots=True)
class Request:
    """What `manage.py dataset audit` was asked for.

    Attributes:
        trial: how many images to alter in order to measure the search for copies; 0 skips this.
    """

    folders: Sequence[Path]
    output: Path
    limits: Limits
    analyzer: Analyzer | None = None
    trial: int = 300
    seed: int = 0

    def command(self) -> str:
        """The command that repeats the audit, with placeholders for folders."""
        sets = " ".join(["DATA"] * len(self.folders))
        model = "" if self.analyzer is None else " --model MODEL"
        return (
            f"python manage.py dataset audit {sets} --output DIR{model} "
            f"--trial {self.trial} --seed {self.seed}"
        )


def audit(request: Request, *, progress: Progress = no_progress) -> dict[str, Any]:
    """Audit data sets and write the report folder; returns what report.json says.

    Raises:
        DataError: a folder holds no data set, or the report cannot be written.
    """
    if not _may_replace(request.output):
        raise DataError(
            f"{request.output} is there and is no audit report, or holds other files, too: choose "
            "another output"
        )
    sets = open_sets(request.folders)
    found = gather(sets, request.limits, request.analyzer, progress)
    if not found.rows:
        raise DataError(
            f"none of the images can be used; the first fault: {found.faults[0][1].where}: "
            f"{found.faults[0][1].message}"
        )
    relations = relate(found, find_pairs(found.store, progress=progress))
    joined = join_all(found, relations.groups)
    figures = {
        "command": request.command(),
        "sets": [_describe(found, number) for number in range(len(sets))],
        "faults": [
            {"set": name, "kind": fault.kind, "where": fault.where, "message": fault.message}
            for name, fault in found.faults
        ],
        "copies": _copies(relations, found),
        "copy_search": _trial(found, request),
        "groups": {"copies": _sizes(relations.groups.labels()), "all": _sizes(joined.labels())},
        "masks": _masks(found, request),
        "not_brains": _not_brains(found, request),
        "shortcuts": shortcuts.measure(
            found.before,
            found.after,
            [row.label for row in found.rows],
            [int(label) for label in joined.labels()],
            progress=progress,
        ),
    }
    try:
        with replacing_folder(request.output) as fresh:
            (fresh / GROUPS).write_bytes(_groups_table(found, relations, joined.labels()))
            write_report(fresh, figures, found, relations, request.limits)
    except OSError as error:
        raise DataError(f"cannot write {request.output}: {error.strerror or error}") from error
    return figures


def _may_replace(output: Path) -> bool:
    """Whether nothing is lost if a report takes this place."""
    if not output.is_dir():
        return not output.exists()
    names = {path.name for path in output.iterdir()}
    pictures = (output / PICTURES).glob("*")
    return not names or (names == _OWN and all(_PICTURE.fullmatch(path.name) for path in pictures))


def _describe(found: Gathered, number: int) -> dict[str, Any]:
    data = found.sets[number]
    rows = [row for row, own in zip(found.rows, found.set_of, strict=True) if own == number]
    parts = [
        {key: part.get(key) or "" for key in ("name", "licence", "citation")}
        for part in collections({"name": data.name, **data.info})
    ]
    return {
        "name": data.name,
        "digest": data.digest,
        "parts": parts,
        "images": len(rows),
        "listed": len(data.rows),
        "excluded": sum(not row.grouped for row in data.rows),
        "masks": sum(row.has_mask for row in rows),
        "labels": dict(sorted(Counter(row.label for row in rows).items())),
        "planes": dict(sorted(Counter(row.plane or "unknown" for row in rows).items())),
    }


def _copies(relations: Relations, found: Gathered) -> dict[str, Any]:
    """Counts, and how many images of each part, fold and set have a copy in each other one."""
    totals: dict[str, Counter[Any]] = {
        "set": Counter(found.sets[number].name for number in found.set_of),
        "part": Counter(_parts(found)),
        "fold": Counter(row.fold for row in found.rows),
    }
    beyond = []
    for name, counts in relations.copied.items():
        for (one, other), places in sorted(counts.items(), key=lambda item: str(item[0])):
            if one != other:
                total = totals[name][one]
                beyond.append(
                    {
                        "of": name,
                        "one": one,
                        "other": other,
                        "images": len(places),
                        "total": total,
                        "share": round(len(places) / total, 4),
                        "ci95": proportion_interval(len(places), total),
                    }
                )
    return {
        "measure": "correlation of 32×32 cells, best of eight turns",
        "thresholds": {"whole": WHOLE, "framed": FRAMED},
        "pairs": dict(relations.pairs),
        "pairs_of_equal_pixels": relations.exact,
        "turns": {str(turn): count for turn, count in sorted(relations.turns.items())},
        "likeness": {f"{k / 500:.3f}": v for k, v in sorted(relations.likeness.items())},
        "beyond": beyond,
        "contradicting_images": sorted(found.name(place) for place in relations.contradictions),
        "existing_groups": dict(relations.existing),
    }


def _parts(found: Gathered) -> list[str]:
    return [part_of(row) for row in found.rows]


def _sizes(labels: Any) -> dict[str, int]:
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    return {
        "groups": len(counts),
        "of_one": int((counts == 1).sum()),
        "largest": int(counts.max()),
    }


def _trial(found: Gathered, request: Request) -> dict[str, Any]:
    """The search for copies, measured on pairs whose truth is known."""
    if not request.trial:
        return {}
    rng = np.random.default_rng(request.seed)
    chosen = rng.permutation(len(found.rows))[: request.trial]
    pictures = [found.pixels(int(place), request.limits) for place in chosen]
    numbers = [found.numbers[place] for place in chosen]
    result: dict[str, Any] = {"copies": {}, "others": {}, "curve": []}
    altered = trial.altered(found.store, numbers, pictures, seed=request.seed)
    for name, views in altered.items():
        result["copies"][name] = _share(views.near())
    others = {}
    kinds = [(row.label, row.plane) for row in found.rows]
    first = {number: place for place, number in reversed(list(enumerate(found.numbers)))}
    if len(set(kinds)) > 1:
        others["the most alike of another class or plane"] = trial.strangers(
            found.store, numbers, [kinds[first[n]] for n in range(found.store.count)]
        )
    pairs = _other_tumours(found, request, rng)
    if pairs:
        others["neighbours in a series whose masks show another tumour"] = likeness_within(
            found.store, [(found.numbers[a], found.numbers[b]) for a, b in pairs]
        )
    for name, views in others.items():
        result["others"][name] = _share(views.near())
    for shift in np.linspace(-0.10, 0.02, 25):
        point = {"shift": round(float(shift), 4)}
        point["copies found"] = float(altered["all at once"].near(shift).mean())
        point |= {name: float(views.near(shift).mean()) for name, views in others.items()}
        result["curve"].append(point)
    return result


def _share(hits: Any) -> dict[str, Any]:
    count, total = int(hits.sum()), len(hits)
    return {
        "n": total,
        "count": count,
        "share": round(count / total, 4),
        "ci95": proportion_interval(count, total),
    }


def _other_tumours(
    found: Gathered, request: Request, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Neighbours by name whose masks hardly overlap, however one of them is turned."""
    broken = {finding.place for finding in found.masks} | found.unfit
    pairs = [
        (a, b)
        for a, b in neighbours_by_name(found.rows)
        if found.rows[a].has_mask and found.rows[b].has_mask and not {a, b} & broken
    ]
    different = []
    for index in rng.permutation(len(pairs))[:_MOST_NEIGHBOURS]:
        one, other = pairs[index]
        masks = [trial.small_mask(found.mask(place, request.limits)) for place in (one, other)]
        turned = (turned_pictures(masks[1], turn) for turn in range(TURNS))
        if max(dice_score(masks[0], mask) for mask in turned) < _OTHER_TUMOUR:
            different.append((one, other))
    return different


def _masks(found: Gathered, request: Request) -> dict[str, Any]:
    """Suspicious masks, and how often the check notices a mask that was moved on purpose."""
    suspicious = {finding.place for finding in found.masks}
    sound = [
        place
        for place, row in enumerate(found.rows)
        if row.has_mask and row.label != NO_TUMOR and place not in suspicious | found.unfit
    ]
    rng = np.random.default_rng(request.seed)
    caught = []
    for place in rng.permutation(sound)[: request.trial]:
        mask = found.mask(int(place), request.limits)
        wrong = misplaced(mask, rng)
        if wrong is not mask:
            pixels = found.pixels(int(place), request.limits)
            caught.append(check_mask(pixels, wrong) is not None)
    total = sum(row.has_mask for row in found.rows)
    return {
        "n": total,
        "suspicious": [
            {"image": found.name(item.place), "kind": item.kind, "message": item.message}
            for item in found.masks
        ],
        "share": _share(np.array([True] * len(suspicious) + [False] * (total - len(suspicious))))
        if total
        else None,
        "caught_when_moved": _share(np.array(caught)) if caught else None,
    }


def _not_brains(found: Gathered, request: Request) -> dict[str, Any]:
    analyzer = request.analyzer
    if analyzer is None:
        return {"not_measured": "no model was given"}
    return {
        "model": f"{analyzer.name} {analyzer.version}",
        "threshold": analyzer.card["thresholds"]["brain"],
        "images": [
            {"image": found.name(place), "score": round(found.brain[place], 4)}
            for place in found.refused
        ],
    }


def _groups_table(found: Gathered, relations: Relations, joined: Any) -> bytes:
    """groups.csv: for each image the group for splitting and that of its near copies."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("set", "id", "group", "copies"))
    copies = relations.groups.labels()
    for place, row in enumerate(found.rows):
        writer.writerow(
            (
                found.sets[found.set_of[place]].name,
                row.id,
                found.name(int(joined[place])),
                found.name(int(copies[place])),
            )
        )
    return text.getvalue().encode("utf-8")
