"""Releases on the running site: nobody waits for long, nothing is lost, nothing half is seen."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from mltasks.tests.conftest import write_data
from tests.faults.test_faults import ANSWERED
from tests.support.http import Browser
from tests.support.networks import fitted, mixed_up, onnx_bytes, write_network
from tests.support.pictures import mri_png
from tests.support.processes import wait_until
from tests.support.registry import Registry
from tests.support.site import Site

# The network to be released, and one that is worse.
NEW, WORSE = "30", "31"

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240, func_only=True)]


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn slices that the site's own network has never seen the like of."""
    return write_data(tmp_path_factory.mktemp("slices") / "data", 44)


class Visitors(threading.Thread):
    """People who go on uploading while networks come and go."""

    def __init__(self, site: Site) -> None:
        super().__init__(daemon=True)
        self.browser = Browser(site.url)
        self.ids: list[str] = []
        self.fault: Exception | None = None
        self._ended = threading.Event()

    def run(self) -> None:
        seed = 0
        while not self._ended.is_set():
            try:
                self.ids += self.browser.submit(mri_png(seed=seed), mri_png(seed=seed + 1))
            except Exception as error:
                self.fault = error
                return
            seed = (seed + 2) % 90
            self._ended.wait(0.1)

    def leave(self) -> list[str]:
        self._ended.set()
        self.join(60)
        assert self.fault is None
        return self.ids


def test_from_folder_to_production_and_back_while_people_upload(
    site: Site, registry: Registry, slices: Path, tmp_path: Path
) -> None:
    first = registry.in_production()
    weights = fitted(slices)
    new = write_network(tmp_path / "new", onnx_bytes(weights), version=NEW)
    registered, refused, compared = registry.ask(
        ("register", new), ("promote", NEW), ("compare", NEW, "--data", slices, "--fold", "1")
    )
    assert f"Registered: tumorsite {NEW}" in registered[1]
    assert not refused[0]
    assert "has not been compared" in refused[1]
    assert "\nPASSED" in compared[1]

    visitors = Visitors(site)
    visitors.start()
    wait_until(lambda: len(visitors.ids) > 6, seconds=30, what="visitors")
    registry.do("promote", NEW)
    wait_until(
        lambda: NEW in registry.answered_by(visitors.ids), seconds=60, what="the new network"
    )
    wait_until(lambda: registry.answered_by(visitors.ids)[-1] == NEW, seconds=30, what="it to stay")
    ids = visitors.leave()
    site.wait_for(ids)
    rows, answered = site.predictions(), registry.answered_by(ids)
    assert {rows[pk]["status"] for pk in ids} <= ANSWERED
    # One attempt each: nothing was dropped, and nothing was done twice.
    assert {rows[pk]["attempt"] for pk in ids} == {1}
    assert (answered[0], answered[-1]) == (first, NEW)
    assert site.recorded() <= site.objects()

    # A new record for the new network; the old one stays as it was.
    before = rows[ids[0]]
    visitors.browser.post(f"/results/{ids[0]}/again/")
    with site.database() as database:
        [again] = database.execute(
            "SELECT id FROM predictions_prediction WHERE scan_id = ? AND id != ?",
            (before["scan_id"], before["id"]),
        ).fetchall()
    again_id = next(pk for pk in site.predictions() if pk.replace("-", "") == again["id"])
    site.wait_for([again_id])
    assert registry.answered_by([again_id]) == [NEW]
    assert site.predictions()[ids[0]] == before
    page = visitors.browser.get(f"/results/{again_id}/", Accept="text/html").text
    assert f"What changed since tumorsite {first}" in page

    # A worse one does not get in.
    worse = write_network(tmp_path / "worse", onnx_bytes(mixed_up(weights)), version=WORSE)
    _, compared, refused = registry.ask(
        ("register", worse), ("compare", WORSE, "--data", slices, "--fold", "1"), ("promote", WORSE)
    )
    assert "\nREFUSED" in compared[1]
    assert not refused[0]
    assert "The sensitivity for glioma may be worse" in refused[1]
    assert registry.answering() == NEW

    registry.do("rollback")
    wait_until(lambda: registry.answering() == first, seconds=60, what="the network before")


def test_a_worker_whose_network_has_a_flipped_bit_does_not_start(site: Site) -> None:
    copy = site.folder / "models" / Registry(site).artifact() / "model.onnx"
    content = copy.read_bytes()
    site.worker.kill()
    try:
        copy.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        written = len(site.worker.text())
        site.worker.start()
        wait_until(lambda: not site.worker.alive(), seconds=60, what="the worker to refuse")
        said = site.worker.text()[written:]
        assert f"The inference worker cannot start: {copy} is damaged" in said
        assert f"remove the folder {copy.parent}" in said
        site.worker.kill()
        # As the message says.
        shutil.rmtree(copy.parent)
        site.worker.start()
        ids = Browser(site.url).submit(mri_png(seed=3))
        site.wait_for(ids)
        assert copy.read_bytes() == content
    finally:
        # Whatever went wrong, the next worker fetches it anew.
        if not copy.is_file() or copy.read_bytes() != content:
            shutil.rmtree(copy.parent, ignore_errors=True)


def test_an_end_between_any_two_writes_of_a_registration(site: Site, tmp_path: Path) -> None:
    ended_early = int(site.run("tests.support.interrupted", "register", str(tmp_path)))
    # Four objects, two rows, a commit.
    assert ended_early >= 6
    objects = site.folder / "objects"
    with site.database() as database:
        rows = database.execute("SELECT version, artifact FROM predictions_modelversion").fetchall()
    cut = [row["version"] for row in rows if row["version"].startswith("cut-")]
    assert cut == [f"cut-{ended_early + 1}"], "only the one that reached its end is known"
    left = {folder.name for folder in (objects / "models").iterdir()}
    recorded = {row["artifact"] for row in rows}
    assert left > recorded, "the others have left something"
    for artifact in recorded:
        checked = subprocess.run(
            ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=objects / "models" / artifact
        )
        assert checked.returncode == 0
    found = json.loads(site.run("tests.support.clean_up"))
    assert found["lost"] == 0
    assert {folder.name for folder in (objects / "models").iterdir()} == recorded
