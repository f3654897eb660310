"""The history page of a site with few scans, and of one with a million.

Both sites run and are visited in turn, as the speed of a shared machine varies: what counts is how
the two differ within the same seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.site import Site, Visitor, running_site

THREADS = 4


@dataclass
class Measured:
    """The measurements of one site.

    Attributes:
        queries: of one page.
        p95: of each turn, in milliseconds. rates: requests a second of each turn.
    """

    site: Site
    session: str
    queries: int
    p95: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def visit(self, seconds: float) -> None:
        """One turn."""
        times = load(self.site.port, self.session, seconds=seconds)
        self.p95.append(1000 * float(np.percentile(times, 95)))
        self.rates.append(len(times) / seconds)


def load(port: int, session: str, *, seconds: float) -> list[float]:
    """Seconds of each request while several visitors ask for the page without pause."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    def visit() -> None:
        visitor = Visitor(port, session)
        while (start := time.perf_counter()) < end:
            visitor.get("/scans/")
            times.append(time.perf_counter() - start)

    crowd = [threading.Thread(target=visit) for _ in range(THREADS)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    return times


def compare(
    folder: Path, few: int, many: int, *, turns: int, seconds: float
) -> tuple[Measured, Measured]:
    """Visit a site with few scans and one with many in turn."""
    with ExitStack() as running:
        both = []
        for scans in (few, many):
            home = folder / f"history-{scans}"
            home.mkdir()
            site = running.enter_context(running_site(home, SWEEP_SECONDS="600"))
            filled = subprocess.run(
                [sys.executable, "-m", "benchmarks.history_rows", str(scans)],
                env={**os.environ, "DATA_DIR": str(home)},
                stdout=subprocess.PIPE,
                check=True,
            )
            both.append(Measured(site=site, **json.loads(filled.stdout.splitlines()[-1])))
        for one in both:
            load(one.site.port, one.session, seconds=3)
        for turn in range(turns):
            for one in both if turn % 2 else reversed(both):
                one.visit(seconds)
    return both[0], both[1]
