"""The supervisor, with all its real parts: it starts them, watches them, and leaves none behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.support.http import Browser
from tests.support.processes import PATIENCE, wait_until
from tumorsite.tests.supervised import Supervised, survivors

PARTS = ("broker", "web", "inference-1", "general", "scheduler")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    """A site that has been started for the first time, in a folder whose name has spaces."""
    site = Supervised(tmp_path_factory.mktemp("a b c") / "my data")
    site.start_and_wait()
    yield site
    site.kill()


@pytest.fixture
def site(run: Supervised) -> Supervised:
    """The same data folder, with the site running: a second or later start."""
    if run.process.poll() is not None:
        run.start_and_wait()
    return run


@pytest.fixture
def refused(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts a site that must not start; returns all it said."""
    started: list[Supervised] = []

    def start(folder: Path | None = None, port: int | None = None, **settings: str) -> str:
        site = Supervised(folder or tmp_path / "data", **settings)
        site.port = port or site.port
        site.output = tmp_path / "output"
        started.append(site)
        assert site.start().wait(timeout=100 * PATIENCE) == 1, site.text()
        return site.text()

    yield start
    for site in started:
        site.kill()


def test_it_says_where_the_site_is_and_who_may_enter(site: Supervised) -> None:
    accounts = json.loads((site.folder / "accounts.json").read_text())
    text = site.text()
    for part in PARTS:
        assert f"{part} is ready" in text
    # By the name at which browsers allow passkeys.
    assert f"TumorSite is ready:  http://localhost:{site.port}\n" in text
    assert Browser(f"http://localhost:{site.port}").get("/").status == 200
    assert set(accounts) == {"demo user", "administrator"}
    for who in accounts.values():
        assert who["email"] in text
        assert len(who["password"]) >= 16
        assert who["password"] in text


def test_secrets_stay_out_of_the_log_and_out_of_other_peoples_sight(site: Supervised) -> None:
    log = (site.folder / "logs" / "tumorsite.log").read_text()
    accounts = json.loads((site.folder / "accounts.json").read_text())
    broker = (site.folder / "run" / "broker-url").read_text()
    password = broker.partition("redis://:")[2].partition("@")[0]
    commands = " ".join(" ".join(one.cmdline()) for one in site.family())
    assert password
    assert password not in log + commands
    assert not [who for who in accounts.values() if who["password"] in log + commands]
    for name in ("accounts.json", "secret-key", "run/broker-url", "db.sqlite3"):
        assert (site.folder / name).stat().st_mode & 0o077 == 0, name


def test_each_line_of_the_log_says_which_part_speaks(site: Supervised) -> None:
    names = {
        line.partition("|")[0].strip()
        for line in (site.folder / "logs" / "tumorsite.log").read_text().splitlines()
    }
    assert names <= {*PARTS, "prepare", "tumorsite"}
    # The scheduler speaks when something is wrong.
    assert {"web", "inference-1", "general", "tumorsite"} <= names


def test_it_listens_on_this_machine_only(site: Supervised) -> None:
    addresses = {
        link.laddr.ip
        for one in site.family()
        for link in one.net_connections("tcp")
        if link.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_a_second_supervisor_on_the_folder_is_refused(
    site: Supervised, refused: Callable[..., str]
) -> None:
    said = refused(folder=site.folder)
    assert "already runs with this data folder" in said
    assert str(site.process.pid) in said
    assert site.get("/health/").status == 200


def test_a_taken_port_is_named(site: Supervised, refused: Callable[..., str]) -> None:
    said = refused(port=site.port)
    assert said == (
        f"TumorSite cannot start: Port {site.port} on 127.0.0.1 is taken; choose another one, "
        f"for example PORT={site.port + 1}.\n"
    )


def test_health_names_the_part_that_is_away_and_the_part_comes_back(site: Supervised) -> None:
    def unwell(part: str) -> bool:
        answer = site.get("/health/")
        return answer.status == 503 and answer.json()["parts"][part] != "ok"

    def well() -> bool:
        return site.get("/health/").status == 200

    for part, title in (("worker", "inference@"), ("broker", "valkey-server")):
        wait_until(well, seconds=30, what="health before", pause=0.2)
        # Stopped, not dead: the supervisor must not notice, so that health alone does.
        victims = site.titled(title)
        for one in victims:
            one.suspend()
        wait_until(partial(unwell, part), seconds=15, what=f"{part} away", pause=0.2)
        assert site.get("/health/live/").status == 200
        for one in victims:
            one.resume()
        wait_until(well, seconds=30, what=f"{part} back", pause=0.2)


@pytest.mark.parametrize("title", ["valkey-server", "inference@", "gunicorn: master", "watchdog"])
def test_a_part_that_is_killed_is_started_again(site: Supervised, title: str) -> None:
    # Healthy before, as a part of an earlier test may just be coming back.
    wait_until(lambda: _healthy(site), seconds=40, what="health before", pause=0.3)
    victim = site.titled(title)[0]
    rest = victim.children(recursive=True)
    victim.kill()
    wait_until(lambda: not survivors([victim, *rest]), seconds=10, what="all of the part to end")
    wait_until(lambda: site.titled(title), seconds=20, what="another one")
    wait_until(lambda: _healthy(site), seconds=40, what="health", pause=0.3)
    assert site.process.poll() is None


def _healthy(site: Supervised) -> bool:
    try:
        return site.get("/health/").status == 200
    except OSError:
        return False


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL], ids=lambda n: n.name
)
def test_no_process_outlives_the_supervisor(site: Supervised, number: signal.Signals) -> None:
    family = site.family()
    assert len(family) >= 9
    began = time.monotonic()
    code = site.end(number)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    wait_until(lambda: not survivors(family), seconds=10, what=f"the end of {family}")
    assert time.monotonic() - began < 12 * PATIENCE
    assert site.database_is_sound()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", site.port))
    if number != signal.SIGKILL:
        assert not (site.folder / "run" / "broker-url").exists()
    assert site.text().count("Traceback") == 0


