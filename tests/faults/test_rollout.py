"""New processes take the place of old ones under load: no request fails, no job is lost."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.test_faults import ANSWERED, large
from tests.support.http import Answer, Browser
from tests.support.next_release.apps import WRITTEN
from tests.support.pictures import mri_png
from tests.support.processes import assert_ends, free_port, wait_until
from tests.support.site import ROOT, Site
from tests.support.switch import Switch

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240, func_only=True)]

# Longer than a web process had to end before this could be set.
SLOW_UPLOAD = 6.5
STOP_SECONDS = 15


class Visitors:
    """People who upload and read without a pause, and keep every answer that was not right."""

    def __init__(self, url: str) -> None:
        self.ids: list[str] = []
        self.faults: list[str] = []
        self.answers = 0
        self._url = url
        self._ended = threading.Event()
        jobs = (self._upload, self._upload, self._read)
        self._threads = [
            threading.Thread(target=self._go_on, args=(job, Browser(url)), daemon=True)
            for job in jobs
        ]
        for thread in self._threads:
            thread.start()

    def _go_on(self, job: Callable[[Browser, int], list[Answer]], browser: Browser) -> None:
        seed = 0
        while not self._ended.is_set():
            try:
                answers = job(browser, seed)
            except Exception as error:
                self.faults.append(repr(error))
                continue
            self.answers += len(answers)
            self.faults += [
                f"{one.status}: {one.text[:200]}" for one in answers if one.status > 299
            ]
            seed += 1
            self._ended.wait(0.1)

    def _upload(self, browser: Browser, seed: int) -> list[Answer]:
        answer = browser.upload([("slice.png", mri_png(seed=seed % 90))])
        if answer.status == 201:
            self.ids += [result["id"] for result in answer.json()["results"]]
        return [answer]

    def _read(self, browser: Browser, seed: int) -> list[Answer]:
        return [browser.get(path) for path in ("/", "/scans/", "/health/live/")]

    def more(self, count: int) -> None:
        """Wait until so many more uploads were taken."""
        wanted = len(self.ids) + count
        wait_until(lambda: len(self.ids) >= wanted, seconds=20, what=f"{count} uploads")

    def leave(self) -> list[str]:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)
        return self.ids


class SlowVisitor(threading.Thread):
    """Someone whose line takes several seconds for one picture."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.browser = Browser(url)
        self.browser.get("/")
        self.answer: Answer | None = None
        self.sent = threading.Event()

    def run(self) -> None:
        content = mri_png(seed=77)
        boundary = "slow"
        body = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n'
            "Content-Type: image/png\r\n\r\n"
        ).encode()
        body += content + f"\r\n--{boundary}--\r\n".encode()
        self.answer = self.browser.post(
            "/scans/",
            self._pieces(body),
            f"multipart/form-data; boundary={boundary}",
            **{"Content-Length": str(len(body))},
        )

    def _pieces(self, body: bytes) -> Iterator[bytes]:
        steps = 13
        size = len(body) // steps + 1
        for start in range(0, len(body), size):
            yield body[start : start + size]
            self.sent.set()
            time.sleep(SLOW_UPLOAD / steps)


@pytest.fixture
def old(prepared: Path, tmp_path: Path) -> Iterator[Site]:
    site = Site(prepared, tmp_path, STOP_SECONDS=str(STOP_SECONDS))
    try:
        site.start()
        yield site
    finally:
        site.stop()


def written_by(site: Site) -> dict[str, str | None]:
    """Which release has taken each upload, by its prediction."""
    with site.database() as database:
        rows = database.execute(
            "SELECT predictions_prediction.id, written_by FROM predictions_prediction "
            "JOIN predictions_scan ON predictions_scan.id = scan_id"
        ).fetchall()
    by_id = {row["id"]: row["written_by"] for row in rows}
    return {pk: by_id[pk.replace("-", "")] for pk in site.predictions()}


def test_a_new_release_takes_the_place_of_the_old_one_under_load(old: Site) -> None:
    port = free_port()
    settings = {"DJANGO_SETTINGS_MODULE": "tests.support.next_release.settings"}
    env = {**old.env, **settings, "PORT": str(port)}
    web, worker, general, beat = new = old.release("next", env)
    switch = Switch(old.port)
    visitors = Visitors(switch.url)
    try:
        visitors.more(4)

        # 1. The schema of the new release, under the old one's feet.
        migrated = subprocess.run(
            [sys.executable, ROOT / "manage.py", "migrate", "--verbosity", "0"],
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert migrated.returncode == 0, migrated.stderr[-2000:]
        with old.database() as database:
            columns = database.execute("PRAGMA table_info(predictions_scan)").fetchall()
        assert "written_by" in {column["name"] for column in columns}
        visitors.more(4)

        # 2. New processes beside the old ones, which answer until the new ones are ready.
        for part in (web, worker, general):
            part.start()
        wait_until(lambda: _lives(port), seconds=30, what="the new web")
        wait_until(lambda: "is loaded and warm" in worker.text(), seconds=30, what="the new worker")

        # 3. The old ones are told to end in the middle of an upload and with a queue before them.
        slow = SlowVisitor(switch.url)
        slow.start()
        assert slow.sent.wait(10)
        burst = Browser(switch.url).submit(*(large(seed) for seed in range(6)))
        switch.to(port)
        # Connections that the old web has been given but has not seen yet: the chart waits, too.
        time.sleep(0.5)
        for part in old.parts:
            part.terminate()
        assert_ends(old.beat, seconds=10)
        beat.start()
        assert_ends(old.worker, seconds=10)
        assert_ends(old.general, seconds=10)
        visitors.more(4)
        assert_ends(old.web, seconds=STOP_SECONDS)
        slow.join(60)
        assert slow.answer is not None, "the slow upload was broken off"
        assert slow.answer.status == 201, slow.answer.text[:500]
        late = [result["id"] for result in slow.answer.json()["results"]]

        ids = [*visitors.leave(), *burst, *late]
        old.wait_for(ids)
    finally:
        visitors.leave()
        switch.close()
        for part in new:
            part.kill()

    assert visitors.faults == [], _errors(old.web.text(), web.text())
    assert visitors.answers > len(visitors.ids)
    rows, release = old.predictions(), written_by(old)
    # Every upload that was confirmed is there, once, and nothing else is.
    assert sorted(rows) == sorted(ids)
    assert len({row["scan_id"] for row in rows.values()}) == len(ids)
    assert {row["status"] for row in rows.values()} <= ANSWERED
    # Each was taken up once: a worker that ends finishes what it holds and leaves the rest. Where
    # the machine stood still for seconds, store or database seemed away: that is counted apart.
    again = {pk: row for pk, row in rows.items() if row["attempt"] - row["outages"] != 1}
    assert again == {}
    assert old.recorded() == old.objects()
    # Both releases have written on the new schema, and the old web took the slow upload.
    assert {release[pk] for pk in visitors.ids} == {None, WRITTEN}
    assert {release[pk] for pk in late} == {None}


def _errors(*logs: str) -> str:
    """What the webs have said of a request that went wrong."""
    return "\n".join(log[log.find("Internal Server Error") :][:4000] for log in logs)


def _lives(port: int) -> bool:
    with suppress(OSError):
        return Browser(f"http://127.0.0.1:{port}").get("/health/live/").status == 200
    return False
