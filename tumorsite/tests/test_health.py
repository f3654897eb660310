"""What the health page says of each part, and how it bears being asked often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.files.storage import storages
from django.db import connection
from django.test import Client
from kombu.exceptions import OperationalError
from pytest_django import Settings

from tests.support.processes import free_port, wait_until
from tests.support.servers import S3
from tumorsite import health
from tumorsite.health import Health, Probe


def fine() -> None:
    """A part that answers."""


def broken() -> None:
    raise ConnectionError("redis://:secret@10.1.2.3 refused")


def _parts(**questions: Callable[[], None]) -> Health:
    names = ("database", "storage", "broker", "worker")
    return Health({name: Probe(name, questions.get(name, fine)) for name in names})


@pytest.fixture
def ask(client: Client, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, dict]]:
    """Ask the page while these parts answer as given."""

    def asked(**questions: Callable[[], None]) -> tuple[int, dict]:
        monkeypatch.setattr(health, "current", _parts(**questions))
        answer = client.get("/health/")
        assert "no-store" in answer.headers["Cache-Control"]
        return answer.status_code, answer.json()

    return asked


def test_all_is_well(ask: Callable[..., tuple[int, dict]]) -> None:
    parts = dict.fromkeys(("database", "storage", "broker", "worker"), "ok")
    assert ask() == (200, {"status": "ok", "parts": parts})


@pytest.mark.parametrize("name", ["database", "storage", "worker"])
def test_the_part_that_fails_is_named_without_its_address(
    ask: Callable[..., tuple[int, dict]], name: str
) -> None:
    status, said = ask(**{name: broken})
    assert status == 503
    assert said["status"] == "unavailable"
    assert said["parts"].pop(name) == "does not answer (ConnectionError)"
    assert set(said["parts"].values()) == {"ok"}


def test_the_part_that_fails_is_told_once_and_by_the_health_page_alone(
    ask: Callable[..., tuple[int, dict]], client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of each answer would fill terminal and Sentry for as long as an outage lasts."""
    assert ask(storage=broken)[0] == 503
    assert client.get("/health/").status_code == 503
    assert [(one.name, one.levelname) for one in caplog.records] == [
        ("tumorsite.health", "WARNING")
    ]


def test_a_fault_of_the_page_itself_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> dict[str, str]:
        raise ValueError("a fault")

    monkeypatch.setattr(health.current, "check", broken)
    assert Client(raise_request_exception=False).get("/health/").status_code == 500
    [record] = [one for one in caplog.records if one.name == "django.request"]
    assert record.exc_info


def test_a_missing_worker_is_told_in_words(ask: Callable[..., tuple[int, dict]]) -> None:
    def nobody() -> None:
        raise health.NoWorkerError("no inference worker with a loaded model answers")

    status, said = ask(worker=nobody)
    assert status == 503
    assert said["parts"]["worker"] == "no inference worker with a loaded model answers"


