"""How well the label can be predicted without looking at the brain.

A small classifier sees only the size, aspect, borders and histogram of each picture, once of the
original and once of what `mltasks.preprocessing` gives the network. It is tested on groups it has
not seen. What it scores above chance, a network can score without having learnt any anatomy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltasks.classes import NO_TUMOR
from mltasks.data import DataError
from mltasks.datasets.form import Progress, no_progress
from mltasks.evaluation import bootstrap
from mltasks.preprocessing import Pixels, find_head, letterbox, place

Array = NDArray[Any]
_BINS = 16
# Strips along the borders, as a share of each side.
_STRIP = 0.04
_SIZE = 128
# Columns of each kind of cue.
CUES: dict[str, slice] = {
    "size": slice(0, 2),
    "aspect": slice(2, 3),
    "border": slice(3, 12),
    "histogram": slice(12, 12 + _BINS),
    "all": slice(0, 12 + _BINS),
}
COLUMNS = 12 + _BINS
_FOLDS, _TREES, _LEAF = 5, 80, 3
_RESAMPLES = 300
_FEWEST = 2 * _FOLDS


def cues(grey: Pixels) -> Array:
    """float32 (28,): width, height, aspect, borders (mean and spread of the four strips, dark
    share), histogram of a uint8 picture."""
    height, width = grey.shape
    down, right = max(1, round(_STRIP * height)), max(1, round(_STRIP * width))
    strips = grey[:down], grey[-down:], grey[:, :right], grey[:, -right:]
    borders = [value for strip in strips for value in (strip.mean(), strip.std())]
    counts = np.bincount(grey.ravel() >> 4, minlength=_BINS)
    dark = float((grey < 10).mean())
    histogram = counts / grey.size
    return np.array([width, height, width / height, *borders, dark, *histogram], np.float32)


def framed_cues(grey: Pixels) -> Array:
    """As `cues`, of what the network sees: the head's frame in a black square.

    The aspect is that of the frame.
    """
    height, width = grey.shape
    geometry = place(width, height, find_head(grey), _SIZE)
    found = cues(letterbox(grey, geometry))
    left, top, right, bottom = geometry.content
    found[2] = (right - left) / (bottom - top)
    return found


def _forest() -> Callable[[], Any]:
    try:
        from sklearn.ensemble import ExtraTreesClassifier
    except ImportError as error:
        raise DataError(
            "the search for shortcuts needs scikit-learn: pip install -r requirements/train.txt"
        ) from error
    return lambda: ExtraTreesClassifier(
        n_estimators=_TREES,
        min_samples_leaf=_LEAF,
        class_weight="balanced",
        random_state=0,
        n_jobs=1,
    )


def measure(
    before: Array,
    after: Array,
    labels: Sequence[str],
    groups: Sequence[int],
    *,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Balanced accuracy and areas under the curves, by question, stage and cue.

    Args:
        before, after: float32 (n, 28), of the pictures as they are and as the network sees them.
        labels: n labels.
        groups: n group numbers; a group is never split between training and test.

    Returns:
        By question ("class", "tumour or none"): the chance level, and by stage and cue the figures
        with 95% intervals; or why this data cannot answer the question.
    """
    names, group = np.asarray(labels), np.asarray(groups)
    questions = {
        "class": (names, ~np.isin(names, ["tumor"])),
        "tumour or none": (
            np.where(names == NO_TUMOR, NO_TUMOR, "tumour"),
            np.ones(len(names), bool),
        ),
    }
    stages = {"as it is": before, "as the network sees it": after}
    found: dict[str, Any] = {}
    with progress("shortcuts", len(questions) * len(stages) * len(CUES)) as tick:
        for question, (target, usable) in questions.items():
            reason = _unusable(target[usable], group[usable])
            if reason:
                found[question] = {"not_measured": reason}
                continue
            classes = np.unique(target[usable])
            found[question] = {"n": int(usable.sum()), "chance": round(1 / len(classes), 4)}
            for stage, values in stages.items():
                found[question][stage] = {}
                for cue, columns in CUES.items():
                    found[question][stage][cue] = _score(
                        values[usable][:, columns], target[usable], group[usable]
                    )
                    tick(1)
    return found


def _unusable(target: Array, group: Array) -> str:
    """Why the data cannot answer the question; empty if it can."""
    classes = np.unique(target)
    if len(classes) < 2:
        return "all images have the same label"
    for name in classes:
        if len(np.unique(group[target == name])) < _FEWEST:
            return f"{name} has fewer than {_FEWEST} groups"
    return ""


def _score(values: Array, target: Array, group: Array) -> dict[str, Any]:
    from sklearn.model_selection import StratifiedGroupKFold

    make = _forest()
    classes = np.unique(target)
    scores = np.zeros((len(target), len(classes)))
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0)
    for learnt, held_out in folds.split(values, target, group):
        model = make().fit(values[learnt], target[learnt])
        columns = np.searchsorted(classes, model.classes_)
        scores[np.ix_(held_out, columns)] = model.predict_proba(values[held_out])
    truth = np.searchsorted(classes, target)
    answer = scores.argmax(axis=1)
    stated = partial(bootstrap.with_interval, groups=group, resamples=_RESAMPLES)
    return {
        "balanced_accuracy": stated(_balanced(truth, answer)),
        "auc": {
            str(name): stated(bootstrap.area_under_roc(scores[:, i], truth == i))
            for i, name in enumerate(classes)
        },
    }


def _balanced(truth: Array, answer: Array) -> bootstrap.Metric:
    """Mean sensitivity over the classes."""
    shares = [bootstrap.proportion(answer == i, truth == i) for i in np.unique(truth)]

    def metric(weights: Array) -> Array:
        # A draw may lack a class.
        return np.nanmean([one(weights) for one in shares], axis=0)

    return metric
