"""The simulator is right where theory knows the answer, and does what the product does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from simulation import arrivals
from simulation.constants import Constants
from simulation.day import simulate
from simulation.fleet import Policy
from simulation.tests import theory

CUSTOMERS = 60_000


def _one_pass(service: Callable[[float], float], scans: int) -> float:
    return service(1.0)


def mean_wait(servers: int, load: float, *, exponential: bool, seeds: int = 3) -> float:
    """Mean wait of a queue whose service takes one second on average."""
    means = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        times = arrivals.poisson(servers * load, CUSTOMERS, rng)
        service: Callable[[float], float] = rng.exponential if exponential else float
        day = simulate(
            times,
            pass_seconds=partial(_one_pass, service),
            policy=Policy(servers, servers, per_node=servers),
            rng=rng,
        )
        means.append(day.waits.mean())
    return float(np.mean(means))


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (2, 0.7), (4, 0.8)])
def test_waits_of_m_m_c_are_those_of_erlang(servers: int, load: float) -> None:
    expected = theory.mean_wait_mmc(servers, servers * load, 1.0)
    assert mean_wait(servers, load, exponential=True) == pytest.approx(expected, rel=0.06)


def test_waits_of_m_d_1_are_those_of_pollaczek_and_khinchine() -> None:
    expected = theory.mean_wait_md1(0.7, 1.0)
    assert mean_wait(1, 0.7, exponential=False) == pytest.approx(expected, rel=0.06)


def test_erlang_c_of_one_server_is_its_load_and_of_textbooks_what_they_say() -> None:
    assert theory.erlang_c(1, 0.6) == pytest.approx(0.6)
    assert theory.erlang_c(2, 1.0) == pytest.approx(1 / 3)


def test_a_pass_takes_up_to_eight_that_wait_in_order() -> None:
    times = np.zeros(20)
    day = simulate(
        times, pass_seconds=float, policy=Policy(), rng=np.random.default_rng(1), batch=8
    )
    assert day.passes == 3
    assert day.waits.tolist() == [0.0] * 8 + [8.0] * 8 + [16.0] * 4
    assert day.answers.tolist() == [8.0] * 8 + [16.0] * 8 + [20.0] * 4


def test_a_cold_start_is_waited_for_once_and_the_fleet_goes_home_afterwards() -> None:
    policy = Policy(
        least=0, most=3, target=10, polling=15, stabilise=60, worker_start=5, node_start=100,
        node_idle=120,
    )  # fmt: skip
    times = np.array([1.0, 2.0, 2000.0])
    day = simulate(
        times, pass_seconds=lambda scans: 1.0, policy=policy, rng=np.random.default_rng(1)
    )
    # Seen at the look 15 s after the start, 105 s later there is a worker.
    assert day.waits.tolist() == [119.0, 119.0, pytest.approx(2010 + 105 - 2000)]
    assert [tick[3] for tick in day.ticks if tick[0] == 1500] == [0]
    # Two lives of a node: from the order until it was empty for two minutes, or the end.
    assert 105 + 120 < day.node_seconds < 2 * (105 + 60 + 120 + 45)


def test_more_workers_come_at_once_and_go_only_after_a_while() -> None:
    policy = Policy(least=1, most=5, target=2, polling=10, stabilise=100)
    times = np.concatenate([np.zeros(40), [400.0]])
    day = simulate(
        times, pass_seconds=lambda scans: 2.0, policy=policy, rng=np.random.default_rng(1)
    )
    workers = {time: ready for time, _, ready, _ in day.ticks}
    # More than the bound are never asked for, and the window keeps those that were needed.
    assert max(workers.values()) == 5
    assert workers[90.0] == 5
    assert workers[300.0] == 1


def test_no_scan_is_lost_to_evictions_and_a_worker_told_to_go_ends_its_pass() -> None:
    rng = np.random.default_rng(3)
    times = arrivals.poisson(2.0, 4000, rng)
    policy = Policy(least=2, most=6, target=4, worker_start=1, node_start=20, evictions_per_hour=60)
    day = simulate(times, pass_seconds=lambda scans: 0.3, policy=policy, rng=rng, batch=8)
    assert day.evictions > 10
    assert (day.answers >= 0.3 - 1e-9).all()
    assert day.busy_seconds == pytest.approx(0.3 * day.passes)
    assert day.busy_seconds <= day.worker_seconds


def test_a_day_has_its_scans_and_its_curve() -> None:
    constants = Constants()
    times = arrivals.day(200_000, constants, np.random.default_rng(1))
    assert len(times) == pytest.approx(200_000, rel=0.02)
    assert (np.diff(times) >= 0).all()
    by_hour = np.bincount((times / 3600).astype(int), minlength=24)
    assert by_hour[9] > 4 * by_hour[2]
    assert arrivals.peak_rate(times) > 2 * len(times) / 86_400
