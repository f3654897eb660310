"""Does the attention map depend on what the network has learnt? (Adebayo et al., 2018)

A map that stays the same when the weights are replaced by noise shows edges of the picture, not
what the network knows. The weights are randomised in steps from the head downwards, and each map
is compared with the original.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from mltasks.engines import Engine, open_engine
from mltasks.onnx_export import read_weights, replace_weights
from mltasks.preprocessing import Floats

# From the head downwards; each step includes the layers of the steps before.
_STEPS = (
    ("class head", r"attention/"),
    ("last layer", r"(attention|head)/"),
    ("last stages", r"(attention|head|block1[0-9])/?"),
    ("all layers", r"(attention|head|block\d+|stem)"),
)


def rank_correlation(one: Floats, two: Floats) -> Floats:
    """Spearman's correlation of each of n maps with another, (n,), of arrays (n, cells)."""
    from scipy.stats import spearmanr

    # Undefined for a constant map, which counts as uncorrelated.
    return np.nan_to_num([spearmanr(*pair).statistic for pair in zip(one, two, strict=True)])


def similarity(one: Floats, two: Floats) -> Floats:
    """Structural similarity (Wang et al., 2004) over whole maps scaled to 0–1, (n,)."""

    def scaled(maps: Floats) -> Floats:
        low, high = maps.min(axis=1, keepdims=True), maps.max(axis=1, keepdims=True)
        return np.asarray((maps - low) / np.maximum(high - low, 1e-9))

    a, b = scaled(one), scaled(two)
    mean_a, mean_b = a.mean(axis=1), b.mean(axis=1)
    covariance = (a * b).mean(axis=1) - mean_a * mean_b
    first, second = 0.01**2, 0.03**2
    return np.asarray(
        (2 * mean_a * mean_b + first)
        * (2 * covariance + second)
        / ((mean_a**2 + mean_b**2 + first) * (a.var(axis=1) + b.var(axis=1) + second))
    )


def _maps(engine: Engine, batch: Floats, best: Any) -> Floats:
    attention = engine.forward(batch).attention
    chosen = attention[np.arange(len(batch)), :, :, best]
    return np.asarray(chosen.reshape(len(batch), -1))


def measure(content: bytes, batch: Floats) -> dict[str, Any]:
    """How similar the maps are before and after the weights are randomised.

    Args:
        content: of model.onnx.
        batch: float32 (n, size, size, 1).

    Returns:
        For each step the mean rank correlation and structural similarity; near 0 is good.
    """
    rng = np.random.default_rng(0)
    engine = open_engine("onnx", content)
    best = engine.forward(batch).class_logits.argmax(axis=1)
    original = _maps(engine, batch, best)
    weights = read_weights(content)
    figures = []
    for name, pattern in _STEPS:
        # Each layer's values are shuffled: this keeps their spread, so that signals do not die out.
        noise = {
            key: rng.permutation(value.ravel()).reshape(value.shape)
            for key, value in weights.items()
            if re.match(pattern, key)
        }
        maps = _maps(open_engine("onnx", replace_weights(content, noise)), batch, best)
        figures.append(
            {
                "randomised": name,
                "rank_correlation": round(float(rank_correlation(original, maps).mean()), 4),
                "similarity": round(float(similarity(original, maps).mean()), 4),
            }
        )
    return {"n": len(batch), "steps": figures}
