"""The network in use: pictures in, findings out. No files, no database, no user in here.

With the ONNX engine this module never imports TensorFlow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mltasks.background import is_light
from mltasks.classes import CLASSES, NO_TUMOR
from mltasks.doubt import REFERENCE_NAME, Doubt, Reference
from mltasks.engines import Engine, ModelError, Outputs, open_engine
from mltasks.postprocessing import (
    Mask,
    affected_area,
    attention_map,
    bounding_box,
    contours,
    entropy,
    hottest_point,
    sigmoid,
)
from mltasks.preprocessing import Floats, Geometry, Pixels, preprocess, to_grey

__all__ = ["CLASSES", "Analysis", "Analyzer", "ModelError", "Prepared", "load_analyzer"]

CARD_NAME, WEIGHTS_NAME = "model.json", "model.onnx"
FORMAT = 1
# An empty picture: all but the outermost pixels, in brightness, lie within so many grey levels.
_BLANK_RANGE, _OUTERMOST = 12, 0.002
# A drawing, or a scan in dots: it has no more grey levels than so many, where MRI has hundreds.
_FEW_LEVELS = 16

_AGAIN = "copy the folder anew"

NOT_A_BRAIN = (
    "This picture does not look like an MRI of a brain, so it was not analysed. "
    "Please upload one slice of a brain MRI, without a frame or text around it."
)
BLANK = "This picture is empty: all of it has nearly the same brightness."


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """What the network found in one picture.

    Attributes:
        status: "ok", or "rejected" if the picture does not look like a brain MRI.
        reason: why it was rejected, as a sentence for users; empty if ok.
        label: one of `CLASSES`, None if rejected.
        probabilities: calibrated, by class, sum 1; also given for rejected pictures.
        prediction_set: the labels among which the true one is with 95%, the likeliest first.
        flagged: answered, but unlike the pictures learnt from: not to be relied on.
        committed: the network stands by its label.
        unlikeness: 0 to 1, how unlike the pictures learnt from; from 0.5 it is flagged.
        brain_score: 0 to 1, how much the picture looks like a brain MRI.
        uncertainty: normalised entropy of the probabilities, 0 (certain) to 1.
        area: bool (height, width) on the upright picture; empty without a tumour.
        inner, outer: likewise, bounds of the area: surely affected, and possibly affected.
        attention: uint8 (height, width), what spoke for the label, 255 the most.
        area_fraction: affected share of the whole picture.
        bounding_box: left, top, right, bottom of the area in pixels, the last two exclusive.
        hottest_point: pixel (x, y) of the strongest attention, inside the inner contour if there
            is one, or else inside the area, and there weighed by the area's probability.
    """

    status: str
    reason: str
    label: str | None
    probabilities: dict[str, float]
    brain_score: float
    uncertainty: float
    area: Mask
    attention: Pixels
    area_fraction: float
    bounding_box: tuple[int, int, int, int] | None
    hottest_point: tuple[int, int] | None
    prediction_set: tuple[str, ...]
    flagged: bool
    committed: bool
    unlikeness: float
    inner: Mask
    outer: Mask


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A picture made ready for the network.

    Attributes:
        inputs: float32 (size, size, 1).
        geometry: leads back to the picture's own pixels.
        blank: all of it has nearly the same brightness.
        odd: reason enough to flag it, whatever the network says: its background is light, see
            `mltasks.background`, or it has few grey levels.
    """

    inputs: Floats
    geometry: Geometry
    blank: bool
    odd: bool


