"""The audit as a folder that people can look at: report.html, its pictures, and report.json."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from django.template.loader import render_to_string
from PIL import Image, ImageFilter

from mltasks.datasets import plots
from mltasks.datasets.copies import Pair
from mltasks.datasets.fingerprints import turn_name, turned_pictures
from mltasks.datasets.gathering import Gathered
from mltasks.datasets.relations import KINDS, SHOWN, Relations
from mltasks.images import Limits
from mltasks.postprocessing import Mask
from mltasks.preprocessing import Pixels

PICTURES = "pictures"
_SIDE = 240
_OUTLINE = (255, 176, 0)
_MOST_FAULTS = 200
_STAGES = ("as it is", "as the network sees it")
_VIEWS = {"pixels": "equal pixels", "whole": "whole picture", "framed": "frame of head"}
_ABOUT = {
    "contradicting labels": "One picture, two labels: at least one is wrong. Decide which before "
    "training, or leave both out.",
    "across sets": "Whoever trains on one set and tests on the other tests on training pictures.",
    "across parts": "In the parts as published. A score on such a test part is too good.",
    "across folds": "Folds that share a picture leak: split the data with these groups.",
    "in one part": "Harmless for scores, but such pictures count more than once.",
}


def write_report(
    folder: Path, figures: dict[str, Any], found: Gathered, relations: Relations, limits: Limits
) -> None:
    """Write report.json, report.html and pictures/ into an existing folder.

    Raises:
        ModelError: matplotlib is not installed.
        OSError: they cannot be written.
    """
    pictures = folder / PICTURES
    pictures.mkdir()
    book = _Book(pictures, found, limits)
    copies, search = figures["copies"], figures["copy_search"]
    context = {
        "figures": figures,
        "names": ", ".join(item["name"] for item in figures["sets"]),
        "images": sum(item["images"] for item in figures["sets"]),
        "pairs": sum(copies["pairs"].values()),
        "fault_kinds": _counted(figures["faults"]),
        "faults": figures["faults"][:_MOST_FAULTS],
        "turns": [(turn_name(int(turn)), count) for turn, count in copies["turns"].items()],
        "likeness": plots.likeness(copies["likeness"]) if copies["likeness"] else None,
        "kinds": [
            {
                "name": kind,
                "about": _ABOUT[kind],
                "count": relations.pairs[kind],
                "cards": [book.pair(pair) for pair in relations.examples[kind].ordered()],
            }
            for kind in KINDS
            if relations.pairs[kind]
        ],
        "search": plots.search(search["curve"]) if search else None,
        "mask_kinds": _counted(figures["masks"]["suspicious"]),
        "masks": [
            book.one(item.place, item.message, outlined=True) for item in found.masks[:SHOWN]
        ],
        "refused": [
            book.one(place, f"score {found.brain[place]:.3f}") for place in found.refused[:SHOWN]
        ],
        "questions": [_question(name, answers) for name, answers in figures["shortcuts"].items()],
        "shown": SHOWN,
        "side": _SIDE,
    }
    text = json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / "report.json").write_text(text, encoding="utf-8")
    page = render_to_string("mltasks/audit.html", context)
    (folder / "report.html").write_text(page, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _Picture:
    """A small picture.

    Attributes:
        file: below the report.
        name: set and id of the image.
        label: of the image, with its plane.
        alt: the name, and how the image was turned.
    """

    file: str
    name: str
    label: str
    alt: str


@dataclass(frozen=True, slots=True)
class _Card:
    """One image, or two side by side, with a note."""

    pictures: tuple[_Picture, ...]
    note: str


class _Book:
    """Writes small pictures one after the other; gives what the page says of them."""

    def __init__(self, folder: Path, found: Gathered, limits: Limits) -> None:
        self._folder, self._found, self._limits = folder, found, limits
        self._count = 0

    def pair(self, pair: Pair) -> _Card:
        """Two images, the second turned to match the first."""
        turned = turned_pictures(self._pixels(pair.second), pair.turn)
        done = turn_name(pair.turn)
        first = self._picture(self._pixels(pair.first), pair.first)
        second = self._picture(turned, pair.second, done if pair.turn else "")
        return _Card((first, second), f"{pair.likeness:.3f} ({_VIEWS[pair.view]}); second {done}")

    def one(self, place: int, note: str, *, outlined: bool = False) -> _Card:
        """One image, with the outline of its mask if wanted and available."""
        pixels, done = self._pixels(place), ""
        mask = self._mask(place) if outlined else None
        if mask is not None and mask.shape == pixels.shape:
            pixels, done = _outlined(pixels, mask), "its mask outlined"
        return _Card((self._picture(pixels, place, done),), note)

    def _mask(self, place: int) -> Mask | None:
        try:
            return self._found.mask(place, self._limits)
        except (OSError, ValueError):
            return None

    def _pixels(self, place: int) -> Pixels:
        return self._found.pixels(place, self._limits)

    def _picture(self, pixels: Pixels, place: int, done: str = "") -> _Picture:
        self._count += 1
        file = f"{self._count:04d}.jpg"
        image = Image.fromarray(np.ascontiguousarray(pixels))
        image.thumbnail((_SIDE, _SIDE))
        image.save(self._folder / file, quality=88)
        row, name = self._found.rows[place], self._found.name(place)
        return _Picture(
            file=f"{PICTURES}/{file}",
            name=name,
            label=", ".join(filter(None, (row.label, row.plane))),
            alt=", ".join(filter(None, (name, done))),
        )


def _outlined(pixels: Pixels, mask: Mask) -> Pixels:
    shape = Image.fromarray(mask.astype(np.uint8) * 255)
    size = 3 if max(mask.shape) < 400 else 5
    rim = (np.asarray(shape.filter(ImageFilter.MaxFilter(size))) > 0) & ~mask
    coloured = np.repeat(pixels[..., None], 3, axis=2)
    coloured[rim] = _OUTLINE
    return coloured


def _counted(items: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """How many there are of each kind."""
    return sorted(Counter(item["kind"] for item in items).items())


def _question(name: str, answers: dict[str, Any]) -> dict[str, Any]:
    """How well cues predict the label, for one question of `shortcuts`."""
    if "not_measured" in answers:
        return {"name": name, "not_measured": answers["not_measured"]}
    title = f"{name.capitalize()}, picture {{}}"
    return {
        "name": name,
        "n": answers["n"],
        "cues": list(answers[_STAGES[0]]),
        "stages": [
            {
                "name": stage,
                "plot": plots.cues(title.format(stage), answers[stage], answers["chance"]),
                "accuracy": [own["balanced_accuracy"] for own in answers[stage].values()],
                "areas": [
                    (label, [own["auc"][label] for own in answers[stage].values()])
                    for label in next(iter(answers[stage].values()))["auc"]
                ],
            }
            for stage in _STAGES
        ],
    }