# Python looks for this module as it starts, and forks inherit its hook. What a process asks of the
# network, or of pip, is written down and refused.
OFFLINE = """
import os
import sys

LOG = {log!r}
HERE = ("127.", "::1", "localhost")
watched = set()


def note(line):
    with open(LOG, "a") as log:
        log.write(line + "\\n")


def refuse(event, arguments):
    if os.getpid() not in watched:
        watched.add(os.getpid())
        note(f"watched: {{os.getpid()}}")
    if event in ("socket.connect", "socket.sendto"):
        asked = arguments[1][0] if isinstance(arguments[1], tuple) else "127."
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        asked = arguments[0] or "127."
    elif event in ("subprocess.Popen", "os.exec", "os.posix_spawn"):
        words = [str(word) for word in arguments[1]]
        asked = " ".join(words) if any("pip" in word for word in words) else "127."
    else:
        return
    asked = asked.decode() if isinstance(asked, bytes) else asked
    if not asked.startswith(HERE):
        note(f"{{event}}: {{asked}}")
        raise OSError(101, "no network in this test")


sys.addaudithook(refuse)
"""


def test_a_later_start_asks_neither_the_network_nor_pip_for_anything(
    run: Supervised, tmp_path: Path
) -> None:
    """Of what Python does; `make` is tested with what it calls."""
    if run.process.poll() is None:
        run.end(signal.SIGTERM)
    log = tmp_path / "log"
    (tmp_path / "sitecustomize.py").write_text(OFFLINE.format(log=str(log)))
    before = dict(run.settings)
    run.settings["PYTHONPATH"] = str(tmp_path)
    try:
        run.start_and_wait()
        wait_until(lambda: _healthy(run), seconds=40, what="health", pause=0.3)
        assert run.get("/").status == 200
        family = {f"watched: {one.pid}" for one in run.family() if "valkey" not in one.name()}
        run.end(signal.SIGTERM)
    finally:
        run.settings = before
    said = log.read_text().splitlines()
    assert len(family) >= len(PARTS)
    assert family <= set(said)
    assert [line for line in said if not line.startswith("watched: ")] == []


def test_a_later_start_does_not_repeat_what_is_done(run: Supervised) -> None:
    if run.process.poll() is None:
        run.end(signal.SIGTERM)
    before = (run.folder / "accounts.json").read_text()
    run.start_and_wait()
    assert (run.folder / "accounts.json").read_text() == before
    for step in ("database migrated", "static files collected", "pages made", "account of"):
        assert step not in run.text()


def test_under_nohup_the_end_of_the_session_is_not_its_own(tmp_path: Path) -> None:
    site = Supervised(tmp_path / "data")
    site.start(nohup=True)
    wait_until(lambda: "broker is ready" in site.text(), seconds=60, what="the broker")
    site.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "database migrated" in site.text(), seconds=60, what="the database")
    assert site.end(signal.SIGTERM) == 0


def test_told_to_stop_while_it_starts(tmp_path: Path) -> None:
    site = Supervised(tmp_path / "data")
    site.start()
    wait_until(lambda: "broker is ready" in site.text(), seconds=60, what="the broker")
    family = site.family()
    assert site.end(signal.SIGTERM) == 0
    assert not survivors(family)
    assert "everything has ended" in site.text()


def test_a_wrong_model_is_named(
    run: Supervised, refused: Callable[..., str], tmp_path: Path
) -> None:
    if run.process.poll() is None:
        run.end(signal.SIGTERM)
    said = refused(folder=run.folder, MODEL_DIR=str(tmp_path / "nothing"))
    last = said.splitlines()[-1]
    assert last.startswith("TumorSite cannot start: ")
    assert str(tmp_path / "nothing") in last
    assert "Traceback" not in said


def test_a_database_that_is_away_is_named(refused: Callable[..., str]) -> None:
    said = refused(DATABASE_URL="postgres://nobody:secret@127.0.0.1:9/none")
    assert (
        "TumorSite cannot start: The database of DATABASE_URL cannot be used"
        in said.splitlines()[-1]
    )
    assert "Traceback" not in said
    assert "secret" not in said


def test_a_broker_that_is_away_is_named(refused: Callable[..., str]) -> None:
    said = refused(BROKER_URL="redis://:secret@127.0.0.1:9/0")
    assert (
        "TumorSite cannot start: The server of BROKER_URL cannot be used" in said.splitlines()[-1]
    )
    assert "Traceback" not in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"WEB_WORKERS": "none"}, "WEB_WORKERS must be a whole number"),
        ({"HOST": "203.0.113.7"}, "HOST 203.0.113.7 is no address of this machine"),
        ({"DATA_DIR": "/proc/tumorsite"}, "DATA_DIR"),
        ({"BROKER_URL_FILE": os.devnull}, "BROKER_URL_FILE names an empty file"),
    ],
)
def test_what_cannot_work_is_one_sentence(
    refused: Callable[..., str], settings: dict[str, str], named: str
) -> None:
    said = refused(**settings)
    assert len(said.splitlines()) == 1
    assert named in said
