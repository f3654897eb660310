"""Ids sort by time and never repeat."""

import time

import pytest

from predictions.ids import uuid7


def test_they_are_version_7_of_the_rfc() -> None:
    made = uuid7()
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"


def test_they_hold_the_time_and_sort_by_it() -> None:
    before = time.time_ns() // 1_000_000
    first = uuid7()
    time.sleep(0.002)
    second = uuid7()
    after = time.time_ns() // 1_000_000
    assert before <= first.int >> 80 < second.int >> 80 <= after
    assert first < second
    assert str(first) < str(second)


def test_those_of_one_millisecond_sort_by_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.time_ns() // 1_000_000 * 1_000_000
    moments = [start + microsecond * 1000 for microsecond in range(1000)]
    monkeypatch.setattr(time, "time_ns", iter(moments).__next__)
    made = [uuid7() for _ in moments]
    assert made == sorted(made)
    assert {own.int >> 80 for own in made} == {start // 1_000_000}
    assert {own.version for own in made} == {7}


def test_many_of_one_moment_are_all_different() -> None:
    made = {uuid7() for _ in range(50_000)}
    assert len(made) == 50_000
