"""Throttle, cache and the limits of what a request may bring."""

from __future__ import annotations

import errno
import hashlib
import tempfile
from io import BytesIO
from pathlib import Path

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import reverse
from pytest_django import Settings
from redis import Redis
from redis.exceptions import RedisError

from tests.support.disks import full_disk
from tests.support.processes import free_port
from tumorsite import throttle
from tumorsite.cache import ForgivingRedisCache
from tumorsite.middleware import NO_ROOM, UploadLimitMiddleware
from tumorsite.uploads import UnnamedFileUploadHandler


def ok(request: HttpRequest) -> HttpResponse:
    return HttpResponse("fine")


@pytest.fixture
def away() -> ForgivingRedisCache:
    """A cache whose server is not there."""
    options = {"socket_timeout": 0.2, "socket_connect_timeout": 0.2}
    return ForgivingRedisCache(f"redis://127.0.0.1:{free_port()}/0", {"OPTIONS": options})


def test_a_cache_that_is_away_is_an_empty_cache(away: ForgivingRedisCache) -> None:
    away.set("a", 1)
    away.set_many({"a": 1})
    assert away.get("a", "nothing") == "nothing"
    assert away.get_many(["a", "b"]) == {}
    assert away.add("a", 1) is True
    assert away.touch("a") is False
    assert away.delete("a") is False
    assert "a" not in away
    with pytest.raises(RedisError):
        away.incr("a")