def test_without_a_broker_nothing_is_known_of_workers(
    ask: Callable[..., tuple[int, dict]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The cache, where the notes are, is on the same server: it is not asked.
    monkeypatch.setattr(health, "_notes", broken)
    status, said = ask(broker=broken)
    assert status == 503
    assert said["parts"]["worker"] == "unknown while the broker is away"


def test_what_was_wrong_a_moment_ago_is_asked_again() -> None:
    """Another process may have said just now that all is well."""
    well = threading.Event()

    def starting() -> None:
        if not well.is_set():
            raise health.NoWorkerError("none yet")

    parts = _parts(worker=starting)
    assert parts.check()["worker"] == "none yet"
    well.set()
    parts.asked_at -= health.FRESH_SECONDS / 2
    assert parts.check()["worker"] == "ok"
    asked = parts.asked_at = parts.asked_at - health.FRESH_SECONDS / 2
    parts.check()
    assert parts.asked_at == asked, "a good answer is kept a little longer"


def test_a_part_that_hangs_is_named_and_asked_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LONGEST_WAIT", 0.2)
    monkeypatch.setattr(health, "FRESH_SECONDS", 0.0)
    go_on, asked = threading.Event(), []

    def hanging() -> None:
        asked.append(1)
        go_on.wait(20)

    parts = _parts(storage=hanging)
    began = time.monotonic()
    for _ in range(3):
        assert parts.check()["storage"] == "does not answer in time"
        assert parts.check()["database"] == "ok"
    assert time.monotonic() - began < 5
    assert asked == [1]
    # Nor does a question wait for its turn, as hours of them would.
    assert parts.probes["storage"]._thread._work_queue.qsize() == 0
    go_on.set()
    wait_until(lambda: parts.check()["storage"] == "ok", seconds=5, what="the answer")


def test_a_flood_of_questions_is_one_question_to_the_parts() -> None:
    asked = []

    def counted() -> None:
        asked.append(1)
        time.sleep(0.1)

    parts = _parts(database=counted)
    threads = [threading.Thread(target=parts.check) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == [1]


def test_while_one_asks_others_get_the_answer_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH_SECONDS", 0.0)
    go_on = threading.Event()
    go_on.set()
    parts = _parts(database=lambda: None if go_on.wait(10) else broken())
    before = parts.check()
    go_on.clear()
    asking = threading.Thread(target=parts.check)
    asking.start()
    began = time.monotonic()
    assert parts.check() == before
    assert time.monotonic() - began < 1
    go_on.set()
    asking.join()


def test_an_answer_that_is_too_old_is_not_given_while_one_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(health, "STALE_SECONDS", 0.0)
    calls: list[int] = []
    asking, go_on = threading.Event(), threading.Event()

    def well_once() -> None:
        calls.append(1)
        if len(calls) > 1:
            asking.set()
            go_on.wait(10)
            broken()

    parts = _parts(database=well_once)
    assert parts.check()["database"] == "ok"
    first = threading.Thread(target=parts.check)
    first.start()
    assert asking.wait(10)
    threading.Timer(0.3, go_on.set).start()
    assert parts.check()["database"] == "does not answer (ConnectionError)"
    first.join()


def test_live_asks_no_part(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "current", None)
    answer = client.get("/health/live/")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


@pytest.mark.django_db
@pytest.mark.data_layer
def test_the_real_database_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(connection, "close", lambda: closed.append(True))
    health._database()
    # The thread that asks serves no requests, so that nothing else would close it.
    assert closed == [True]


def test_the_real_storage_answers_and_is_left_as_it_was(object_store: str) -> None:
    health._storage()
    assert storages["scans"].listdir("health") in (([], []), (set(), set()))


def test_a_storage_that_cannot_be_written_is_noticed(
    settings: Settings, s3_server: S3, tmp_path_factory: pytest.TempPathFactory
) -> None:
    blocked = tmp_path_factory.mktemp("blocked") / "file"
    blocked.write_text("not a folder")
    settings.STORAGES = {
        **settings.STORAGES,
        "scans": {
            "BACKEND": "predictions.storage.ImmutableFileStorage",
            "OPTIONS": {"location": blocked / "objects"},
        },
    }
    with pytest.raises(Exception, match=r"(?i)director|storage"):
        health._storage()


def test_the_real_broker_answers_and_no_worker_does() -> None:
    health._broker()
    with pytest.raises(health.NoWorkerError, match="no inference worker"):
        health._worker()


def test_a_worker_that_answers_first_and_has_no_model_yet_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from celery import current_app

    replies: list[dict[str, dict[str, bool]]] = [{"inference@new": {"ready": False}}]

    def broadcast(*_: Any, limit: int | None, **__: Any) -> list[dict[str, dict[str, bool]]]:
        return replies[:limit]

    monkeypatch.setattr(current_app.control, "broadcast", broadcast)
    with pytest.raises(health.NoWorkerError):
        health._worker()
    replies.append({"inference@old": {"ready": True}})
    health._worker()


def test_where_no_worker_answers_there_is_no_second_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would leave hardly any time for the rest of the answer."""
    from celery import current_app

    asked = []
    monkeypatch.setattr(current_app.control, "broadcast", lambda *_, **__: asked.append(1))
    with pytest.raises(health.NoWorkerError):
        health._worker()
    assert asked == [1]


@pytest.fixture
def no_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from celery import current_app

    before = current_app.conf["broker_url"]
    current_app.conf["broker_url"] = f"redis://127.0.0.1:{free_port()}/0"
    yield
    current_app.conf["broker_url"] = before


def test_a_broker_that_is_away_is_noticed_soon(no_broker: None) -> None:
    began = time.monotonic()
    with pytest.raises(OperationalError, match=r"(?i)refused|connect"):
        health._broker()
    assert time.monotonic() - began < health.LONGEST_WAIT
