"""Workers and the nodes they run on: requested, started, drained, evicted."""

from __future__ import annotations

import itertools
import math
from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Policy:
    """How many workers there may be, and how long it takes to get more.

    Attributes:
        least, most: numbers of workers.
        target: active scans (waiting or being answered) per worker.
        polling: seconds between two looks at the queue.
        stabilise: seconds for which fewer workers must have been enough before any is removed.
        worker_start: seconds until a worker on a running node is ready.
        node_start: seconds until a new node runs, including pulling the image.
        per_node: workers on a node.
        node_idle: seconds after which an empty node is removed.
        evictions_per_hour: of each spot node; 0 for nodes that stay.
    """

    least: int = 1
    most: int = 1
    target: float = 1.0
    polling: float = 15.0
    stabilise: float = 300.0
    worker_start: float = 0.0
    node_start: float = 0.0
    per_node: int = 1
    node_idle: float = 600.0
    evictions_per_hour: float = 0.0


@dataclass(slots=True)
class Node:
    since: float
    ready_at: float
    workers: set[int] = field(default_factory=set)
    empty_since: float | None = None


class Fleet:
    """Which worker runs on which node. Knows neither the clock nor the queue."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.nodes: dict[int, Node] = {}
        self.home: dict[int, int] = {}
        self.started: dict[int, float] = {}
        self.node_seconds = self.worker_seconds = 0.0
        self.most_nodes = 0
        self._numbers = itertools.count()
        self._wanted: deque[tuple[float, int]] = deque()

    def wanted(self, now: float, active: int) -> int:
        """Workers that the autoscaler requests: more at once, fewer only after a while."""
        policy = self.policy
        asked = min(policy.most, max(policy.least, math.ceil(active / policy.target)))
        self._wanted.append((now, asked))
        while self._wanted[0][0] < now - policy.stabilise:
            self._wanted.popleft()
        return asked if asked >= len(self.home) else max(most for _, most in self._wanted)

    def add_worker(self, now: float) -> tuple[int, float, int | None]:
        """Add a worker: its number, when it is ready, and its node's number if the node is new."""
        new = None
        free = (
            number
            for number, node in self.nodes.items()
            if len(node.workers) < self.policy.per_node
        )
        place = next(free, None)
        if place is None:
            place = new = next(self._numbers)
            self.nodes[place] = Node(now, now + self.policy.node_start)
            self.most_nodes = max(self.most_nodes, len(self.nodes))
        node, worker = self.nodes[place], next(self._numbers)
        node.workers.add(worker)
        node.empty_since = None
        self.home[worker], self.started[worker] = place, now
        return worker, max(now, node.ready_at) + self.policy.worker_start, new

    def remove_worker(self, worker: int, now: float) -> None:
        place = self.home.pop(worker)
        self.worker_seconds += now - self.started.pop(worker)
        node = self.nodes.get(place)
        if node is not None:
            node.workers.discard(worker)
            if not node.workers:
                node.empty_since = now

    def remove_node(self, number: int, now: float) -> set[int]:
        """Remove a node; its workers, which still have to be removed."""
        node = self.nodes.pop(number)
        self.node_seconds += now - node.since
        return set(node.workers)

    def drop_idle_nodes(self, now: float) -> None:
        for number, node in list(self.nodes.items()):
            empty = node.empty_since
            if empty is not None and now - empty >= self.policy.node_idle:
                self.remove_node(number, now)

    def close(self, now: float) -> None:
        for worker in list(self.home):
            self.remove_worker(worker, now)
        for number in list(self.nodes):
            self.remove_node(number, now)
