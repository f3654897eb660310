"""Counts of requests in fixed windows of a minute, shared by all web processes."""

import threading
import time
from ipaddress import IPv4Address, IPv6Address, ip_address

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from redis.exceptions import RedisError

WINDOW = 60

_local: dict[str, int] = {}
# Counts that are over their limit, so that a flood is refused without asking the cache each time.
_used_up: set[str] = set()
_lock = threading.Lock()
# The minute that both belong to, and how many entries each may hold.
_minute = 0
_MOST = 10_000


def client_address(request: HttpRequest) -> str:
    """The visitor's address: of the forwarded hops, only as many count as there are proxies.

    Of IPv6 its first 64 bits: whoever has one address has all that share them, and by changing
    among these would never be counted twice.
    """
    address = str(request.META.get("REMOTE_ADDR", ""))
    if proxies := settings.PROXY_COUNT:
        hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",")]
        if len(hops) >= proxies and hops[-proxies]:
            address = hops[-proxies]
    try:
        known = ip_address(address)
    except ValueError:
        return address
    if isinstance(known, IPv4Address):
        return address
    if known.ipv4_mapped:
        return str(known.ipv4_mapped)
    return str(IPv6Address(int(known) >> 64 << 64))


def _incremented(key: str, by: int) -> int:
    try:
        return cache.incr(key, by)
    except ValueError:
        return by if cache.add(key, by, 2 * WINDOW) else cache.incr(key, by)


def _count(key: str, by: int) -> int:
    """How many there were in this window; of this process alone while the cache is away."""
    try:
        return _incremented(key, by)
    except (RedisError, ValueError):
        with _lock:
            if len(_local) > _MOST:
                _local.clear()
            _local[key] = _local.get(key, 0) + by
            return _local[key]


def _begin(window: int) -> None:
    """Forget addresses of the minutes before; the cache forgets them by itself."""
    global _minute  # noqa: PLW0603  # one clock for all threads
    if window != _minute:
        _minute = window
        forget()


def retry_after(scope: str, who: str, limit: int, count: int = 1) -> int:
    """Seconds to wait if `who` passes `limit` of `scope` this minute by `count` more, else 0."""
    now = time.time()
    window = int(now // WINDOW)
    _begin(window)
    key = f"throttle:{scope}:{who}:{limit}:{window}"
    if key not in _used_up:
        if _count(key, count) <= limit:
            return 0
        with _lock:
            if len(_used_up) > _MOST:
                _used_up.clear()
            _used_up.add(key)
    return int(WINDOW - now % WINDOW) + 1


def forget() -> None:
    """Forget what this process knows by itself; the cache keeps its counts."""
    with _lock:
        _local.clear()
        _used_up.clear()
