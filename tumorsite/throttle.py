"""Counts of requests in fixed windows of a minute, shared by all web processes."""

import threading
import time

from django.core.cache import cache
from django.http import HttpRequest
from redis.exceptions import RedisError

from tumorsite.settings.values import values

WINDOW = 60

_local: dict[str, int] = {}
_lock = threading.Lock()


def client_address(request: HttpRequest) -> str:
    """The visitor's address; only as many forwarded hops are believed as there are proxies."""
    address = str(request.META.get("REMOTE_ADDR", ""))
    if values.PROXY_COUNT:
        hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",")]
        if len(hops) >= values.PROXY_COUNT and hops[-values.PROXY_COUNT]:
            return hops[-values.PROXY_COUNT]
    return address


def _incremented(key: str) -> int:
    try:
        return cache.incr(key)
    except ValueError:
        return 1 if cache.add(key, 1, 2 * WINDOW) else cache.incr(key)


def _count(key: str) -> int:
    """This request's number in its window. Counts per process while the cache is away."""
    try:
        return _incremented(key)
    except (RedisError, ValueError):
        with _lock:
            if len(_local) > 10_000:
                _local.clear()
            _local[key] = _local.get(key, 0) + 1
            return _local[key]


def retry_after(scope: str, who: str, limit: int) -> int:
    """Seconds to wait if `who` has used up `limit` requests of `scope` this minute, else 0."""
    now = time.time()
    used = _count(f"throttle:{scope}:{who}:{int(now // WINDOW)}")
    return 0 if used <= limit else int(WINDOW - now % WINDOW) + 1
