"""Ids, log lines without identities, and what is not there while it is off."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from pytest_django import Settings

from tests.settings import TEST_VALKEY
from tumorsite.observability import context, exposition, jobs, sentry
from tumorsite.observability.logs import ContextFilter, JsonFormatter, PathFilter
from tumorsite.observability.middleware import ObservabilityMiddleware
from tumorsite.observability.privacy import cleaned
from tumorsite.settings.env import load
from tumorsite.settings.parsers import BASE_DIR


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("mail to ada.l+x@mail.example.org failed", "mail to [e-mail] failed"),
        ("from 203.0.113.7:51234", "from [address]:51234"),
        ("from 2001:db8::7 at 12:30:15", "from [address] at 12:30:15"),
        ("on http://127.0.0.1:8000", "on http://127.0.0.1:8000"),
        ("cannot open 'Ada Lovelace.png'", "cannot open [file]"),
        ("cannot open /tmp/Lovelace.DCM", "cannot open [file]"),
        ("duplicate\nDETAIL:  Key (email)=(ada)\n exists.", "duplicate\n[row]"),
        ("Key (name)=(Ada) exists", "[row] exists"),
        ("version 2.21.0 of 3 parts", "version 2.21.0 of 3 parts"),
    ],
)
def test_what_may_name_somebody_is_taken_out(text: str, left: str) -> None:
    assert cleaned(text) == left


def test_our_own_keys_stay() -> None:
    key = "scans/0190a6f2-0000-7000-8000-000000000000/image.png is gone"
    assert cleaned(key) == key


def test_json_has_ids_and_a_traceback_without_names() -> None:
    context.begin_job("0123456789ab", context.Job("task-1", "a.task", "job-1"))
    try:
        try:
            raise ValueError("no place for ada@example.org")
        except ValueError:
            record = logging.LogRecord(
                "predictions.x", logging.ERROR, "x.py", 1, "lost %s", ("a",), sys.exc_info()
            )
        ContextFilter().filter(record)
        line = JsonFormatter().format(record)
    finally:
        context.end_job()
    said = json.loads(line)
    assert "\n" not in line
    assert (said["request_id"], said["task_id"], said["task"], said["prediction_id"]) == (
        "0123456789ab",
        "task-1",
        "a.task",
        "job-1",
    )
    assert said["message"] == "lost a"
    assert said["exception"].endswith("ValueError: no place for [e-mail]")
    after = logging.makeLogRecord({"msg": "later"})
    ContextFilter().filter(after)
    assert not {"request_id", "task_id", "prediction_id"} & set(
        json.loads(JsonFormatter().format(after))
    )


def test_a_path_that_somebody_typed_is_not_logged() -> None:
    request = RequestFactory().get("/Ada-Lovelace/")
    record = logging.makeLogRecord(
        {"name": "django.request", "msg": "%s: %s", "args": ("Not Found", request.path)}
    )
    record.request = request
    PathFilter().filter(record)
    assert record.getMessage() == "Not Found: (none)"


@pytest.mark.parametrize(
    ("given", "proxies", "taken"),
    [
        ("0123456789abcdef", 1, True),
        ("0123456789abcdef", 0, False),
        ("ada-lovelace", 1, False),
        ("0" * 65, 1, False),
        ("0123456789\nabcdef", 1, False),
        ("", 1, False),
    ],
)
def test_an_id_is_made_or_taken_from_a_proxy(
    given: str, proxies: int, taken: bool, settings: Settings
) -> None:
    settings.PROXY_COUNT = proxies
    seen = []

    def view(request: HttpRequest) -> HttpResponse:
        record = logging.makeLogRecord({})
        ContextFilter().filter(record)
        seen.append(record.__dict__["request_id"])
        return HttpResponse()

    ask = ObservabilityMiddleware(view)
    answers = [
        ask(RequestFactory().get("/", headers={"X-Request-ID": given}))["X-Request-ID"]
        for _ in range(2)
    ]
    assert answers == seen
    assert (answers == [given, given]) is taken
    assert taken or len(set(answers)) == 2
    # Django logs what it refuses after all middleware, and closes the response last.
    assert context.request_id.get() == answers[1]
    context.end_request()
    assert context.request_id.get() == "-"


@pytest.mark.django_db
def test_what_django_says_of_a_refusal_has_the_id_of_its_request(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    named = ContextFilter()
    caplog.handler.addFilter(named)
    try:
        response = client.get("/no/such/page/")
    finally:
        caplog.handler.removeFilter(named)
    [record] = [one for one in caplog.records if one.name == "django.request"]
    assert record.__dict__["request_id"] == response["X-Request-ID"]
    assert context.request_id.get() == "-"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOG_FORMAT", "xml"),
        ("METRICS_PORT", "65536"),
        ("METRICS_HOST", " "),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret-without-a-name"),
        ("SENTRY_DSN", "https://sentry.example/7"),
        ("SENTRY_DSN", "https://key@sentry.example/project"),
    ],
)
def test_bad_settings_are_named(name: str, value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"^{name} must ") as caught:
        load({name: value})
    assert value.strip() == "" or value not in str(caught.value)


def test_headers_of_the_collector() -> None:
    read = load({"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic a=, x=1"})
    assert read.OTEL_EXPORTER_OTLP_HEADERS == {"authorization": "Basic a=", "x": "1"}


def test_a_report_keeps_what_is_known_to_be_harmless() -> None:
    frame = {"function": "f", "lineno": 3, "vars": {"name": "Ada"}, "abs_path": "/home/ada/x.py"}
    event = {
        "event_id": "1",
        "user": {"email": "ada@example.org"},
        "request": {"url": "/x", "cookies": "c", "data": "Ada"},
        "server_name": "ada-laptop",
        "new_field": "Ada",
        "transaction": "/results/ada/",
        "logger": "django.security.DisallowedHost",
        "logentry": {"message": "Invalid host ada.example"},
        "exception": {"values": [{"type": "E", "value": "Ada", "stacktrace": {"frames": [frame]}}]},
    }
    assert sentry.scrubbed(event, {}) == {
        "event_id": "1",
        "logger": "django.security.DisallowedHost",
        "exception": {
            "values": [{"type": "E", "stacktrace": {"frames": [{"function": "f", "lineno": 3}]}}]
        },
        "tags": {"part": context.part()},
    }


RUN = """
import sys, django
django.setup()
from django.urls import get_resolver; get_resolver().url_patterns
# The client of Redis imports some of OpenTelemetry by itself, wherever it is installed.
off = {"prometheus_client", "opentelemetry.exporter", "opentelemetry.sdk.trace", "sentry_sdk"}
print(sorted(off & set(sys.modules)))
"""

MEASURE = """
import sys, time, django
from pathlib import Path
django.setup()
from tumorsite.observability import metrics
def one():
    metrics.answered(upload_to_result=0.1, engine=0.01, whole_pass=0.02)
    metrics.ended("succeeded")