class Analyzer:
    """One loaded network.

    `analyze` does everything at once; `prepare`, `forward` and `finding` are its three steps, for
    those who let the first and the last run in threads beside the pass of other pictures.

    Attributes:
        name, version: of the model, as its card says.
        digest: SHA-256 of the weights, as hexadecimal digits.
        card: the content of model.json.
        engine: what computes; `engine.forward(batch)` alone serves benchmarks.
    """

    def __init__(self, card: dict[str, Any], digest: str, engine: Engine, doubt: Doubt) -> None:
        self.card = card
        self.name: str = card["name"]
        self.version: str = card["version"]
        self.digest = digest
        self.engine = engine
        self.input_size: int = card["input"]["size"]
        self.doubt = doubt
        self._thresholds: dict[str, float] = card["thresholds"]
        self._contours: dict[str, float] = card["doubt"]["contours"]

    def warm_up(self) -> None:
        """Run once on an empty picture, so that the first visitor does not wait for set-up."""
        self.engine.forward(np.zeros((1, self.input_size, self.input_size, 1), np.float32))

    def analyze(self, images: Sequence[Pixels]) -> list[Analysis]:
        """Analyse pictures, all in one forward pass.

        Args:
            images: uint8 arrays, (height, width) or (height, width, 3), upright.

        Raises:
            ValueError: one of them is not such an array.
        """
        if not images:
            return []
        prepared = [self.prepare(image) for image in images]
        outputs = self.forward(prepared)
        return [self.finding(one, outputs, index) for index, one in enumerate(prepared)]

    def prepare(self, image: Pixels) -> Prepared:
        """Make a picture ready for the network.

        Args:
            image: uint8, (height, width) or (height, width, 3), upright.

        Raises:
            ValueError: it is not such an array.
        """
        grey = to_grey(image)
        inputs, geometry = preprocess(grey, self.input_size)
        counts = np.array(Image.fromarray(grey).histogram())
        few_levels = bool(np.count_nonzero(counts) <= _FEW_LEVELS)
        odd = few_levels or is_light(grey)
        return Prepared(inputs, geometry, _is_blank(counts), odd)

    def forward(self, prepared: Sequence[Prepared]) -> Outputs:
        """One forward pass over at least one picture."""
        return self.engine.forward(np.stack([one.inputs for one in prepared]))

    def finding(self, prepared: Prepared, outputs: Outputs, index: int) -> Analysis:
        """What a pass says about the picture that was its `index`-th."""
        geometry, blank = prepared.geometry, prepared.blank
        assessment = self.doubt.assess(outputs.only(index), np.array([prepared.odd]))
        probabilities = assessment.probabilities[0]
        rejected = blank or bool(assessment.refused[0])
        best = int(np.argmax(probabilities))
        label = None if rejected else CLASSES[best]
        area = np.zeros((geometry.height, geometry.width), np.bool_)
        attention = np.zeros((geometry.height, geometry.width), np.uint8)
        if label not in {None, NO_TUMOR}:
            area = affected_area(
                outputs.mask[index],
                geometry,
                threshold=self._thresholds["mask"],
                speck_share=self._thresholds["speck_share"],
            )
        if label is not None:
            attention = attention_map(outputs.attention[index, :, :, best], geometry)
        inner, outer = contours(
            outputs.mask[index],
            geometry,
            area,
            least=self._thresholds["mask"],
            inner=self._contours["inner"],
            outer=self._contours["outer"],
        )
        box = bounding_box(area)
        return Analysis(
            status="rejected" if rejected else "ok",
            reason=(BLANK if blank else NOT_A_BRAIN) if rejected else "",
            label=label,
            probabilities=dict(zip(CLASSES, map(float, probabilities), strict=True)),
            brain_score=float(assessment.brain_score[0]),
            uncertainty=entropy(probabilities),
            area=area,
            attention=attention,
            area_fraction=float(area.mean()),
            bounding_box=box,
            hottest_point=_hottest(
                attention, inner if inner.any() else area, geometry, outputs.mask[index]
            ),
            prediction_set=() if rejected else assessment.prediction_set(0),
            flagged=not rejected and bool(assessment.flagged[0]),
            committed=not rejected and bool(assessment.committed[0]),
            unlikeness=1.0 if blank else float(assessment.unlikeness[0]),
            inner=inner,
            outer=outer,
        )


def _hottest(
    attention: Pixels, area: Mask, geometry: Geometry, mask_logits: Floats
) -> tuple[int, int] | None:
    """Where attention and the area's probability together are strongest, within `area`.

    Attention alone often peaks beside the area; its nearest pixel would be one at the border.
    """
    box = bounding_box(area)
    likelihood = None if box is None else geometry.resample(sigmoid(mask_logits), box)
    return hottest_point(attention, box, area, likelihood)


