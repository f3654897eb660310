"""How often 95% intervals of an evaluation contain the truth, with the groups of a real fold.

    python -m experiments.coverage DATA [--fold K] [--sets N]

The groups of the fold keep their sizes; which slices are right is made up. Each group's share of
right slices is drawn from a beta distribution, so that the truth is known: its mean. Printed is
the percentage of intervals, computed by drawing whole groups as in every report, that contain it.
If most groups are entirely right and few entirely wrong, as with meningiomas beside the sella, the
errors come from a handful of groups, and the interval is too narrow.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mltasks.classes import NO_TUMOR
from mltasks.data import read_manifest
from mltasks.evaluation import bootstrap

# Parameters of the beta distribution, and what it stands for.
MADE_UP = {
    (27.0, 1.0): "errors here and there",
    (9.0, 1.0): "more of them",
    (5.0, 0.2): "errors in few groups",
    (2.0, 0.08): "errors in very few groups",
}
RESAMPLES = 400


def effective(sizes: np.ndarray) -> float:
    """Effective number of groups: as many of equal size would vary as much (Kish, 1965)."""
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def coverage(groups: np.ndarray, shape: tuple[float, float], sets: int) -> float:
    """The share of intervals that contain the truth."""
    names, member_of = np.unique(groups, return_inverse=True)
    rng, held = np.random.default_rng(0), 0
    truth = shape[0] / sum(shape)
    for _ in range(sets):
        right = rng.random(len(groups)) < rng.beta(*shape, size=len(names))[member_of]
        low, high = bootstrap.with_interval(
            bootstrap.proportion(right), groups, resamples=RESAMPLES
        )["ci95"]
        held += low <= truth <= high
    return held / sets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--sets", type=int, default=400)
    options = parser.parse_args()
    records = [own for own in read_manifest(options.data) if own.fold == options.fold]
    for what, chosen in (
        ("all slices", records),
        ("tumours", [own for own in records if own.label != NO_TUMOR]),
    ):
        groups = np.array([own.group for own in chosen])
        sizes = np.unique(groups, return_counts=True)[1]
        print(
            f"{what}: {len(groups)} in {len(sizes)} groups, which vary as "
            f"{effective(sizes):.1f} of one size would; the largest nine hold "
            f"{np.sort(sizes)[-9:].sum() / len(groups):.0%}"
        )
        for shape, words in MADE_UP.items():
            held = coverage(groups, shape, options.sets)
            print(f"  {words} (beta{shape}): {held:.0%} of the intervals hold the truth")


if __name__ == "__main__":
    main()
