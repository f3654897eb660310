"""The pages of training runs in a real browser: live, readable by everyone, on a phone as well."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from predictions.ids import uuid7
from tests.browser import acts
from tests.browser.conftest import Visit
from tests.browser.test_accessibility import sideways
from tests.support.browser import accessibility_faults
from tests.support.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

DRIFT = [
    {
        "name": "Certainty", "reference": {"stands by its answer": 0.9, "does not": 0.1},
        "recent": {"stands by its answer": 0.5, "does not": 0.5},
        "statistic": 40.0, "bound": 16.0, "score": 2.6,
    }
]  # fmt: skip


@pytest.fixture
def run(site: Site) -> Iterator[str]:
    """A run that is under way, and drift; both gone afterwards."""
    pk, now = uuid7(), datetime.now(UTC).isoformat(" ")
    history = json.dumps([{"epoch": 1.0, "classes": 0.75, "mask": 0.5, "brain": 0.25}])
    with site.database() as database:
        _insert(
            database,
            "training_trainingrun",
            id=pk.hex, recipe="tiny-1", recipe_text="", status="running", attempt=1,
            claimed_by="", queued_at=now, started_at=now, heartbeat_at=now, share=0.25,
            progress="epoch 2/4", seconds_left=600, history=history, metrics="{}", digest="",
            curves="<svg xmlns='http://www.w3.org/2000/svg' width='300' height='100'/>",
            message="",
        )  # fmt: skip
        [version] = database.execute(
            "SELECT id FROM predictions_modelversion WHERE stage = 'production'"
        ).fetchone()
        _insert(
            database, "predictions_driftrecord",
            model_version_id=version, at=now, n=80, score=2.6, parts=json.dumps(DRIFT), alarm=True,
        )  # fmt: skip
    yield str(pk)
    with site.database() as database:
        database.execute("DELETE FROM training_trainingrun")
        database.execute("DELETE FROM predictions_driftrecord")


def _insert(database: sqlite3.Connection, table: str, **values: object) -> None:
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608  # our own names
    database.execute(statement, list(values.values()))


def test_it_follows_the_run_without_a_reload(visit: Visit, site: Site, run: str) -> None:
    page = visit(color_scheme="dark")
    assert page.goto("/training/").status == 404  # type: ignore[union-attr]  # it answers
    acts.sign_in(page, site)
    found: list[str] = []
    for path in ("/training/", f"/training/{run}/"):
        page.goto(path)
        found += accessibility_faults(page)
    expect(page.get_by_text("about 10 minutes left")).to_be_visible()
    page.evaluate("document.body.dataset.same = 'page'")
    with site.database() as database:
        database.execute(
            "UPDATE training_trainingrun SET share = 0.5, status = 'failed', seconds_left = NULL, "
            "message = 'The disk is full.' WHERE id = ?",
            (run.replace("-", ""),),
        )
    expect(page.get_by_text("The disk is full.")).to_be_visible()
    expect(page.locator("progress")).to_have_attribute("value", "50")
    expect(page.get_by_role("status").filter(has_text="Failed")).to_have_count(1)
    assert page.evaluate("document.body.dataset.same") == "page"
    page.set_viewport_size({"width": 320, "height": 640})
    for path in ("/training/", f"/training/{run}/"):
        page.goto(path)
        found += sideways(page) + accessibility_faults(page)
    assert found == []


def test_without_scripts_a_link_looks_again(visit: Visit, site: Site, run: str) -> None:
    page = visit(java_script_enabled=False)
    acts.sign_in(page, site)
    page.goto(f"/training/{run}/")
    with site.database() as database:
        database.execute("UPDATE training_trainingrun SET share = 0.75")
    page.get_by_role("link", name="Look again").click()
    expect(page.get_by_text("75%, about")).to_be_visible()
