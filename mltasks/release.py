"""Writes a model folder: the weights once, and a card that says everything about them."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from mltasks.classes import CLASSES
from mltasks.inference import CARD_NAME, FORMAT, WEIGHTS_NAME
from mltasks.network import NetworkConfig, build_network, fold, set_weights
from mltasks.onnx_export import to_onnx
from mltasks.preprocessing import MEAN, SCALE

ATTRIBUTION = [
    "Training images and masks: BRISC 2025, Fateh et al., CC BY 4.0.",
    "Encoder started from EfficientNet-Lite0 ImageNet weights, Apache-2.0.",
]


def export_weights(config: NetworkConfig, weights: dict[str, Any]) -> bytes:
    """The content of model.onnx for weights of the training form."""
    model = build_network(config, folded=True)
    set_weights(model, fold(weights))
    return to_onnx(model)


def draft_card(config: NetworkConfig, content: bytes, *, name: str) -> dict[str, Any]:
    """A card with all that inference needs, before calibration and evaluation.

    Args:
        name: of the recipe; what follows its last hyphen is the version.
    """
    family, _, version = name.rpartition("-")
    return {
        "format": FORMAT,
        "name": family or name,
        "version": version if family else "1",
        "classes": list(CLASSES),
        "input": {
            "size": config.size,
            "layout": "NHWC, one grey channel, float32",
            "normalisation": {"mean": MEAN, "scale": SCALE, "formula": "(value - mean) / scale"},
            "fit": "framed to the head, letterboxed on black; shrunk by area, enlarged bilinearly",
        },
        "network": config.as_dict(),
        "thresholds": {"brain": 0.5, "mask": 0.5, "speck_share": 0.3},
        "files": {WEIGHTS_NAME: hashlib.sha256(content).hexdigest()},
        "attribution": ATTRIBUTION,
    }


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Replace the folder's model.json in one step."""
    temporary = folder / f"{CARD_NAME}.part"
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False)
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(folder / CARD_NAME)


def write_model(
    folder: Path, card: dict[str, Any], content: bytes, extras: dict[str, bytes]
) -> None:
    """Write a model folder; readers see the old one or the whole new one.

    Checkpoints in the old folder are kept.

    Args:
        folder: to write or replace.
        card: for model.json.
        content: of model.onnx.
        extras: other files by name, see `completion.complete`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    (fresh / WEIGHTS_NAME).write_bytes(content)
    for name, data in extras.items():
        (fresh / name).write_bytes(data)
    write_card(fresh, card)
    if folder.exists():
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if (folder / "checkpoints").exists():
            (folder / "checkpoints").rename(fresh / "checkpoints")
        folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old)
    else:
        fresh.rename(folder)
