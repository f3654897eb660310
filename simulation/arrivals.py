"""When scans arrive: a daily curve, uploads of several files, surges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulation.constants import Constants

Times = NDArray[np.float64]


def day(scans: float, constants: Constants, rng: np.random.Generator) -> Times:
    """Arrival times of about `scans` scans in one day, in seconds, sorted."""
    weights = np.repeat(np.asarray(constants.hours, float), 60)
    minutes = np.arange(len(weights))
    for start in rng.integers(0, len(weights), constants.surges):
        within = (minutes >= start) & (minutes < start + constants.surge_seconds / 60)
        weights = np.where(within, weights * constants.surge_factor, weights)
    # Surges do not add to the day's total, for which the plan is made.
    expected = scans / constants.burst_scans * weights / weights.sum()
    uploads = np.repeat(minutes, rng.poisson(expected)) * 60.0
    uploads += rng.random(len(uploads)) * 60.0
    times = np.repeat(uploads, rng.geometric(1 / constants.burst_scans, len(uploads)))
    return np.sort(times)


def poisson(rate: float, count: int, rng: np.random.Generator) -> Times:
    """`count` arrivals of a Poisson process with this rate a second."""
    return np.cumsum(rng.exponential(1 / rate, count))


def peak_rate(times: Times, seconds: float = 60.0) -> float:
    """Scans a second in the busiest minute."""
    if not len(times):
        return 0.0
    return float(np.bincount((times / seconds).astype(int)).max() / seconds)
