"""Writes a model folder: the weights once, and a card that says everything about them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mltasks import drafts, seen
from mltasks.artifact import SUMS_NAME
from mltasks.classes import CLASSES
from mltasks.data import DataError, Record, data_digest
from mltasks.datasets.form import INFO, collections, is_unstated, read_dataset
from mltasks.drafts import AGAIN, GO_ON, replacing, replacing_folder
from mltasks.inference import CARD_NAME, FORMAT, WEIGHTS_NAME, read_model
from mltasks.network import NetworkConfig, build_network, fold, set_weights
from mltasks.onnx_export import to_onnx
from mltasks.preprocessing import MEAN, SCALE

MODEL_CARD_NAME = "MODEL_CARD.md"
# What a training run keeps beside the model in order to go on.
CHECKPOINTS = "checkpoints"
_KEPT = (CHECKPOINTS,)
# The collection that the project's own networks have learnt from came without a dataset.json.
_BRISC_DIGEST = "a5802f3c6c9c99514543e9ec03c7b77511bf8e6ceef4958ef1f0079a05771b38"
_BRISC = "Training images and masks: BRISC 2025, Fateh et al., CC BY 4.0."
IMAGENET = "Encoder started from EfficientNet-Lite0 ImageNet weights, Apache-2.0."
# What the answers hang on: figures measured with others of these are those of another network.
_MEASURED_WITH = ("files", "thresholds", "doubt", "calibration")


def data_sources(folder: Path, records: Sequence[Record]) -> list[str]:
    """Whose images these are and under which licence, a line for each collection.

    Args:
        folder: the data folder, with or without a dataset.json.
        records: of its manifest.

    Raises:
        DataError: manifest or dataset.json cannot be read.
    """
    info = read_dataset(folder).info
    if not info and data_digest(records) == _BRISC_DIGEST:
        return [_BRISC]
    lines = [_source_line(part) for part in collections(info)]
    if is_unstated(info, (record.source for record in records)):
        whose = "Other training data" if lines else "Training data"
        lines.append(f"{whose}: the data folder states no source.")
    return lines


def _source_line(info: Any) -> str:
    name, citation, licence = (
        str(info.get(key) or f"{INFO} states no {key}").rstrip(".")
        for key in ("name", "citation", "licence")
    )
    return f"Training data: {name}; {citation}; {licence}."


def inherited(start: Path) -> list[str]:
    """What the network that training goes on from was made from, as its card says.

    Raises:
        ModelError: it is no whole model folder.
    """
    card, _, _ = read_model(start)
    lines = card.get("attribution")
    return list(lines) if lines else [f"{start.name}: its card does not say what it was made from."]


def check_unseen(card: dict[str, Any], records: Sequence[Record], fold: int) -> None:
    """Refuse a fold of the data that a network has learnt from, see `seen.why_seen`.

    Args:
        card: of the network.
        records: all of the data's.
        fold: that it must not have seen.

    Raises:
        DataError: the network has learnt from slices of it.
    """
    slices = [record for record in records if record.fold == fold]
    why = seen.why_seen(card, slices, fold=fold, whole=data_digest(records))
    if why:
        raise DataError(f"{card['name']} {card['version']} {why}")


def export_weights(config: NetworkConfig, weights: dict[str, Any]) -> bytes:
    """The content of model.onnx for weights of the training form."""
    model = build_network(config, folded=True)
    set_weights(model, fold(weights))
    return to_onnx(model)


def draft_card(
    config: NetworkConfig, content: bytes, *, name: str, attribution: Sequence[str]
) -> dict[str, Any]:
    """A card with all that inference needs, before calibration and evaluation.

    Args:
        name: of the recipe; what follows its last hyphen is the version.
        attribution: what the network was made from, a line each.
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
        "attribution": list(attribution),
    }


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Replace the folder's model.json in one step."""
    with replacing(folder / CARD_NAME, remedy=AGAIN) as draft:
        draft.write_bytes(_card_bytes(card))


def _card_bytes(card: dict[str, Any]) -> bytes:
    return (json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def check_output(folder: Path) -> None:
    """Refuse to write a model folder over anything else: whatever is in it would be gone.

    Raises:
        DataError: the folder is there, and holds neither a model nor checkpoints alone.
    """
    if not folder.exists() or (folder / CARD_NAME).is_file():
        return
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder: give another --output")
    # A worker that was killed while it fetched checkpoints has left a draft beside them.
    names = (path.name for path in folder.iterdir() if path.name != CHECKPOINTS)
    others = sorted(name for name in names if not name.startswith(f".{CHECKPOINTS}."))
    if others:
        raise DataError(
            f"{folder} holds something else than a model ({', '.join(others[:3])}), which would "
            "be gone: give a new folder as --output"
        )


def write_model(
    folder: Path, card: dict[str, Any], content: bytes, extras: dict[str, bytes]
) -> None:
    """Write a model folder; readers see the old one or the whole new one.

    Checkpoints in the old folder are kept, and nothing else of it.

    Args:
        folder: to write or replace.
        card: for model.json.
        content: of model.onnx.
        extras: other files by name, see `fitting.complete`.

    Raises:
        OSError: names the folder and what to do.
    """
    with replacing_folder(folder, remedy=GO_ON, kept=_KEPT) as fresh:
        _fill(fresh, card, content, extras)


def recalibrate(
    folder: Path, card: dict[str, Any], content: bytes, extras: dict[str, bytes]
) -> bool:
    """Write what a new calibration has fitted into a model folder; other files in it stay.

    Where it has fitted anything else than before, the card's figures are no longer those of the
    network: they are taken out of `card`, and MODEL_CARD.md, which is made from them, goes too.

    Args:
        folder: a model folder.
        card, content, extras: see `write_model`.

    Returns:
        Whether there were figures that had to go.

    Raises:
        ModelError: the folder holds no whole model.
        OSError: names the folder and what to do.
    """
    before, _, _ = read_model(folder)
    changed = any(before.get(name) != card.get(name) for name in _MEASURED_WITH)
    # The list of digests is made anew when the network is registered.
    stale = [CHECKPOINTS, SUMS_NAME, "*.part", *([MODEL_CARD_NAME] if changed else [])]
    dropped = changed and card.pop("metrics", None) is not None
    with replacing_folder(folder, remedy=AGAIN, kept=_KEPT) as fresh:
        left = shutil.ignore_patterns(*stale)
        shutil.copytree(folder, fresh, ignore=left, dirs_exist_ok=True)
        _fill(fresh, card, content, extras)
    return dropped


def _fill(folder: Path, card: dict[str, Any], content: bytes, extras: dict[str, bytes]) -> None:
    (folder / WEIGHTS_NAME).write_bytes(content)
    for name, data in extras.items():
        (folder / name).write_bytes(data)
    (folder / CARD_NAME).write_bytes(_card_bytes(card))


def recover(folder: Path) -> None:
    """Put back what a writer of this model folder has moved aside, if it was killed then."""
    drafts.recover(folder, kept=_KEPT)
