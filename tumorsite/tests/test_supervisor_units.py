"""Single pieces of the supervisor: what is hard to bring about with the whole site running."""

from __future__ import annotations

import errno
import os
import pty
import socket
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from tests.support.processes import free_port, wait_until
from tumorsite.supervisor import StartError, broker, folder as folder_module, opening, parts
from tumorsite.supervisor.console import Console
from tumorsite.supervisor.core import Supervisor
from tumorsite.supervisor.folder import DataFolder
from tumorsite.supervisor.parts import Part
from tumorsite.supervisor.probe import HealthProbe


class _OneAnswer:
    """A server that gives each caller the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = self._socket.getsockname()[:2]
        self._answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            link, _ = self._socket.accept()
            with link:
                self.asked = link.recv(4096)
                link.sendall(self._answer)


def _asked(answer: bytes) -> HealthProbe:
    probe = HealthProbe(_OneAnswer(answer).address, "tumorsite.example")

    def answered() -> bool:
        probe.step()
        return probe.healthy or bool(probe.wrong)

    wait_until(answered, seconds=5, what="an answer")
    probe.close()
    return probe


def test_a_part_that_has_ended_starts_again_in_time_though_nobody_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Supervisor(Console(tmp_path / "log"), lock=-1, stop_seconds=1)
    started: list[Part] = []
    monkeypatch.setattr(supervisor, "start", started.append)
    # Other tests have children, too.
    monkeypatch.setattr(supervisor, "_reap", lambda: None)
    part = Part("quiet", lambda: None, start_again_at=time.monotonic() + 0.3)
    supervisor.parts = [part]
    begun = time.monotonic()
    while not started:
        supervisor.step(60)
    assert started == [part]
    assert 0.25 < time.monotonic() - begun < 30


def test_the_probe_understands_health() -> None:
    assert _asked(b'HTTP/1.0 200 OK\r\n\r\n{"parts": {"database": "ok"}}').healthy
    sick = _asked(b'HTTP/1.0 503 No\r\n\r\n{"parts": {"database": "ok", "worker": "is away"}}')
    assert (sick.healthy, sick.wrong) == (False, {"worker": "is away"})


@pytest.mark.parametrize(
    ("answer", "named"),
    [(b"HTTP/1.0 400 Bad\r\n\r\nwhat?", "400"), (b"", "nothing"), (b"HTTP/1.0", "nothing")],
)
def test_the_probe_bears_other_answers(answer: bytes, named: str) -> None:
    probe = _asked(answer)
    assert not probe.healthy
    assert probe.wrong == {"web": f"answers {named} instead of its health"}


def test_the_probe_bears_no_answer_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tumorsite.supervisor.probe.ANSWER_SECONDS", 0.1)
    nobody = HealthProbe(("127.0.0.1", free_port()), "localhost")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = HealthProbe(silent.getsockname()[:2], "localhost")
        for probe in (nobody, mute):
            began = time.monotonic()
            for _ in range(3):
                probe.step()
                time.sleep(0.1)
            assert time.monotonic() - began < 2
            assert not probe.healthy
            probe.close()


def test_a_part_that_crashes_often_waits_longer_until_it_has_settled() -> None:
    part = Part("web", print)
    assert [part.ended() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    part.was_ready, part.started_at = True, time.monotonic() - 2 * parts.SETTLED_SECONDS
    assert part.ended() == 1


def test_a_broker_is_started_unless_there_is_one() -> None:
    assert broker.is_given({"BROKER_URL": "redis://a"})
    assert broker.is_given({"BROKER_URL_FILE": "/run/secret"})
    assert not broker.is_given({"BROKER_URL": ""})
    one, other = broker.EmbeddedBroker(), broker.EmbeddedBroker()
    assert one.password != other.password
    assert one.port in broker.PORTS
    assert not one.answers()


def test_without_a_free_port_there_is_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(broker, "PORTS", [port] * 50)
        with pytest.raises(StartError, match="No free port"):
            broker.EmbeddedBroker()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "is full."),
        (errno.EDQUOT, "is full."),
        (errno.EACCES, "cannot be written: permission denied."),
        (errno.EROFS, "cannot be written: read-only file system."),
    ],
)
def test_why_the_data_folder_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(StartError) as caught:
        DataFolder(tmp_path).prepare()
    assert str(caught.value).endswith(said)
    assert str(tmp_path) in str(caught.value)


def test_a_disk_that_is_nearly_full_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "LEAST_FREE_BYTES", 2**62)
    with pytest.raises(StartError, match=r"is full: \d+ MB are free"):
        DataFolder(tmp_path).prepare()


def test_a_folder_in_which_one_may_not_write_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write everywhere, so its answer stands in for an ordinary user's.
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("logs"))
    with pytest.raises(StartError, match="cannot be written: permission denied"):
        DataFolder(tmp_path).prepare()


def test_one_lock_and_what_it_outlives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = DataFolder(tmp_path), DataFolder(tmp_path)
    first.prepare()
    first.take()
    with pytest.raises(StartError, match=f"already runs .*process {os.getpid()}"):
        second.take()
    # Its holder is dead, but its watchdog still has the lock for a moment.
    os.ftruncate(first.lock, 0)
    threading.Timer(0.3, partial(os.close, first.lock)).start()
    second.take()
    os.close(second.lock)


def test_the_broker_is_announced_to_its_owner_alone(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.prepare()
    folder.announce_broker("redis://one")
    folder.announce_broker("redis://two")
    announced = tmp_path / "run" / "broker-url"
    assert announced.read_text() == "redis://two"
    assert announced.stat().st_mode & 0o777 == 0o600
    folder.withdraw_broker()
    folder.withdraw_broker()
    assert not announced.exists()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "is not open to this user"),
        (errno.EADDRNOTAVAIL, "HOST h is no address"),
        (errno.ENOBUFS, "Port 80 on h cannot be used: No buffer space"),
    ],
)
def test_why_a_port_cannot_be_had(number: int, said: str) -> None:
    assert said in opening._why_not(OSError(number, os.strerror(number)), "h", 80)


@pytest.mark.parametrize(
    ("host", "site_url", "address"),
    [
        ("127.0.0.1", "", "http://localhost:8000"),
        ("0.0.0.0", "", "http://localhost:8000"),  # noqa: S104  # a setting, not a socket
        ("::", "", "http://localhost:8000"),
        ("192.0.2.7", "", "http://192.0.2.7:8000"),
        ("2001:db8::7", "", "http://[2001:db8::7]:8000"),
        ("::1", "https://tumorsite.example/", "https://tumorsite.example"),
    ],
)
def test_the_address_a_person_types(host: str, site_url: str, address: str) -> None:
    from tumorsite.settings.env import Values

    values = Values(HOST=host, PORT=8000, SITE_URL=site_url, ALLOWED_HOSTS=["localhost"])
    assert opening.address_of(values) == address


def test_the_address_is_one_that_the_site_answers_to() -> None:
    from tumorsite.settings.env import Values

    values = Values(HOST="127.0.0.1", PORT=8000, SITE_URL="", ALLOWED_HOSTS=["127.0.0.1"])
    assert opening.address_of(values) == "http://127.0.0.1:8000"


def test_a_terminal_gets_colours_and_one_that_is_stopped_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, terminal = pty.openpty()
    kept = os.dup(1)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    console = Console(tmp_path / "log")
    try:
        os.dup2(terminal, 1)
        console.say("hello", part="inference-1")
        seen = os.read(ours, 1000).decode()
        assert "\x1b[34minference-1 |\x1b[0m hello" in seen
        # Nobody reads: what does not fit is dropped, and the log file has it all.
        began = time.monotonic()
        for number in range(12):
            console.say(f"{number} " + "x" * 4000)
        assert time.monotonic() - began < 8
    finally:
        os.dup2(kept, 1)
        for descriptor in (kept, ours, terminal):
            os.close(descriptor)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[0] == "inference-1 | hello"
    assert len(lines) == 13
    console.close()


def test_a_log_that_cannot_be_written_does_not_stop_the_site(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    console = Console(tmp_path / "log")
    (tmp_path / "full").symlink_to("/dev/full")
    console._file.close()
    console._file.baseFilename = str(tmp_path / "full")
    console._file.maxBytes = 0
    console.say("still heard")
    assert "still heard" in capfd.readouterr().out
