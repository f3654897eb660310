"""What queueing theory says of queues simple enough for it, to hold the simulator against."""

from __future__ import annotations


def erlang_c(servers: int, load: float) -> float:
    """Probability that a customer waits in M/M/c.

    Args:
        load: arrival rate times mean service, in servers (erlang), below `servers`.

    Source: Erlang B by its recursion, then C from B.
    """
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def mean_wait_mmc(servers: int, rate: float, service: float) -> float:
    """Mean seconds before service begins in M/M/c."""
    load = rate * service
    return erlang_c(servers, load) * service / (servers - load)


def mean_wait_md1(rate: float, service: float) -> float:
    """Mean seconds before service begins in M/D/1 (Pollaczek-Khinchine)."""
    load = rate * service
    return load * service / (2 * (1 - load))
