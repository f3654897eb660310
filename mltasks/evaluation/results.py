"""What the network answered on each slice, and what the experts say."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltasks.batching import batched
from mltasks.classes import CLASSES, NO_TUMOR
from mltasks.data import Record, Sample
from mltasks.inference import Analysis, Analyzer
from mltasks.postprocessing import hottest_point
from mltasks.preprocessing import Pixels
from mltasks.progress import Tick, silent

Array = NDArray[Any]
# The target of a slice with a tumour whose kind is not known.
KIND_UNKNOWN = -1
# Pictures analysed at once.
_BATCH = 16
_NONE = CLASSES.index(NO_TUMOR)


@dataclass(frozen=True, slots=True)
class Results:
    """Per-slice results, all arrays of the same length n.

    Attributes:
        target: int, index of the true class; `KIND_UNKNOWN` for a tumour of unknown kind.
        probabilities: float64 (n, 4), as shown to users.
        accepted: bool, not refused as "no brain MRI".
        flagged: bool, answered with the warning that the picture is unlike the training data.
        committed: bool, the network stands by its answer.
        in_set: bool (n, 4), the classes of the prediction set.
        dice: float64; NaN where no expert's mask marks anything.
        pointing_hit: 1 if the hottest point lies inside the expert's area, 0 if not, NaN without
            one: the pointing game of Zhang et al. (2018).
        peak_hit: the same for the peak of the attention alone.
        area: float64, marked share of the picture.
        size: float64, the expert's share of the picture; NaN without a mask.
        inner_right: share of the area in the inner contour that is tumour; NaN without either.
        outer_found: share of the tumour inside the outer contour; NaN without a mask.
        group, plane, source: str.
    """

    target: Array
    probabilities: Array
    accepted: Array
    flagged: Array
    committed: Array
    in_set: Array
    dice: Array
    pointing_hit: Array
    peak_hit: Array
    area: Array
    size: Array
    inner_right: Array
    outer_found: Array
    group: Array
    plane: Array
    source: Array

    def __len__(self) -> int:
        return len(self.target)

    @property
    def predicted(self) -> Array:
        """Index of the most likely class, refused or not."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def kind_known(self) -> Array:
        """bool: the slices whose true class is known."""
        return np.asarray(self.target != KIND_UNKNOWN)

    @property
    def tumor(self) -> Array:
        """bool: the slices with a tumour."""
        return np.asarray(self.target != _NONE)

    @property
    def tumor_probability(self) -> Array:
        """float64: probability of any tumour."""
        return np.asarray(1 - self.probabilities[:, _NONE])

    @property
    def right(self) -> Array:
        """bool: the most likely class is the true one."""
        return np.asarray(self.predicted == self.target)

    def take(self, index: Array) -> Results:
        """The results of some of the slices."""
        return Results(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def dice_score(area: Array, truth: Array) -> float:
    """Overlap of two boolean masks, 0 to 1 (Dice, 1945); 1 if both are empty."""
    total = int(area.sum()) + int(truth.sum())
    return 2 * int((area & truth).sum()) / total if total else 1.0


def source_of(record: Record) -> str:
    """The source as stated, else the part of the id before its number.

    `brisc2025_test_00011_gl` gives `brisc2025_test`.
    """
    return record.source or re.split(r"[_\-. ]+\d", record.id, maxsplit=1)[0]


def _share(part: Array, whole: Array) -> float:
    """Share of `whole` that lies in `part`; NaN if it is empty."""
    total = int(whole.sum())
    return int((part & whole).sum()) / total if total else float("nan")


def _row(sample: Sample, found: Analysis) -> dict[str, Any]:
    nan = float("nan")
    row: dict[str, Any] = {
        "target": CLASSES.index(sample.record.label)
        if sample.record.label in CLASSES
        else KIND_UNKNOWN,
        "probabilities": [found.probabilities[name] for name in CLASSES],
        "accepted": found.status == "ok",
        "flagged": found.flagged,
        "committed": found.committed,
        "in_set": [name in found.prediction_set for name in CLASSES],
        "area": found.area_fraction,
        "group": str(sample.record.group),
        "plane": sample.record.plane,
        "source": source_of(sample.record),
        "dice": nan,
        "pointing_hit": nan,
        "peak_hit": nan,
        "size": nan,
        "inner_right": nan,
        "outer_found": nan,
    }
    truth = None if sample.mask is None else sample.mask > 127
    # An empty mask outlines no tumour, so there is nothing to compare an area with.
    if truth is not None and truth.any():
        point = found.hottest_point
        peak = hottest_point(found.attention, None, found.area)
        row |= {
            "dice": dice_score(found.area, truth),
            "pointing_hit": float(point is not None and truth[point[1], point[0]]),
            "peak_hit": float(peak is not None and truth[peak[1], peak[0]]),
            "size": float(truth.mean()),
            "inner_right": _share(truth, found.inner),
            "outer_found": _share(found.outer, truth),
        }
    return row


def run(
    analyzer: Analyzer,
    samples: Iterable[Sample],
    *,
    batch: int = _BATCH,
    progress: Tick = silent,
) -> Results:
    """Analyse the slices exactly as the site does, one batch of pictures in memory at a time.

    Raises:
        ValueError: there is no slice.
    """
    rows: dict[str, list[Any]] = defaultdict(list)
    for chunk in batched(samples, batch):
        for sample, found in zip(chunk, analyzer.analyze([s.pixels for s in chunk]), strict=True):
            for name, value in _row(sample, found).items():
                rows[name].append(value)
        progress(len(chunk))
    if not rows:
        raise ValueError("there is no slice to evaluate")
    return Results(**{name: np.asarray(values) for name, values in rows.items()})


def refusals(analyzer: Analyzer, pictures: Iterable[tuple[str, Pixels]]) -> dict[str, Array]:
    """Outcomes of other pictures, by source: 0 refused, 1 flagged, 2 taken for a brain MRI."""
    outcomes: dict[str, list[int]] = defaultdict(list)
    for some in batched(pictures, _BATCH):
        found = analyzer.analyze([pixels for _, pixels in some])
        for (source, _), answer in zip(some, found, strict=True):
            outcomes[source].append(0 if answer.status != "ok" else 1 if answer.flagged else 2)
    return {source: np.asarray(values) for source, values in outcomes.items()}
