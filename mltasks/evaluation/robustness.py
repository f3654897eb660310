"""How well answers hold up when a slice differs in form from the training data."""

from __future__ import annotations

import itertools
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from mltasks import corruptions
from mltasks.classes import LABELS
from mltasks.data import Record, Sample
from mltasks.evaluation import bootstrap
from mltasks.evaluation.results import Results, run
from mltasks.inference import Analyzer
from mltasks.progress import Tick, silent

Load = Callable[[Record], Sample]
# Fewer draws are enough for so many forms: the intervals are wide anyway.
_RESAMPLES = 400


def pick(records: Sequence[Record], count: int, *, seed: int = 0) -> list[Record]:
    """Stratified subset: classes balanced; within a class, groups round-robin. Deterministic.

    Round-robin over groups alone would give mostly tumour-free slices where each of these is a
    group of its own and tumours lie in a few large groups.
    """
    rng = np.random.default_rng(seed)
    shuffled = [records[number] for number in rng.permutation(len(records))]
    by_class = [
        _in_turn(_by_group(record for record in shuffled if record.label == label))
        for label in LABELS
    ]
    return sorted(_in_turn(by_class)[:count], key=lambda record: record.id)


def _by_group(records: Iterable[Record]) -> list[list[Record]]:
    """The slices of each group."""
    parts: dict[str, list[Record]] = {}
    for record in records:
        parts.setdefault(str(record.group), []).append(record)
    return list(parts.values())


def _in_turn(parts: Iterable[Sequence[Record]]) -> list[Record]:
    """The first slice of each part, then the second of each, and so on."""
    layers = itertools.zip_longest(*parts)
    return [record for layer in layers for record in layer if record is not None]


def class_counts(records: Iterable[Record]) -> dict[str, int]:
    """How many slices there are of each label that occurs."""
    found = Counter(record.label for record in records)
    return {label: found[label] for label in LABELS if found[label]}


def _stated(results: Results) -> dict[str, Any]:
    def state(metric: bootstrap.Metric) -> dict[str, Any]:
        return bootstrap.with_interval(metric, results.group, resamples=_RESAMPLES)

    sure = results.probabilities.max(axis=1) >= 0.9
    known = results.kind_known
    return {
        "n": len(results),
        "accuracy": state(bootstrap.proportion(results.right, known)),
        "tumor_or_none": state(
            bootstrap.proportion((results.tumor_probability >= 0.5) == results.tumor)
        ),
        "dice_median": state(bootstrap.quantile(results.dice, 0.5)),
        "confidently_wrong": state(bootstrap.proportion(sure & ~results.right, known)),
        **bootstrap.values_and_intervals(
            {
                "flagged": bootstrap.proportion(results.flagged),
                "refused": bootstrap.proportion(~results.accepted),
                "committed": bootstrap.proportion(results.committed),
            },
            results.group,
            resamples=_RESAMPLES,
        ),
    }


def _changed(load: Load, records: Iterable[Record], name: str, strength: int) -> Iterator[Sample]:
    for record in records:
        sample = load(record)
        pixels, mask = corruptions.corrupt(sample.pixels, sample.mask, name, strength, record.id)
        yield Sample(record, pixels, mask)


def _unlike(load: Load, records: Iterable[Record], name: str) -> Iterator[Sample]:
    for record in records:
        sample = load(record)
        yield Sample(record, corruptions.unlike(sample.pixels, name, record.id), sample.mask)


def changed_once(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Each slice under one of the twelve corruptions at one of its strengths.

    The slice's id decides which, so that it is always the same, and all occur about equally often:
    this gives the mean over all corruptions for the price of one pass.
    """
    forms = list(itertools.product(corruptions.CORRUPTIONS, corruptions.STRENGTHS))
    for sample in samples:
        identity = sample.record.id
        name, strength = forms[zlib.crc32(identity.encode()) % len(forms)]
        pixels, mask = corruptions.corrupt(sample.pixels, sample.mask, name, strength, identity)
        yield Sample(sample.record, pixels, mask)


def measure(
    analyzer: Analyzer,
    records: Sequence[Record],
    load: Load,
    *,
    progress: Tick = silent,
) -> dict[str, Any]:
    """Scores under each of twelve corruptions at three strengths, and on unlike pictures.

    Args:
        records: the slices to change; `pick` keeps them few.
        load: decodes one of them; called again for each change, so that memory stays small.

    Returns:
        `classes` says how many slices of each; `plain`, `corruptions` by name and strength
        (mild, middle, strong), `unlike` by name.
    """
    names = {str(record.group) for record in records}
    return {
        "n": len(records),
        "groups": len(names),
        "classes": class_counts(records),
        "plain": _stated(run(analyzer, map(load, records), progress=progress)),
        "corruptions": {
            name: {
                corruptions.STRENGTH_NAMES[strength]: _stated(
                    run(analyzer, _changed(load, records, name, strength), progress=progress)
                )
                for strength in corruptions.STRENGTHS
            }
            for name in corruptions.CORRUPTIONS
        },
        "unlike": {
            name: _stated(run(analyzer, _unlike(load, records, name), progress=progress))
            for name in corruptions.UNLIKE
        },
    }


def passes(count: int) -> int:
    """How many forward passes `measure` needs for `count` slices."""
    forms = 1 + len(corruptions.CORRUPTIONS) * len(corruptions.STRENGTHS) + len(corruptions.UNLIKE)
    return forms * count
