"""A running site with all of its observability on: what operators see, and whom they do not."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.http import Answer, Browser
from tests.support.pictures import mri_png
from tests.support.processes import Process, free_port, wait_until
from tests.support.receiver import Receiver
from tests.support.site import ROOT, Site

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600, func_only=True)]

# Nothing of this may be seen by operators.
ADDRESS, EMAIL, FILE = "203.0.113.77", "ada.lovelace@example.org", "Lovelace-Ada-1815"
TYPED = "Byron-Augusta"
REQUEST = "0123456789abcdef0123456789abcdef"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = {
    "X-Forwarded-For": ADDRESS,
    "X-Request-ID": REQUEST,
    "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
}


class Visitor(Browser):
    """Someone behind a proxy that adds these headers."""

    def _send(self, request: urllib.request.Request) -> Answer:
        for name, value in HEADERS.items():
            request.add_header(name, value)
        return super()._send(request)


class Observed:
    """A site and what it tells operators."""

    def __init__(self, site: Site, receiver: Receiver) -> None:
        self.site, self.receiver = site, receiver
        settings = {
            "LOG_FORMAT": "json",
            "PROXY_COUNT": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_BSP_SCHEDULE_DELAY": "300",
            "SENTRY_DSN": receiver.dsn,
        }
        self.ports = {part.log.stem: free_port() for part in site.parts}
        for part in site.parts:
            assert part.env is not None
            part.env.update(settings, METRICS_PORT=str(self.ports[part.log.stem]))
        self.visitor = Visitor(site.url)
        self.id = ""

    def metrics(self, part: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        url = f"http://127.0.0.1:{self.ports[part]}/metrics"
        with urllib.request.urlopen(url, timeout=60) as answer:
            text = answer.read().decode()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def lines(self, part: Process) -> list[dict[str, Any]]:
        return [json.loads(line) for line in part.text().splitlines() if line.startswith("{")]

    def probe(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "tumorsite.probe", *words],
            cwd=ROOT,
            env=self.site.env,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stderr


@pytest.fixture(scope="module")
def observed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    receiver = Receiver()
    observed = Observed(Site(prepared, tmp_path_factory.mktemp("observed")), receiver)
    site = observed.site
    try:
        assert observed.probe("worker", "ready")[0] == 1
        assert observed.probe("web", "live")[0] == 1
        site.start()
        visitor = observed.visitor
        visitor.get("/account/signup/")
        people = {
            "email": EMAIL,
            "password1": "a long passphrase",
            "password2": "a long passphrase",
        }
        signed_up = visitor.post("/account/signup/", urllib.parse.urlencode(people).encode())
        assert signed_up.status == 200
        assert visitor.get(f"/{TYPED}/").status == 404
        refused = visitor.upload([(f"{FILE}.png", b"no picture")])
        assert refused.status == 422
        ids = visitor.submit(mri_png(seed=1), name=f"{FILE}.png")
        site.wait_for(ids)
        observed.id = ids[0]
        yield observed
    finally:
        site.stop()
        receiver.shutdown()


def value(metrics: dict[Any, float], name: str, **labels: str) -> float:
    return metrics[name, frozenset(labels.items())]


def test_one_request_is_followed_from_web_to_worker(observed: Observed) -> None:
    site = observed.site
    [queued] = [
        line
        for line in observed.lines(site.web)
        if line.get("prediction_id") == observed.id and "queued as" in line["message"]
    ]
    assert (queued["part"], queued["request_id"]) == ("web", REQUEST)

    def answers() -> list[dict[str, Any]]:
        lines = observed.lines(site.worker)
        return [line for line in lines if line.get("prediction_id") == observed.id]

    wait_until(answers, seconds=10, what="the worker's line")
    [answered] = [
        line
        for line in answers()
        if "is succeeded" in line["message"] or "is rejected" in line["message"]
    ]
    assert (answered["part"], answered["request_id"]) == ("inference", REQUEST)
    assert answered["task"] == "predictions.tasks.analyze_prediction"
    assert len(answered["task_id"]) == 36
    [asked] = [
        line
        for line in observed.lines(site.web)
        if line.get("route") == "/scans/" and line.get("status") == 201
    ]
    assert (asked["method"], asked["request_id"]) == ("POST", REQUEST)
    assert asked["seconds"] > 0


def test_every_line_is_json(observed: Observed) -> None:
    for part in (observed.site.web, observed.site.worker, observed.site.general):
        lines = part.text().splitlines()
        # Celery's banner comes before there is any logging.
        started = next(index for index, line in enumerate(lines) if line.startswith("{"))
        others = [line for line in lines[started:] if line.strip() and not line.startswith("{")]
        assert others == []
        assert all(
            {"time", "level", "part", "message"} <= set(line) for line in observed.lines(part)
        )


def test_metrics_of_the_web_and_the_worker(observed: Observed) -> None:
    web = observed.metrics("web")
    posted = {"method": "POST", "route": "/scans/"}
    count = "tumorsite_http_request_seconds_count"
    assert value(web, count, **posted, status="201") == 1
    assert value(web, count, **posted, status="422") == 1
    routes = {dict(labels)["route"] for name, labels in web if name == count}
    assert not any(observed.id in route or TYPED in route for route in routes)
    states = {
        dict(labels)["status"]: number
        for (name, labels), number in web.items()
        if name == "tumorsite_predictions"
    }
    assert set(states) == {"queued", "running", "succeeded", "failed", "rejected", "cancelled"}
    assert states["succeeded"] + states["rejected"] == 1
    assert value(web, "tumorsite_oldest_active_job_seconds") == 0
    for queue in ("inference", "general", "shadow", "training"):
        assert value(web, "tumorsite_queue_length", queue=queue) >= 0
    known = [dict(labels) for name, labels in web if name == "tumorsite_model_info"]
    assert [one["stage"] for one in known] == ["production"]
    assert time.time() - value(web, "tumorsite_last_sweep_timestamp_seconds") < 120

    worker = observed.metrics("worker")
    for name in ("prediction", "engine", "pass"):
        assert value(worker, f"tumorsite_{name}_seconds_count") == 1
    engine = value(worker, "tumorsite_engine_seconds_sum")
    assert 0 < engine < value(worker, "tumorsite_pass_seconds_sum")
    assert value(worker, "tumorsite_pass_seconds_sum") < value(
        worker, "tumorsite_prediction_seconds_sum"
    )
    ended = {
        dict(labels)["outcome"]: number
        for (name, labels), number in worker.items()
        if name == "tumorsite_predictions_total"
    }
    assert sum(ended.values()) == 1
    loaded = [dict(labels) for name, labels in worker if name == "tumorsite_model_info"]
    assert loaded == [{**known[0], "stage": "loaded"}]
    assert not any(
        name.startswith("tumorsite_predictions_total") and number
        for (name, _), number in observed.metrics("general").items()
    )


def test_any_web_process_answers_for_all(observed: Observed) -> None:
    name = "tumorsite_http_request_seconds_count"
    labels = {"method": "GET", "route": "/health/live/", "status": "200"}

    def counted() -> float:
        return observed.metrics("web").get((name, frozenset(labels.items())), 0)

    before = counted()
    for _ in range(30):
        Browser(observed.site.url).get("/health/live/")
    assert [counted() for _ in range(6)] == [before + 30] * 6
    # A process that ends takes nothing of what it has counted with it.

    [first, *_] = psutil.Process(observed.site.web.pid).children()
    first.kill()
    wait_until(
        lambda: not first.is_running() or first.status() == psutil.STATUS_ZOMBIE,
        seconds=10,
        what="its end",
    )
    assert counted() == before + 30


def test_one_trace_from_request_through_queue_to_engine(observed: Observed) -> None:
    def mine() -> dict[str, Any]:
        about = "tumorsite.prediction_id"
        found = {span.name: span for span in observed.receiver.spans() if span.trace == TRACE}
        return {
            name: span
            for name, span in found.items()
            if span.attributes.get(about, observed.id) == observed.id
        }

    wanted = {"POST /scans/", "queue wait", "pass", "engine"}
    wait_until(lambda: wanted <= set(mine()), seconds=20, what="the spans", pause=0.3)
    spans = mine()
    web, wait, whole, engine = (
        spans[name] for name in ("POST /scans/", "queue wait", "pass", "engine")
    )
    assert web.service == "tumorsite-web"
    assert {wait.service, whole.service, engine.service} == {"tumorsite-inference"}
    uploads = {span.id for span in observed.receiver.spans() if span.name == "POST /scans/"}
    assert {wait.parent, whole.parent, engine.parent} <= uploads
    assert web.start <= wait.start <= wait.end <= engine.start <= engine.end <= whole.end
    assert web.attributes["tumorsite.request_id"] == REQUEST
    assert web.attributes["http.route"] == "/scans/"


def test_errors_of_web_and_task_are_reported(observed: Observed) -> None:
    """A table is taken away for a moment, as a migration gone wrong would."""
    site, visitor = observed.site, observed.visitor
    with site.database() as database:
        database.execute("ALTER TABLE predictions_prediction RENAME TO gone")
        try:
            answer = visitor.get(f"/results/{observed.id}/?name={TYPED}", Accept="text/html")
            assert answer.status == 503

            def reported() -> set[str]:
                return {
                    event["tags"].get("part", "")
                    for event in observed.receiver.events()
                    if "exception" in event
                }

            wait_until(lambda: {"web", "general"} <= reported(), seconds=30, what="reports")
        finally:
            database.execute("ALTER TABLE gone RENAME TO predictions_prediction")
    events = [event for event in observed.receiver.events() if "exception" in event]
    [web] = [
        event
        for event in events
        if event["tags"]["part"] == "web" and event["tags"].get("request_id") == REQUEST
    ]
    assert web["exception"]["values"][-1]["type"] == "OperationalError"
    frames = web["exception"]["values"][-1]["stacktrace"]["frames"]
    assert any(frame["module"] == "predictions.views.results" for frame in frames)
    task = next(event for event in events if event["tags"]["part"] == "general")
    assert task["tags"]["task"] == "predictions.tasks.sweep"
    for event in events:
        assert not {"request", "user", "extra", "contexts", "breadcrumbs", "server_name"} & set(
            event
        )
        assert all(
            set(error) <= {"type", "module", "stacktrace"} for error in event["exception"]["values"]
        )
        assert all(
            "vars" not in frame
            for error in event["exception"]["values"]
            for frame in error["stacktrace"]["frames"]
        )


def test_a_probe_knows_a_loaded_worker_from_a_hung_one(observed: Observed) -> None:
    site = observed.site
    assert observed.probe("worker", "ready") == (0, "")
    assert observed.probe("worker", "live") == (0, "")
    assert observed.probe("beat", "live") == (0, "")
    # It waits no longer than a second, which a busy machine may need more than once.
    wait_until(lambda: observed.probe("web", "ready") == (0, ""), seconds=20, what="web", pause=0.5)
    child = site.child()
    child.suspend()
    try:
        limit = ("--limit", "9", "--node", "inference@test")
        wait_until(
            lambda: observed.probe("worker", "live", *limit)[0] == 1,
            seconds=30,
            what="the probe to see it",
            pause=0.5,
        )
        assert "last sign of life" in observed.probe("worker", "live", *limit)[1]
        assert observed.probe("worker", "ready", *limit)[0] == 1
    finally:
        child.resume()
    wait_until(
        lambda: observed.probe("worker", "live", "--limit", "15")[0] == 0,
        seconds=30,
        what="it to be well again",
        pause=0.5,
    )

    # A new one is live but not ready until its network is loaded.
    site.worker.kill()
    assert observed.probe("worker", "ready", "--node", "inference@test")[0] == 1
    site.worker.start()

    def seen() -> bool:
        return observed.probe("worker", "live", "--node", "inference@test")[0] == 0

    wait_until(seen, seconds=30, what="its first sign", pause=0.2)
    text = site.worker.text()
    ready, loaded = (
        observed.probe("worker", "ready", "--node", "inference@test")[0],
        site.worker.text().count("is loaded and warm"),
    )
    assert ready == 1 or loaded == 2, text[-2000:]
    wait_until(lambda: observed.probe("worker", "ready")[0] == 0, seconds=60, what="it", pause=0.5)
    assert site.worker.text().count("is loaded and warm") == 2


@pytest.mark.parametrize("part", ["logs", "metrics", "traces", "reports"])
def test_nobody_is_named(observed: Observed, part: str) -> None:
    """Last, when everything above has left its traces."""
    seen: dict[str, Callable[[], list[str]]] = {
        "logs": lambda: [one.text() for one in (*observed.site.parts, observed.site.valkey)],
        "metrics": lambda: [str(observed.metrics(name)) for name in ("web", "worker", "general")],
        "traces": lambda: [str(span) for span in observed.receiver.spans()],
        "reports": lambda: [
            body.decode(errors="replace") for body in observed.receiver.sent_to("/api/1/envelope/")
        ],
    }
    texts = seen[part]()
    assert any(texts)
    for text in texts:
        for name in (ADDRESS, EMAIL, "ovelace", TYPED, FILE):
            assert name not in text, text[max(0, text.find(name) - 300) :][:600]
    if part == "logs":
        with observed.site.database() as database:
            [row] = database.execute(
                "SELECT id FROM accounts_user WHERE email = ?", (EMAIL,)
            ).fetchall()
        assert not any(f"user {row['id']}" in text for text in texts)


def test_a_worker_whose_port_is_taken_does_not_start(observed: Observed, tmp_path: Path) -> None:
    second = observed.site.inference_worker("tumorsite", tmp_path / "second.log")
    assert second.env is not None
    second.env["METRICS_PORT"] = str(observed.ports["web"])
    second.start()
    try:
        wait_until(lambda: not second.alive(), seconds=60, what="its end")
        assert f"METRICS_PORT {observed.ports['web']} on 127.0.0.1 cannot be used" in second.text()
    finally:
        second.stop()