def _is_blank(counts: NDArray[np.int_]) -> bool:
    """Nothing but one brightness and a little noise, by the number of pixels of each grey level."""
    below = np.cumsum(counts)
    low, high = np.searchsorted(below, np.array([_OUTERMOST, 1 - _OUTERMOST]) * below[-1])
    return bool(high - low < _BLANK_RANGE)


def _check_format(path: Path, card: Any) -> None:
    stated = card.get("format") if isinstance(card, dict) else None
    if isinstance(stated, int) and stated > FORMAT:
        raise ModelError(
            f"{path} is of format {stated}, newer than the {FORMAT} that this version reads: "
            "upgrade TumorSite, or give it an older model"
        )
    if stated != FORMAT:
        raise ModelError(f"{path} is not a model card of format {FORMAT}")


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD_NAME
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"no model in {folder}: cannot read {CARD_NAME} ({error.strerror})"
        ) from None
    except ValueError:
        raise ModelError(f"{path} is not valid JSON: {_AGAIN}") from None
    _check_format(path, card)
    if tuple(card.get("classes", ())) != CLASSES:
        raise ModelError(f"{path}: the classes must be {', '.join(CLASSES)}")
    wanted: dict[str, type | tuple[type, ...]] = {
        "name": str,
        "version": str,
        "files": dict,
        "input": dict,
        "thresholds": dict,
    }
    for key, kind in wanted.items():
        if not isinstance(card.get(key), kind):
            raise ModelError(f"{path}: {key} is missing or of the wrong type")
    for key in ("brain", "mask", "speck_share"):
        if not isinstance(card["thresholds"].get(key), (int, float)):
            raise ModelError(f"{path}: threshold {key} is missing")
    if not isinstance(card["input"].get("size"), int):
        raise ModelError(f"{path}: input size is wrong")
    return card


def read_model(folder: Path) -> tuple[dict[str, Any], bytes, str]:
    """Read a model folder and check that it is whole, without loading the network.

    Returns:
        The card, the weights and their SHA-256 as hexadecimal digits.

    Raises:
        ModelError: the folder is missing, of another format, or its weights are not those of
            its card. There is no fallback.
    """
    folder = Path(folder)
    card = _read_card(folder)
    try:
        weights = (folder / WEIGHTS_NAME).read_bytes()
    except OSError as error:
        raise ModelError(
            f"no weights in {folder}: {WEIGHTS_NAME} ({error.strerror}); {_AGAIN}"
        ) from None
    digest = hashlib.sha256(weights).hexdigest()
    if card["files"].get(WEIGHTS_NAME) != digest:
        raise ModelError(
            f"{folder / WEIGHTS_NAME} is damaged: its digest is not the card's; {_AGAIN}"
        )
    return card, weights, digest


def read_reference(folder: Path, card: dict[str, Any]) -> Reference:
    """The reference features of a model folder.

    Raises:
        ModelError: they are missing, or not those of the card.
    """
    path = Path(folder) / REFERENCE_NAME
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"no reference features: cannot read {path} ({error.strerror}); complete the model "
            "folder with manage.py calibrate"
        ) from None
    if card["files"].get(REFERENCE_NAME) != hashlib.sha256(content).hexdigest():
        raise ModelError(f"{path} is damaged: its digest is not the card's; {_AGAIN}")
    return Reference.from_bytes(content)


def load_analyzer(folder: Path, *, engine: str = "onnx", threads: int = 0) -> Analyzer:
    """Load a model folder.

    Args:
        folder: holds model.json, model.onnx and reference.npz.
        engine: "onnx" (CPU) or "tensorflow" (GPU where there is one).
        threads: of the ONNX engine; 0 means one per core.

    Raises:
        ModelError: see `read_model`; or the weights take pictures of another size than the card
            says.
    """
    folder = Path(folder)
    card, weights, digest = read_model(folder)
    doubt = Doubt.from_card(card, read_reference(folder, card))
    opened = open_engine(engine, weights, threads=threads)
    size = card["input"]["size"]
    if opened.sides not in {None, (size, size)}:
        height, width = opened.sides or (0, 0)
        raise ModelError(
            f"{folder / CARD_NAME} says that pictures are {size}×{size}, {folder / WEIGHTS_NAME} "
            f"takes {width}×{height}: the card is of another network, {_AGAIN}"
        )
    return Analyzer(card, digest, opened, doubt)
