"""Counts and times for Prometheus: what is measured, and the calls that measure it.

Each call does nothing until `begin` was called in this process or its parent, and a few
microseconds afterwards. Processes write to mapped files in one folder, so whichever of them is
asked answers for all.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

HTTP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# From a lone upload on an idle site to one that waits behind thousands.
PREDICTION_SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
PASS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_instruments: _Instruments | None = None
_gauges: dict[str, list[Callable[[], Iterable[Any]]]] = {}


class _Instruments:
    """Every metric that processes count by themselves."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Histogram

        # No registry: what is shown is read from the files of all processes.
        counter = functools.partial(Counter, registry=None)
        histogram = functools.partial(Histogram, registry=None)
        self.http = histogram(
            "tumorsite_http_request_seconds",
            "Time from request to response.",
            ["method", "route", "status"],
            buckets=HTTP_SECONDS,
        )
        self.prediction = histogram(
            "tumorsite_prediction_seconds",
            "Time from upload to recorded answer.",
            buckets=PREDICTION_SECONDS,
        )
        self.engine = histogram(
            "tumorsite_engine_seconds",
            "Time of a forward pass, for each of its pictures.",
            buckets=PASS_SECONDS,
        )
        self.whole_pass = histogram(
            "tumorsite_pass_seconds",
            "Time of a pass from claim to recorded answer, for each of its pictures.",
            buckets=PASS_SECONDS,
        )
        self.outcomes = counter(
            "tumorsite_predictions_total", "Predictions that have ended, by outcome.", ["outcome"]
        )
        self.exhausted = counter(
            "tumorsite_attempts_exhausted_total",
            "Predictions given up after as many attempts as are allowed.",
        )


def begin(folder: Path) -> None:
    """Measure from now on, in this process and those it forks.

    Args:
        folder: holds the numbers of these processes; emptied here.
    """
    global _instruments  # noqa: PLW0603  # inherited by forked processes
    from tumorsite.observability.slots import Slots

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    # Read by the library as it is imported, so it is imported only here.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    from prometheus_client import values

    values.ValueClass = values.MultiProcessValue(Slots(folder).mine)
    _instruments = _Instruments()


def end() -> None:
    """Measure nothing from now on."""
    global _instruments  # noqa: PLW0603
    _instruments = None
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)


def register_collector(part: str, gauges: Callable[[], Iterable[Any]]) -> None:
    """Have metrics that are looked up when asked for shown by this part of the site."""
    _gauges.setdefault(part, []).append(gauges)


def gauges_of(part: str) -> list[Callable[[], Iterable[Any]]]:
    return _gauges.get(part, [])


def request_took(*, method: str, route: str, status: int, seconds: float) -> None:
    if _instruments is not None:
        known = method if method in METHODS else "OTHER"
        _instruments.http.labels(known, route, str(status)).observe(seconds)


def ended(outcome: str, *, count: int = 1) -> None:
    """Predictions have come to an end of this kind."""
    if _instruments is not None:
        _instruments.outcomes.labels(outcome).inc(count)


def attempts_exhausted() -> None:
    if _instruments is not None:
        _instruments.exhausted.inc()


def answered(*, upload_to_result: float, engine: float, whole_pass: float) -> None:
    """A picture was answered: seconds since its upload, and its parts of one pass's seconds."""
    if _instruments is not None:
        _instruments.prediction.observe(max(0.0, upload_to_result))
        _instruments.engine.observe(engine)
        _instruments.whole_pass.observe(whole_pass)
