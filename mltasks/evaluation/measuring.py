"""All measurements of one model on one set, in the order of a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mltasks import seen
from mltasks.data import (
    DataError,
    Record,
    data_digest,
    load_sample,
    masks_digest,
    read_manifest,
    read_records,
)
from mltasks.evaluation import robustness, sanity
from mltasks.evaluation.curves import curves
from mltasks.evaluation.figures import elsewhere, refusal_summary, summary
from mltasks.evaluation.results import Results, refusals, run
from mltasks.inference import Analyzer
from mltasks.lazy import need
from mltasks.preprocessing import Pixels, preprocess
from mltasks.progress import Tick

FORMAT = 1
SANITY_SLICES = 48
# What a card takes from a report; the rest is too long or only for plots.
CARD_KEYS = (
    "validation",
    "elsewhere",
    "other_pictures",
    "other_bodies",
    "robustness",
    "sanity",
    "data",
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be measured.

    Attributes:
        folder: with manifest.csv, images/ and perhaps masks/.
        records: its slices.
        fold: which fold they are, None if they are all.
        others: pictures that are no brain MRI, with their source; read as they are needed.
        bodies: slices of other parts of the body, with their kind or source; likewise.
        corrupted: how many slices are shown in other forms; 0 leaves that out.
        elsewhere: another labelled folder, of other people, scanners and hospitals.
        left_out: how many slices were left out because the network has learnt from them.
    """

    folder: Path
    records: Sequence[Record]
    fold: int | None
    others: Iterable[tuple[str, Pixels]]
    bodies: Iterable[tuple[str, Pixels]]
    corrupted: int
    elsewhere: Path | None = None
    left_out: int = 0

    @property
    def passes(self) -> int:
        """How many pictures go through the network, about."""
        return len(self.records) + robustness.passes(min(self.corrupted, len(self.records)))


def described(
    card: dict[str, Any],
    folder: Path,
    records: Sequence[Record],
    fold: int | None,
    left_out: int = 0,
) -> dict[str, Any]:
    """What is measured, and how it relates to the data that the model of this card was made from.

    `learnt` says whether training saw some of these slices.

    Args:
        folder, records, fold, left_out: see `Request`.

    Raises:
        DataError: a mask cannot be read.
    """
    learnt_from = card.get("training", {}).get("data_digest")
    whole, digest = set_digest(folder), data_digest(records)
    calibrated = set(card.get("calibration", {}).get("groups", ()))
    return {
        "digest": digest,
        "masks": masks_digest(folder, records),
        "set": whole,
        "fold": fold,
        "learnt_from": learnt_from,
        "learnt": bool(seen.why_seen(card, records, fold=fold, whole=whole)),
        **({"left_out": left_out} if left_out else {}),
        # Group names are only comparable within the data the calibration came from.
        "groups_calibrated_on": len(calibrated & {str(r.group) for r in records})
        if whole and whole == learnt_from
        else 0,
    }


def blank_masks(records: Sequence[Record], results: Results) -> int:
    """How many of the tumours have a mask that marks nothing."""
    stated = np.array([record.has_mask for record in records])
    return int((stated & results.tumor & np.isnan(results.size)).sum())


def set_digest(folder: Path) -> str:
    """The digest of a whole set, as training states it; empty if it cannot be trained on."""
    try:
        return data_digest(read_manifest(folder))
    except DataError:
        return ""


def measure(
    analyzer: Analyzer, weights: bytes, request: Request, *, progress: Tick
) -> tuple[dict[str, Any], Results]:
    """Every figure of a report, and the results of each slice.

    Raises:
        DataError: a picture or mask is missing or damaged, or the network has learnt from slices
            given as being from elsewhere.
        ModelError: scikit-learn or SciPy is not installed.
    """
    need("sklearn", "scipy")
    strangers = _strangers(analyzer, request.elsewhere)
    load = partial(load_sample, request.folder)
    results = run(analyzer, map(load, request.records), progress=progress)
    blank = blank_masks(request.records, results)
    calibration = analyzer.card.get("calibration", {})
    figures: dict[str, Any] = {
        "format": FORMAT,
        "model": {
            "name": analyzer.name,
            "version": analyzer.version,
            "digest": analyzer.digest,
        },
        "data": described(
            analyzer.card, request.folder, request.records, request.fold, request.left_out
        )
        | ({"blank_masks": blank} if blank else {}),
        "validation": summary(results) | {"fold": request.fold},
        "curves": curves(results),
        **strangers,
        "other_pictures": refusal_summary(refusals(analyzer, request.others)),
        "other_bodies": refusal_summary(refusals(analyzer, request.bodies)),
        "calibration": calibration.get("cross_fitted", {}),
        "calibration_areas": calibration.get("cross_fitted_areas", {}),
    }
    if request.corrupted:
        figures["robustness"] = robustness.measure(
            analyzer,
            robustness.pick(request.records, request.corrupted),
            load,
            progress=progress,
        )
    chosen = robustness.pick(request.records, SANITY_SLICES, seed=1)
    batch = [preprocess(load(one).pixels, analyzer.input_size)[0] for one in chosen]
    figures["sanity"] = {
        **sanity.measure(weights, np.stack(batch)),
        "classes": robustness.class_counts(chosen),
    }
    return figures, results


def _strangers(analyzer: Analyzer, folder: Path | None) -> dict[str, Any]:
    if folder is None:
        return {}
    records = read_records(folder, None)
    if why := seen.why_seen(analyzer.card, records, fold=None, whole=set_digest(folder)):
        raise DataError(f"{folder} is not from elsewhere: the network {why}")
    figures = elsewhere(run(analyzer, map(partial(load_sample, folder), records)))
    return {"elsewhere": figures | {"digest": data_digest(records)}}


def for_card(figures: dict[str, Any]) -> dict[str, Any]:
    """The part of the figures that a model card keeps."""
    return {name: figures[name] for name in CARD_KEYS if name in figures}
