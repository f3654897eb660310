"""How sure an answer may be: calibrated probabilities, sets of labels, unlike pictures.

The parameters stand in the model's card, the reference features beside the weights; both are
fitted by `mltasks.fitting` on slices that the network has not learnt from.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltasks.classes import CLASSES
from mltasks.engines import ModelError, Outputs
from mltasks.postprocessing import sigmoid, softmax

Array = NDArray[Any]
REFERENCE_NAME = "reference.npz"
# What a card must state, by section.
_NUMBERS = {
    "temperature": ("base", "slope"),
    "distance": ("centre", "flag", "refuse"),
    "sets": CLASSES,
    "answer": ("commit", "flagged_cap"),
    "contours": ("inner", "outer"),
}


@dataclass(frozen=True, slots=True)
class Reference:
    """The subspace in which the features of the training slices lie.

    Features are scaled to unit length first, so that brightness and contrast of the upload
    hardly count. What lies outside the subspace is foreign to the training slices (the residual
    of Wang et al., 2022, "ViM").

    Attributes:
        mean: (1280,).
        basis: (1280, d), orthonormal columns.
    """

    mean: NDArray[np.float64]
    basis: NDArray[np.float64]

    def distance(self, features: Array) -> NDArray[np.float64]:
        """The length outside the subspace, (n,), 0 to about 1, of features (n, 1280)."""
        wide = np.asarray(features, np.float64)
        length = np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
        centred = wide / length - self.mean
        inside = centred @ self.basis
        rest: NDArray[np.float64] = (centred**2).sum(axis=1) - (inside**2).sum(axis=1)
        return np.sqrt(np.maximum(rest, 0))

    def to_bytes(self) -> bytes:
        """The content of reference.npz: half precision, under half a megabyte."""
        buffer = io.BytesIO()
        np.savez(buffer, mean=self.mean.astype(np.float16), basis=self.basis.astype(np.float16))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Reference:
        """The inverse of `to_bytes`.

        Raises:
            ModelError: it is no such file.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                mean, basis = (arrays[name].astype(np.float64) for name in ("mean", "basis"))
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise ModelError(f"{REFERENCE_NAME} holds no reference features: {error}") from None
        if mean.ndim != 1 or basis.ndim != 2 or len(mean) != len(basis):
            raise ModelError(f"{REFERENCE_NAME} holds arrays of wrong shapes")
        return cls(mean, basis)


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is said of n answers.

    Attributes:
        probabilities: float64 (n, 4), as shown to users.
        distance: float64 (n,), see `Reference.distance`.
        unlikeness: float64 (n,): 0 like the training slices, from 0.5 flagged, 1 refused.
        brain_score: float32 (n,).
        refused, flagged, committed: bool (n,).
        in_set: bool (n, 4).
    """

    probabilities: Array
    distance: Array
    unlikeness: Array
    brain_score: Array
    refused: Array
    flagged: Array
    committed: Array
    in_set: Array

    def prediction_set(self, index: int) -> tuple[str, ...]:
        """The labels of one answer's set, the most probable first."""
        order = np.argsort(-self.probabilities[index], kind="stable")
        return tuple(CLASSES[k] for k in order if self.in_set[index, k])


def relative_distance(distance: Array, centre: float, flag: float) -> Array:
    """Distances (n,) as 0 up to the usual one, 1 at the flag and 3 at most."""
    return np.clip((distance - centre) / (flag - centre), 0, 3)


def tempered(logits: Array, base: float, slope: float, relative: Array) -> Array:
    """Probabilities (n, classes) of logits divided by `base * exp(slope * relative)`.

    The divisor grows with the distance, so that foreign pictures get doubt.

    Args:
        logits: (n, classes).
        relative: (n,), distances as `relative_distance` gives them.
    """
    divisor = base * np.exp(slope * np.asarray(relative, np.float64))
    return softmax(np.asarray(logits, np.float64) / divisor[:, None])


