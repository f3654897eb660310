"""The last touch of the "is it a brain MRI" head: a logistic regression on the final features.

While the network learns, the head sees few other pictures a batch. Once the features stand,
fitting the head alone to all of them takes a minute and errs far less.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltasks.augmentation import draw_training_pair
from mltasks.batching import batched
from mltasks.data import Sample
from mltasks.lazy import keras_module
from mltasks.network import NetworkConfig, build_network, fold, set_weights
from mltasks.preprocessing import Pixels, normalise, preprocess

Array = NDArray[np.float64]
_STEPS, _PENALTY = 25, 3.0
# How often each other picture is shown, changed at random each time, beside once unchanged.
_REPEATS = 2
_BATCH = 32


def fit_logistic(features: Array, positive: NDArray[np.bool_]) -> tuple[Array, float]:
    """Ridge-penalised logistic regression by Newton's method, both classes of equal weight.

    Args:
        features: (n, d).
        positive: (n,).

    Returns:
        Weights (d,) and bias for the features as given.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    design = np.hstack([(features - mean) / scale, np.ones((len(features), 1))])
    weight = np.where(positive, 0.5 / positive.mean(), 0.5 / (1 - positive.mean()))
    penalty = np.full(design.shape[1], _PENALTY)
    penalty[-1] = 0
    solution = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        probability = 0.5 * (1 + np.tanh(0.5 * (design @ solution)))
        gradient = design.T @ (weight * (probability - positive)) + penalty * solution
        curvature = weight * np.maximum(probability * (1 - probability), 1e-6)
        hessian = (design * curvature[:, None]).T @ design + np.diag(penalty + 1e-9)
        step = np.linalg.solve(hessian, gradient)
        solution -= step
        if np.abs(step).max() < 1e-4:
            break
    weights = solution[:-1] / scale
    return weights, float(solution[-1] - weights @ mean)


def refit(
    config: NetworkConfig,
    weights: dict[str, Any],
    samples: Sequence[Sample],
    others: Sequence[Pixels],
    *,
    seed: int,
) -> dict[str, Any]:
    """Weights of the training form with a new brain head.

    Args:
        config: the network's measures.
        weights: of the training form, by name.
        samples: training slices; each is shown once, changed at random.
        others: pictures that are no brain MRI.
        seed: of the changes.
    """
    model = build_network(config, folded=True)
    set_weights(model, fold(weights))
    pooled = keras_module().Model(model.input, model.get_layer("pooled").output)
    rng = np.random.default_rng(seed)

    def inputs() -> Any:
        for sample in samples:
            yield normalise(draw_training_pair(sample.pixels, None, config.size, rng)[0])
        for pixels in others:
            yield preprocess(pixels, config.size)[0]
            for _ in range(_REPEATS):
                yield normalise(draw_training_pair(pixels, None, config.size, rng)[0])

    rows = [pooled.predict_on_batch(np.stack(some)) for some in batched(inputs(), _BATCH)]
    features = np.concatenate(rows).astype(np.float64)
    kernel, bias = fit_logistic(features, np.arange(len(features)) < len(samples))
    return {
        **weights,
        "brain/kernel": kernel[:, None].astype(np.float32),
        "brain/bias": np.array([bias], np.float32),
    }
