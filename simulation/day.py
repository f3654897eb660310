"""One day of the queue, event by event.

A free worker takes up to `batch` waiting scans, as `predictions.services.lifecycle.claim` does, and
answers them in one pass. Arrivals need no events while every worker is busy: all that counts is
which scans wait when a pass ends.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from simulation.arrivals import Times
from simulation.fleet import Fleet, Policy

READY, DONE, TICK, EVICT = range(4)


@dataclass
class Day:
    """The results of a simulated day.

    Attributes:
        waits: seconds from upload to the start of the pass, by scan.
        answers: seconds from upload to the answer.
        ticks: time, waiting scans, ready workers and nodes, each time the autoscaler looks.
    """

    waits: Times
    answers: Times
    busy_seconds: float = 0.0
    worker_seconds: float = 0.0
    node_seconds: float = 0.0
    most_nodes: int = 0
    most_waiting: int = 0
    passes: int = 0
    evictions: int = 0
    ticks: list[tuple[float, int, int, int]] = field(default_factory=list)


class _Run:
    def __init__(
        self,
        times: Times,
        pass_seconds: Callable[[int], float],
        batch: int,
        policy: Policy,
        rng: np.random.Generator,
    ) -> None:
        self.times, self.pass_seconds, self.batch, self.rng = times, pass_seconds, batch, rng
        self.fleet = Fleet(policy)
        self.day = Day(np.zeros(0), np.zeros(0))
        # Scans, start and seconds of each pass, in order; scans are also taken in order.
        self.passes: list[tuple[int, float, float]] = []
        self.events: list[tuple[float, int, int]] = []
        self.idle: list[int] = []
        self.starting: set[int] = set()
        self.busy: dict[int, int] = {}
        self.stopping: set[int] = set()
        self.taken = self.arrived = self.answering = 0

    def run(self) -> Day:
        arrivals, events, count = self.times.tolist(), self.events, len(self.times)
        self._scale(0.0, self.fleet.policy.least, at_once=True)
        if self.fleet.policy.most > self.fleet.policy.least or self.fleet.policy.evictions_per_hour:
            heapq.heappush(events, (0.0, TICK, 0))
        now = 0.0
        while self.taken < count or self.busy:
            coming = arrivals[self.arrived] if self.idle and self.arrived < count else math.inf
            if coming < math.inf and (not events or coming <= events[0][0]):
                now = coming
            else:
                now, kind, number = heapq.heappop(events)
                self._happen(now, kind, number)
            if self.arrived < count and arrivals[self.arrived] <= now:
                self.arrived = bisect_right(arrivals, now, self.arrived)
                self.day.most_waiting = max(self.day.most_waiting, self.arrived - self.taken)
            while self.idle and self.taken < self.arrived:
                self._start_pass(now)
        self.fleet.close(now)
        day, fleet = self.day, self.fleet
        if self.passes:
            sizes, starts, seconds = (np.array(column) for column in zip(*self.passes, strict=True))
            day.waits = np.repeat(starts, sizes) - self.times
            day.answers = day.waits + np.repeat(seconds, sizes)
            day.passes, day.busy_seconds = len(sizes), float(seconds.sum())
        day.worker_seconds, day.node_seconds = fleet.worker_seconds, fleet.node_seconds
        day.most_nodes = fleet.most_nodes
        return day

    def _start_pass(self, now: float) -> None:
        first = self.taken
        size = min(self.batch, self.arrived - first)
        seconds = self.pass_seconds(size)
        worker = self.idle.pop()
        self.taken = first + size
        self.passes.append((size, now, seconds))
        self.busy[worker] = size
        self.answering += size
        heapq.heappush(self.events, (now + seconds, DONE, worker))

    def _happen(self, now: float, kind: int, number: int) -> None:
        if kind == DONE:
            self.answering -= self.busy.pop(number)
            if number in self.stopping:
                self.stopping.discard(number)
                self._leave(number, now)
            else:
                self.idle.append(number)
        elif kind == READY and number in self.starting:
            self.starting.discard(number)
            self.idle.append(number)
        elif kind == EVICT and number in self.fleet.nodes:
            self.day.evictions += 1
            for worker in sorted(self.fleet.remove_node(number, now)):
                self._stop(worker, now)
        elif kind == TICK:
            self._tick(now)

    def _tick(self, now: float) -> None:
        waiting = bisect_right(self.times, now) - self.taken
        ready = len(self.idle) + len(self.busy)
        self.day.ticks.append((now, waiting, ready, len(self.fleet.nodes)))
        self._scale(now, self.fleet.wanted(now, waiting + self.answering))
        self.fleet.drop_idle_nodes(now)
        heapq.heappush(self.events, (now + self.fleet.policy.polling, TICK, 0))

    def _scale(self, now: float, wanted: int, *, at_once: bool = False) -> None:
        have = len(self.fleet.home) - len(self.stopping)
        for _ in range(wanted - have):
            worker, ready_at, new_node = self.fleet.add_worker(now)
            self.starting.add(worker)
            heapq.heappush(self.events, (now if at_once else ready_at, READY, worker))
            if new_node is not None and self.fleet.policy.evictions_per_hour:
                lives = self.rng.exponential(3600 / self.fleet.policy.evictions_per_hour)
                heapq.heappush(self.events, (now + lives, EVICT, new_node))
        # Workers that are not ready go first, then idle ones, then the newest.
        others = sorted(set(self.busy) - self.stopping)
        order = [*sorted(self.starting), *self.idle[::-1], *others[::-1]]
        for worker in order[: max(0, have - wanted)]:
            self._stop(worker, now)

    def _stop(self, worker: int, now: float) -> None:
        """A worker finishes its pass and starts no other."""
        if worker in self.busy:
            self.stopping.add(worker)
            return
        if worker in self.starting:
            self.starting.discard(worker)
        else:
            self.idle.remove(worker)
        self._leave(worker, now)

    def _leave(self, worker: int, now: float) -> None:
        self.fleet.remove_worker(worker, now)


def simulate(
    times: Times,
    *,
    pass_seconds: Callable[[int], float],
    policy: Policy,
    rng: np.random.Generator,
    batch: int = 1,
) -> Day:
    """Simulate a day with these arrivals.

    Args:
        pass_seconds: how long a pass with this many scans takes.
        batch: most scans in a pass.
    """
    return _Run(times, pass_seconds, batch, policy, rng).run()