@pytest.mark.parametrize("there", [True, False])
def test_several_at_once_count_as_several(
    there: bool, away: ForgivingRedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not there:
        monkeypatch.setattr(throttle, "cache", away)
    waits = [throttle.retry_after("test", f"several-{there}", 10, count) for count in (4, 6, 1)]
    assert waits[:2] == [0, 0]
    assert waits[2] > 0


def test_a_cache_that_is_there_remembers() -> None:
    cache.set("a", 1, 60)
    assert cache.get("a") == 1
    assert cache.incr("a") == 2
    assert cache.add("a", 5) is False
    cache.delete("a")
    assert cache.get("a", "gone") == "gone"


def test_who_has_used_up_the_minute_must_wait() -> None:
    waits = [throttle.retry_after("test", "someone", 3) for _ in range(5)]
    assert waits[:3] == [0, 0, 0]
    assert all(0 < wait <= throttle.WINDOW + 1 for wait in waits[3:])
    assert throttle.retry_after("test", "another", 3) == 0
    assert throttle.retry_after("other", "someone", 3) == 0


def test_a_flood_is_refused_without_the_cache(
    away: ForgivingRedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert throttle.retry_after("test", "someone", 0) > 0
    monkeypatch.setattr(throttle, "cache", away)
    monkeypatch.setattr(throttle, "_used_up", throttle._used_up | set(map(str, range(10_001))))
    assert throttle.retry_after("test", "someone", 0) > 0
    assert throttle._local == {}
    # Nor does it fill the memory.
    assert throttle.retry_after("test", "another", 0) > 0
    assert len(throttle._used_up) == 1


def test_a_flood_does_not_fill_the_log(
    client: Client, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REQUESTS_PER_MINUTE = 0
    assert client.get("/terms/").status_code == 429
    assert "Too Many Requests" not in caplog.text


def test_counts_go_on_while_the_cache_is_away(
    away: ForgivingRedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "cache", away)
    monkeypatch.setattr(throttle, "_local", {f"old-{number}": 1 for number in range(10_001)})
    waits = [throttle.retry_after("test", "someone", 2) for _ in range(4)]
    assert [wait > 0 for wait in waits] == [False, False, True, True]
    assert len(throttle._local) == 1


def test_addresses_are_forgotten_after_their_minute(
    away: ForgivingRedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 60.0
    monkeypatch.setattr(throttle, "cache", away)
    monkeypatch.setattr(throttle.time, "time", lambda: now)
    assert throttle.retry_after("test", "someone", 0) > 0
    assert throttle._local
    assert throttle._used_up
    now = 120.0
    assert throttle.retry_after("test", "another", 1) == 0
    assert not throttle._used_up
    assert [key for key in throttle._local if "someone" in key] == []


@pytest.mark.django_db
def test_no_address_reaches_the_server_of_the_cache(client: Client, settings: Settings) -> None:
    """Neither by our own counts nor by those of the library for sign-in."""
    who = {"login": "grace@example.org", "password": "wrong password"}
    client.post(reverse("account_login"), who, REMOTE_ADDR="203.0.113.9")
    with Redis.from_url(settings.CACHES["default"]["LOCATION"]) as server:
        keys = b" ".join(server.keys())
    assert keys
    assert b"203.0.113" not in keys
    assert hashlib.sha256(b"grace@example.org").hexdigest().encode() not in keys


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "203.0.113.9", "127.0.0.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (2, "198.51.100.1, 203.0.113.9", "198.51.100.1"),
        (2, "203.0.113.9", "127.0.0.1"),
        (1, "", "127.0.0.1"),
        # All of a visitor's addresses are one; IPv4 may come in IPv6's clothes.
        (1, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        (1, "2001:DB8:1:2::ffff", "2001:db8:1:2::"),
        (1, "::ffff:203.0.113.9", "203.0.113.9"),
        (1, "unknown", "unknown"),
    ],
)
def test_only_as_many_hops_are_believed_as_there_are_proxies(
    settings: Settings, proxies: int, forwarded: str, address: str
) -> None:
    settings.PROXY_COUNT = proxies
    request = RequestFactory().get("/", headers={"X-Forwarded-For": forwarded})
    assert throttle.client_address(request) == address


@pytest.mark.django_db
def test_the_request_after_the_last_is_refused_in_the_callers_language(
    client: Client, settings: Settings
) -> None:
    settings.REQUESTS_PER_MINUTE = 2
    statuses = [client.get("/health/live/").status_code for _ in range(4)]
    assert statuses == [200] * 4, "probes are not throttled"
    for _ in range(2):
        assert client.get("/no-such-page/", headers={"Accept": "application/json"}).json()
    refused = client.get("/terms/", headers={"Accept": "application/json"})
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= throttle.WINDOW + 1
    assert refused.json()["error"].startswith("Too many requests. Please wait")
    page = client.get("/terms/", headers={"Accept": "text/html"})
    assert page.status_code == 429
    assert "Too many requests" in page.text


@pytest.mark.parametrize(
    ("announced", "status"), [("1000", 200), ("", 200), ("many", 200), (str(10**10), 413)]
)
def test_a_body_that_is_too_large_is_refused_by_its_announced_length(
    announced: str, status: int
) -> None:
    request = RequestFactory().post("/scans/", headers={"Accept": "application/json"})
    request.META["CONTENT_LENGTH"] = announced
    body = BytesIO(b"x" * 3_000_000)
    request._stream = body
    answer = UploadLimitMiddleware(ok)(request)
    assert answer.status_code == status
    # What has been sent is read, or the browser would never show the answer.
    assert body.tell() == (3_000_000 if status == 413 else 0)


@pytest.mark.django_db
def test_a_form_that_finds_no_room_is_told_so(client: Client) -> None:
    # Above FILE_UPLOAD_MAX_MEMORY_SIZE, so that it goes to the disk.
    file = SimpleUploadedFile("slice.png", b"x" * 3_000_000)
    with full_disk(1_000_000):
        answer = client.post(
            reverse("history"), {"images": file}, headers={"Accept": "application/json"}
        )
    assert answer.status_code == 503
    assert answer.json() == {"error": NO_ROOM}


def test_no_name_is_left_of_a_file_that_is_received(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed process takes an original with it, metadata and all."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    handler = UnnamedFileUploadHandler()
    handler.new_file("images", "scan.jpg", "image/jpeg", 6)
    handler.receive_data_chunk(b"abc", 0)
    handler.receive_data_chunk(b"def", 3)
    assert list(tmp_path.iterdir()) == []
    file = handler.file_complete(6)
    assert (file.name, file.size, file.read()) == ("scan.jpg", 6, b"abcdef")


def test_who_finds_no_room_and_leaves_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(BytesIO):
        def read(self, *args: object) -> bytes:
            raise OSError("connection reset")

    def full(request: HttpRequest) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(WSGIRequest, "POST", property(full))
    request = RequestFactory().post("/scans/", {"images": "x"})
    request._stream = Gone()
    answer = UploadLimitMiddleware(ok).process_view(request, ok, (), {})
    assert answer is not None
    assert answer.status_code == 503


def test_who_breaks_off_sending_is_left_to_the_check_of_the_form() -> None:
    class Gone(BytesIO):
        def read(self, *args: object) -> bytes:
            raise OSError("connection reset")

    request = RequestFactory().post("/scans/", {"images": "x"})
    request._stream = Gone()
    assert UploadLimitMiddleware(ok).process_view(request, ok, (), {}) is None