metrics.begin(Path(sys.argv[1]))
one()
best = 1.0
for _ in range(20):
    start = time.perf_counter()
    for _ in range(100):
        one()
    best = min(best, (time.perf_counter() - start) / 100)
print(best * 1e6)
"""


def _python(code: str, folder: Path, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=BASE_DIR,
        env={
            "PATH": "/usr/bin:/bin",
            "DATA_DIR": str(folder),
            "BROKER_URL": TEST_VALKEY.url,
            "DJANGO_SETTINGS_MODULE": "tumorsite.settings",
        },
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_what_is_off_is_not_imported(tmp_path: Path) -> None:
    assert _python(RUN, tmp_path) == "[]"


def test_counting_an_answer_takes_microseconds(tmp_path: Path) -> None:
    microseconds = float(_python(MEASURE, tmp_path, str(tmp_path / "metrics")))
    # About 15 on a quiet machine; an answer takes about 10,000.
    assert microseconds < 200


def test_the_probe_imports_neither_django_nor_celery(tmp_path: Path) -> None:
    code = (
        "import sys, tumorsite.probe\n"
        "print(sorted({'django', 'celery', 'kombu', 'numpy'} & set(sys.modules)))"
    )
    assert _python(code, tmp_path) == "[]"


def test_the_search_for_copies_tells_nothing_of_its_builds() -> None:
    """FAISS says with a ModuleNotFoundError which of them it has not found, at INFO."""
    assert not logging.getLogger("faiss.loader").isEnabledFor(logging.INFO)
    assert logging.getLogger("faiss.loader").isEnabledFor(logging.WARNING)


def test_the_clock_does_not_tell_of_every_task_that_it_sends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two lines each ten seconds, which would move what the start has said out of sight."""
    caplog.set_level(logging.INFO)
    assert not logging.getLogger("celery.beat").isEnabledFor(logging.INFO)
    assert logging.getLogger("celery.beat").isEnabledFor(logging.WARNING)


def test_a_forked_process_reports_by_means_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of its parent may be in the middle of a report, and locked."""
    begun: list[str] = []
    monkeypatch.setattr(sentry, "begin", lambda: begun.append("again"))
    monkeypatch.setattr(exposition, "serve", lambda: None)
    monkeypatch.setattr(jobs, "say_ready", lambda: None)
    part = context.part()
    # Loaded by gunicorn alone: it says which part of the site this process is.
    from tumorsite import gunicorn

    context.set_part(part)
    gunicorn.post_fork(None, None)
    jobs._after_fork()
    assert begun == ["again", "again"]
