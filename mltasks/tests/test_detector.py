"""The logistic regression of the detector's head."""

from __future__ import annotations

import numpy as np
import pytest

from mltasks.detector import fit_logistic


def test_separable_classes_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    positive = np.arange(300) < 200
    features = rng.normal(5, 1, (300, 12))
    features[positive, 3] += 12
    weights, bias = fit_logistic(features, positive)
    np.testing.assert_array_equal(features @ weights + bias > 0, positive)
    assert np.argmax(np.abs(weights)) == 3


def test_a_feature_that_never_changes_does_no_harm() -> None:
    rng = np.random.default_rng(1)
    positive = np.arange(100) < 50
    features = np.hstack([rng.normal(0, 1, (100, 2)), np.full((100, 1), 7.0)])
    weights, bias = fit_logistic(features, positive)
    assert np.isfinite(weights).all()
    assert np.isfinite(bias)


def test_classes_weigh_the_same() -> None:
    positive = np.arange(1000) < 900
    features = np.zeros((1000, 1))
    _, bias = fit_logistic(features, positive)
    assert 0.5 * (1 + np.tanh(0.5 * bias)) == pytest.approx(0.5, abs=0.01)
