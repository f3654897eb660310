"""A Redis cache that turns into no cache while its server is away."""

import hashlib
import hmac
import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


def hidden_key(key: str, prefix: str, version: int) -> str:
    """For KEY_FUNCTION: a keyed hash of the key, which may hold somebody's address.

    The server logs all that it is sent to disk, where it stays for longer than in the cache.
    """
    digest = hmac.new(settings.SECRET_KEY.encode(), f"{version}:{key}".encode(), hashlib.sha256)
    return f"{prefix}:{digest.hexdigest()}"


def _forgiving(method: Callable[..., Any], missed: Callable[[], Any]) -> Callable[..., Any]:
    """The method, but returning `missed()` when the server does not answer."""

    def guarded(*args: Any) -> Any:
        try:
            return method(*args)
        except RedisError as error:
            _log(error)
            return missed()

    return guarded


class _ForgivingClient(RedisCacheClient):
    """Answers as an empty cache would when the server does not answer."""

    # As a lock, it is free: people can sign in while the server is away.
    add = _forgiving(RedisCacheClient.add, lambda: True)
    set = _forgiving(RedisCacheClient.set, lambda: None)
    touch = _forgiving(RedisCacheClient.touch, lambda: False)
    delete = _forgiving(RedisCacheClient.delete, lambda: False)
    get_many = _forgiving(RedisCacheClient.get_many, dict)
    has_key = _forgiving(RedisCacheClient.has_key, lambda: False)
    set_many = _forgiving(RedisCacheClient.set_many, lambda: None)
    delete_many = _forgiving(RedisCacheClient.delete_many, lambda: None)
    clear = _forgiving(RedisCacheClient.clear, lambda: False)

    def get(self, key: Any, default: Any) -> Any:
        try:
            return super().get(key, default)
        except RedisError as error:
            _log(error)
            return default


def _log(error: RedisError) -> None:
    logger.warning("cache is away: %s", type(error).__name__)


class ForgivingRedisCache(RedisCache):
    """Django's Redis cache, but an outage is a miss. `incr` still raises: counts must be true."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = _ForgivingClient