def cap(probabilities: Array, highest: float) -> Array:
    """Mixed with the uniform distribution, as far as no probability exceeds `highest`."""
    top = probabilities.max(axis=1, keepdims=True)
    even = 1 / probabilities.shape[1]
    share = np.where(top > highest, (top - highest) / np.maximum(top - even, 1e-12), 0)
    return np.asarray((1 - share) * probabilities + share * even)


class Doubt:
    """Turns raw outputs into what may be said.

    Args:
        fitted: the card's section `doubt`; the contours are not needed.
        reference: of the training slices.
        brain_threshold: the score below which a picture is flagged, and refused if it is also far.
    """

    def __init__(
        self,
        fitted: Mapping[str, Mapping[str, float]],
        reference: Reference,
        brain_threshold: float,
    ) -> None:
        self.reference = reference
        self._brain_threshold = brain_threshold
        self._temperature, self._at = fitted["temperature"], fitted["distance"]
        # Cards from before it was measured state none: distance alone refuses.
        self._surely_brain = self._at.get("surely_brain", math.inf)
        self._answer = fitted["answer"]
        self._least = np.array([fitted["sets"][name] for name in CLASSES])

    @classmethod
    def from_card(cls, card: Mapping[str, Any], reference: Reference) -> Doubt:
        """As the card of a model says.

        Raises:
            ModelError: it lacks a number.
        """
        doubt = card.get("doubt")
        for section, names in _NUMBERS.items():
            for name in names:
                stated = doubt.get(section, {}).get(name) if isinstance(doubt, dict) else None
                if not isinstance(stated, (int, float)):
                    raise ModelError(
                        f"the model card lacks doubt.{section}.{name}: complete the model folder "
                        "with manage.py calibrate"
                    )
        assert isinstance(doubt, dict)  # noqa: S101 - narrows the type; checked above
        if not isinstance(doubt["distance"].get("surely_brain", math.inf), (int, float)):
            raise ModelError("the model card's doubt.distance.surely_brain is no number")
        return cls(doubt, reference, float(card["thresholds"]["brain"]))

    def _sets(self, probabilities: Array, top: Array) -> Array:
        """The labels that reach their threshold, the likeliest, and whatever lies between.

        Thresholds differ by class; a set that left out a label likelier than one it holds would
        make no sense to people. Larger sets keep the guarantee.
        """
        inside = (probabilities >= self._least) | (probabilities == top)
        lowest = np.where(inside, probabilities, np.inf).min(axis=1, keepdims=True)
        return np.asarray(probabilities >= lowest)

    def assess(self, outputs: Outputs, odd: Array) -> Assessment:
        """What may be said of each of n pictures.

        Args:
            outputs: raw, of all of them.
            odd: bool (n,), those whose background alone is reason to flag them.
        """
        at = self._at
        distance = self.reference.distance(outputs.features)
        probabilities = tempered(
            outputs.class_logits,
            self._temperature["base"],
            self._temperature["slope"],
            relative_distance(distance, at["centre"], at["flag"]),
        )
        brain_score = sigmoid(outputs.brain)
        no_brain, far = brain_score < self._brain_threshold, distance >= at["flag"]
        # Heads of other people's making lie far, too: those without a skull, other sequences.
        farthest = (distance >= at["refuse"]) & (brain_score < self._surely_brain)
        refused = farthest | (no_brain & far)
        flagged = ~refused & (far | no_brain | odd)
        probabilities = np.where(
            flagged[:, None], cap(probabilities, self._answer["flagged_cap"]), probabilities
        )
        top = probabilities.max(axis=1, keepdims=True)
        spread = np.interp(distance, [at["centre"], at["flag"], at["refuse"]], [0.0, 0.5, 1.0])
        return Assessment(
            probabilities=probabilities,
            distance=distance,
            unlikeness=np.where(
                refused, 1.0, np.where(flagged, np.clip(spread, 0.5, 0.99), spread)
            ),
            brain_score=brain_score,
            refused=refused,
            flagged=flagged,
            committed=~flagged & ~refused & (top[:, 0] >= self._answer["commit"]),
            in_set=self._sets(probabilities, top),
        )
