"""The network in 8-bit integers, to see gains and costs. It is not shipped."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mltasks.engines import OnnxEngine
from mltasks.evaluation import dice_score
from mltasks.inference import Analyzer
from mltasks.preprocessing import Floats, Pixels


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the 8-bit network's answers lie from the 32-bit one's.

    Attributes:
        pictures: how many both answered.
        labels: share with the same label, a refusal being one.
        largest_change: of any class's probability, 0 to 1.
        area_dice: median overlap of the areas, where either shows one; None if nowhere.
    """

    pictures: int
    labels: float
    largest_change: float
    area_dice: float | None


def reduced_range() -> bool:
    """Whether weights need 7 bits: without VNNI, x86 adds products in 16 bits, which overflow."""
    try:
        return "vnni" not in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return True


def quantise(model: Path, inputs: Floats, folder: Path) -> Path:
    """Quantise statically (QDQ, weights per channel), with ranges measured on `inputs`.

    Args:
        model: the 32-bit ONNX file.
        inputs: (n, size, size, 1), of the training folds.
        folder: takes the result and intermediate files.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches: Iterator[Floats] = iter(inputs[:, None])

        def get_next(self) -> dict[str, Floats] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"image": batch}

    # It logs each weight whose scale it has to widen to the root logger.
    logging.getLogger().setLevel(logging.WARNING)
    prepared, target = folder / "prepared.onnx", folder / "int8.onnx"
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(target),
        Reader(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=reduced_range(),
    )
    return target


def agreement(reference: Analyzer, quantised: Path, images: list[Pixels]) -> Agreement:
    """Compare the answers; calibration and thresholds are the 32-bit network's."""
    engine = OnnxEngine(quantised.read_bytes())
    other = Analyzer(reference.card, reference.digest, engine, reference.doubt)
    pairs = [(reference.analyze([one])[0], other.analyze([one])[0]) for one in images]
    changes = [
        abs(one.probabilities[label] - two.probabilities[label])
        for one, two in pairs
        for label in one.probabilities
    ]
    overlaps = [
        dice_score(one.area, two.area) for one, two in pairs if one.area.any() or two.area.any()
    ]
    return Agreement(
        pictures=len(pairs),
        labels=float(np.mean([one.label == two.label for one, two in pairs])),
        largest_change=max(changes),
        area_dice=float(np.median(overlaps)) if overlaps else None,
    )
