"""Scales × kinds of worker, over several seeds: waits, nodes, cost, and what breaks first."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulation import arrivals
from simulation.constants import FILE, Constants
from simulation.day import Day, simulate
from simulation.fleet import Policy
from simulation.limits import (
    MONTH_DAYS,
    parts,
    pictures_shown,
    scan_seconds,
    web_seconds,
    writes,
)

SCALES = (1_000, 100_000, 10_000_000)
# A day with many scans varies little, and takes long to simulate.
SEEDS = {1_000: 5, 100_000: 2, 10_000_000: 2}
# How many sites, or queues, share the scans; one of them is simulated, with its own nodes.
SHARES = {1_000: 1, 100_000: 1, 10_000_000: 10}
ADDED_UP = ("node_hours", "worker_hours", "most_nodes", "most_waiting", "evictions", "peak")
KINDS = ("cpu", "spot", "gpu")
GIGABYTE = 1e9


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of worker: how fast it is, how it comes and goes, what its node costs."""

    alone: float
    each: float
    policy: Policy
    node_hour: float

    def pass_seconds(self, scans: int) -> float:
        return self.alone + (scans - 1) * self.each


def kind(name: str, c: Constants) -> Kind:
    """`cpu`: on-demand nodes, one worker or more; `spot`: same with evictions; `gpu`: from 0."""
    shared: dict[str, Any] = {
        "most": c.most_gpu if name == "gpu" else c.most_cpu,
        "target": c.target,
        "polling": c.polling_seconds,
        "stabilise": c.stabilise_seconds,
        "worker_start": c.worker_start_seconds,
        "node_idle": c.node_idle_seconds,
    }
    if name == "gpu":
        rest = (c.worker_processor_seconds - c.forward_processor_seconds) / c.gpu_cores
        alone = c.pass_seconds_alone - c.forward_processor_seconds / c.worker_cores
        policy = Policy(
            least=0, node_start=c.gpu_node_seconds + c.gpu_pull_seconds, per_node=1, **shared
        )
        each = max(rest, c.gpu_forward_seconds)
        return Kind(alone + c.gpu_forward_seconds, each, policy, c.gpu_node_hour)
    policy = Policy(
        least=1,
        node_start=c.node_seconds + c.pull_seconds,
        per_node=c.workers_per_node,
        evictions_per_hour=c.evictions_per_hour if name == "spot" else 0.0,
        **shared,
    )
    price = c.spot_node_hour if name == "spot" else c.node_hour
    return Kind(c.pass_seconds_alone, scan_seconds(c), policy, price)


def run_day(scans: int, name: str, seed: int, constants: Constants) -> tuple[Day, float]:
    """A day, and the scans a second in its busiest minute."""
    rng = np.random.default_rng([seed, scans])
    times = arrivals.day(scans, constants, rng)
    one = kind(name, constants)
    table = [one.pass_seconds(scans) for scans in range(constants.batch + 1)]
    day = simulate(
        times, pass_seconds=table.__getitem__, policy=one.policy, rng=rng, batch=constants.batch
    )
    return day, arrivals.peak_rate(times)


def figures(day: Day, peak: float) -> dict[str, float]:
    """The figures of a day, rounded to a sensible precision."""
    p50, p95, p99 = np.percentile(day.answers, [50, 95, 99])
    found = {
        "answer_p50": p50,
        "answer_p95": p95,
        "answer_p99": p99,
        "wait_p50": np.percentile(day.waits, 50),
        "wait_p95": np.percentile(day.waits, 95),
        "wait_p99": np.percentile(day.waits, 99),
        "utilisation": day.busy_seconds / day.worker_seconds,
        "node_hours": day.node_seconds / 3600,
        "worker_hours": day.worker_seconds / 3600,
        "most_nodes": day.most_nodes,
        "most_waiting": day.most_waiting,
        "evictions": day.evictions,
        "scans_per_pass": len(day.waits) / day.passes,
        "peak": peak,
    }
    return {key: float(f"{value:.4g}") for key, value in found.items()}


def spread(days: list[dict[str, float]]) -> dict[str, list[float]]:
    """Mean over the seeds and half-width of its 95% interval (Student's t), by figure."""
    students = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}
    found = {}
    for key in days[0]:
        values = np.array([day[key] for day in days])
        half = students[len(days)] * values.std(ddof=1) / math.sqrt(len(days))
        found[key] = [float(f"{values.mean():.4g}"), float(f"{half:.3g}")]
    return found


def cost(
    scans: int, peak: float, node_hours: float, price: float, c: Constants
) -> dict[str, float]:
    """US dollars a month by purpose."""
    month = scans * MONTH_DAYS
    web_cores = max(c.web_cores, peak * web_seconds(c) / c.headroom)
    writes_per_core = c.database_writes_per_second / 2
    database_cores = max(2, math.ceil(peak * writes(c) / writes_per_core / c.headroom))
    held = month * c.object_bytes / GIGABYTE * c.retention_days / MONTH_DAYS
    # The worker also reads the picture.
    reads = 1 + pictures_shown(c)
    lines = {
        "inference": node_hours * MONTH_DAYS * price,
        "web": web_cores / 8 * c.node_hour * 24 * MONTH_DAYS,
        "database": database_cores * c.database_core_hour * 24 * MONTH_DAYS,
        "objects": held * c.object_gigabyte_month,
        "requests": month / 1000 * (c.objects * c.thousand_writes + reads * c.thousand_reads),
        "base": c.base_month,
    }
    return {key: round(value) for key, value in lines.items()} | {
        "together": round(sum(lines.values()))
    }


def scenario(scans: int, name: str, constants: Constants) -> dict[str, Any]:
    share = SHARES[scans]
    days = [
        figures(*run_day(scans // share, name, seed, constants))
        for seed in range(1, SEEDS[scans] + 1)
    ]
    for day in days:
        day.update({key: day[key] * share for key in ADDED_UP})
    means = spread(days)
    price = kind(name, constants).node_hour
    return {
        "figures": means,
        "cost": cost(scans, means["peak"][0], means["node_hours"][0], price, constants),
    }


def plan(constants: Constants) -> dict[str, Any]:
    """All data for the tables and plots."""
    found: dict[str, Any] = {"constants": digest(), "seeds": {str(k): v for k, v in SEEDS.items()}}
    found["scenarios"] = {
        str(scans): {name: scenario(scans, name, constants) for name in KINDS} for scans in SCALES
    }
    found["limits"] = {}
    for scans in SCALES:
        peak = found["scenarios"][str(scans)]["cpu"]["figures"]["peak"][0]
        found["limits"][str(scans)] = [
            {
                "part": part.name,
                "unit": part.unit,
                "need": float(f"{part.need:.4g}"),
                "holds": float(f"{part.holds:.4g}"),
                "used": float(f"{part.used:.4g}"),
                "then": part.then,
            }
            for part in parts(scans, peak, constants)
        ]
    return found


def digest() -> str:
    """Identifies the constants that a result was made from."""
    return hashlib.sha256(FILE.read_bytes()).hexdigest()[:16]
