"""Which factors are on in which run, and the effect of each.

Leaving out one factor at a time spends a whole run on each answer, and compares only one run with
another. In a design by Plackett and Burman (1946) every factor is on in half of the runs, and every
pair of factors is balanced: each answer compares the mean of half the runs with that of the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# First rows of the cyclic designs, from the paper; + means on.
_GENERATORS = {
    8: "+++-+--",
    12: "++-+++---+-",
    16: "++++-+-++--+---",
    20: "++--++++-+-+----++-",
}
LARGEST = max(_GENERATORS) - 1


def plackett_burman(factors: int) -> NDArray[np.bool_]:
    """The smallest design for this many factors.

    Returns:
        bool (runs, factors); in the first run all are on. Each column is on as often as off, and
        each pair of columns has all four combinations equally often.

    Raises:
        ValueError: there are fewer than two factors, or more than `LARGEST`.
    """
    if not 2 <= factors <= LARGEST:
        raise ValueError(f"a screening has 2 to {LARGEST} factors, not {factors}")
    runs = min(count for count in _GENERATORS if count > factors)
    # The paper's last row has all factors off; with all signs inverted it has all of them on.
    row = np.array([sign == "-" for sign in _GENERATORS[runs]])
    cyclic = [np.roll(row, turn) for turn in range(runs - 1)]
    return np.array([np.ones(runs - 1, np.bool_), *cyclic])[:, :factors]


def effects(design: NDArray[np.bool_], scores: Array) -> Array:
    """Mean score of the runs with a factor minus that of the runs without it.

    Args:
        design: (runs, factors).
        scores: float64 (runs, ...).

    Returns:
        float64 (factors, ...).
    """
    signs = np.where(design, 1.0, -1.0)
    return np.tensordot(signs.T, scores, axes=1) / (len(design) / 2)


def margin(values: Array) -> Array:
    """95% margin of error of effects, assuming that most of them are small (Lenth, 1989).

    Args:
        values: float64 (factors, ...), the effects; the small ones tell the noise.

    Returns:
        float64 (...): an effect beyond it is unlikely to be noise.
    """
    from scipy import stats

    sizes = np.abs(values)
    first = 1.5 * np.median(sizes, axis=0)
    small = np.where(sizes < 2.5 * first, sizes, np.nan)
    # If all are zero, none is small, and there is no noise either.
    error = 1.5 * _median(small)
    return np.asarray(stats.t.ppf(0.975, len(values) / 3) * error)


def _median(values: Array) -> Array:
    """Median along the first axis without NaN; 0 where all values are NaN."""
    known = ~np.isnan(values).all(axis=0)
    result = np.zeros(values.shape[1:])
    result[known] = np.nanmedian(values[:, known], axis=0)
    return result
