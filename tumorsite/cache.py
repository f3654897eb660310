"""A Redis cache that turns into no cache while its server is away."""

import hashlib
import hmac
import logging
from copy import copy
from typing import Any

from django.conf import settings
from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


def hidden_key(key: str, prefix: str, version: int) -> str:
    """For KEY_FUNCTION: a keyed hash of the key, which may hold somebody's address.

    The server keeps a log of all that it is sent, so what is in the cache for two minutes stays on
    a disk for longer.
    """
    digest = hmac.new(settings.SECRET_KEY.encode(), f"{version}:{key}".encode(), hashlib.sha256)
    return f"{prefix}:{digest.hexdigest()}"


class _ForgivingClient(RedisCacheClient):
    """Answers as an empty cache would when the server does not answer."""

    _absent: dict[str, Any] = {
        # As a lock, it is free: people can sign in while the server is away.
        "add": True,
        "set": None,
        "touch": False,
        "delete": False,
        "get_many": {},
        "has_key": False,
        "set_many": None,
        "delete_many": None,
        "clear": False,
    }

    def get(self, key: Any, default: Any) -> Any:
        try:
            return super().get(key, default)
        except RedisError as error:
            _log(error)
            return default

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in _ForgivingClient._absent:
            return found

        def guarded(*args: Any) -> Any:
            try:
                return found(*args)
            except RedisError as error:
                _log(error)
                return copy(_ForgivingClient._absent[name])

        return guarded


def _log(error: RedisError) -> None:
    logger.warning("cache is away: %s", type(error).__name__)


class ForgivingRedisCache(RedisCache):
    """Django's Redis cache, but an outage is a miss. `incr` still raises: counts must be true."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = _ForgivingClient
