"""The script that tells how often intervals hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.coverage import coverage, effective


def test_groups_of_one_size_count_in_full() -> None:
    assert effective(np.full(20, 7)) == pytest.approx(20)
    assert effective(np.array([90, *[1] * 10])) < 1.5


def test_many_like_groups_hold_what_is_promised_and_five_do_not() -> None:
    assert coverage(np.repeat(np.arange(100), 5), (9.0, 1.0), sets=60) > 0.85
    assert coverage(np.repeat(np.arange(5), 50), (9.0, 1.0), sets=60) < 0.85
