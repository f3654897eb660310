"""The page says what the command says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulation import report
from simulation.constants import Constants
from simulation.limits import parts
from simulation.plan import SCALES, SEEDS, digest, figures, run_day, scenario, spread


@pytest.fixture(scope="module")
def plan() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report.RESULT.read_text(encoding="utf-8"))
    return found


def test_the_page_shows_the_result_of_these_constants(plan: dict[str, Any]) -> None:
    assert plan["constants"] == digest(), "constants have changed: make simulate"
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.within_page(page) == report.markdown(plan, Constants()), "make simulate"


def test_the_simulation_gives_that_result_again(plan: dict[str, Any]) -> None:
    constants = Constants()
    for name in ("cpu", "spot", "gpu"):
        assert plan["scenarios"]["1000"][name] == scenario(1_000, name, constants)
    kept = plan["scenarios"]["100000"]["cpu"]["figures"]
    days = [run_day(100_000, "cpu", seed, constants) for seed in range(1, SEEDS[100_000] + 1)]
    assert kept == spread([figures(*day) for day in days])


def test_each_step_names_what_breaks_first(plan: dict[str, Any]) -> None:
    for scans in SCALES:
        rows = plan["limits"][str(scans)]
        peak = plan["scenarios"][str(scans)]["cpu"]["figures"]["peak"][0]
        found = parts(scans, peak, Constants())
        assert [row["part"] for row in rows] == [part.name for part in found]
        assert [row["used"] for row in rows] == sorted((row["used"] for row in rows), reverse=True)
    assert plan["limits"]["1000"][0]["used"] < 1 < plan["limits"]["10000000"][0]["used"]


def test_pictures_cost_the_web_and_the_database() -> None:
    class Blind(Constants):
        thumbnails = 0
        pictures = 0

    scans, peak = 100_000, 4.0
    without = {part.name: part.need for part in parts(scans, peak, Blind())}
    found = {part.name: part.need for part in parts(scans, peak, Constants())}
    grown = {name for name, need in found.items() if need > without[name]}
    assert grown == {"web, 2 cores", "PostgreSQL, 2 cores", "one disk, after a month"}


def test_a_constant_without_a_source_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "constants.toml"
    file.write_text("[measured]\npass_seconds = { value = 1.0 }\n")
    with pytest.raises(ValueError, match=r"measured\.pass_seconds needs a value and a why"):
        Constants(file)
    with pytest.raises(AttributeError, match=r"constants\.toml has no pass_secands"):
        _ = Constants().pass_secands
