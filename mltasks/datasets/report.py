"""The audit as a folder that people can look at: report.html, its pictures, and report.json."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from mltasks.datasets import charts
from mltasks.datasets.copies import Pair
from mltasks.datasets.fingerprints import turn_name
from mltasks.datasets.gathering import Gathered
from mltasks.datasets.items import Mask
from mltasks.datasets.relations import KINDS, SHOWN, Relations
from mltasks.preprocessing import Pixels
from mltasks.stream import Limits

PICTURES = "pictures"
_SIDE = 240
_OUTLINE = (255, 176, 0)
_MOST_FAULTS = 200
_FIGURE = re.compile(r"[0-9.,%–() ]+( of [0-9]+)?")
_STYLE = Path(__file__).with_name("page.css")

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
        OSError: they cannot be written.
    """
    pictures = folder / PICTURES
    pictures.mkdir()
    book = _Book(pictures, found, limits)
    body = "".join(
        (
            _top(figures),
            _sets(figures),
            _faults(figures),
            _copies(figures, relations, book),
            _search(figures),
            _masks(figures, found, book),
            _not_brains(figures, found, book),
            _shortcuts(figures),
            _end(figures),
        )
    )
    text = json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / "report.json").write_text(text, encoding="utf-8")
    style = _STYLE.read_text(encoding="utf-8")
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Audit of {escape(_names(figures))}</title><style>{style}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )
    (folder / "report.html").write_text(page, encoding="utf-8")


class _Book:
    """Writes small pictures and gives their HTML."""

    def __init__(self, folder: Path, found: Gathered, limits: Limits) -> None:
        self._folder, self._found, self._limits = folder, found, limits
        self._count = 0

    def pair(self, pair: Pair) -> str:
        """Two images, the second turned so that both lie alike."""
        first, second = self._pixels(pair.first), self._pixels(pair.second)
        second = np.rot90(second, pair.turn % 4)
        if pair.turn >= 4:
            second = second[:, ::-1]
        measure = {"pixels": "equal pixels", "whole": "whole picture", "framed": "frame of head"}
        note = f"{pair.likeness:.3f} ({measure[pair.view]}); second {turn_name(pair.turn)}"
        shown = self._figure(first, pair.first) + self._figure(second, pair.second)
        return f"<li><div>{shown}</div>{escape(note)}</li>"

    def one(self, place: int, note: str, mask: Mask | None = None) -> str:
        """One image, with the outline of its mask."""
        pixels = self._pixels(place)
        if mask is not None and mask.shape == pixels.shape:
            pixels = _outlined(pixels, mask)
        shown = self._figure(pixels, place)
        return f'<li><div class="one">{shown}</div>{escape(note)}</li>'

    def mask(self, place: int) -> Mask | None:
        try:
            return self._found.mask(place, self._limits)
        except (OSError, ValueError):
            return None

    def _pixels(self, place: int) -> Pixels:
        return self._found.pixels(place, self._limits)

    def _figure(self, pixels: Pixels, place: int) -> str:
        self._count += 1
        name = f"{self._count:04d}.jpg"
        image = Image.fromarray(np.ascontiguousarray(pixels))
        image.thumbnail((_SIDE, _SIDE))
        image.save(self._folder / name, quality=88)
        row = self._found.rows[place]
        label = f"{row.label}{', ' + row.plane if row.plane else ''}"
        text = escape(self._found.name(place))
        return (
            f'<figure><img src="{PICTURES}/{name}" alt="{text}" loading="lazy" width="{_SIDE}" '
            f'height="{_SIDE}"><figcaption>{text}<br><span class="quiet">{escape(label)}</span>'
            "</figcaption></figure>"
        )


def _outlined(pixels: Pixels, mask: Mask) -> Pixels:
    shape = Image.fromarray(mask.astype(np.uint8) * 255)
    size = 3 if max(mask.shape) < 400 else 5
    rim = (np.asarray(shape.filter(ImageFilter.MaxFilter(size))) > 0) & ~mask
    coloured = np.repeat(pixels[..., None], 3, axis=2)
    coloured[rim] = _OUTLINE
    return coloured


def _names(figures: dict[str, Any]) -> str:
    return ", ".join(item["name"] for item in figures["sets"])


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    def cell(value: Any, tag: str = "td") -> str:
        number = isinstance(value, (int, float)) or _FIGURE.fullmatch(str(value)) is not None
        kind = ' class="number"' if number else ""
        return f"<{tag}{kind}>{escape(str(value))}</{tag}>"

    body = "".join(f"<tr>{''.join(cell(value) for value in row)}</tr>" for row in rows)
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    table = f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="table">{table}</div>'


def _percent(share: dict[str, Any] | None) -> str:
    if not share:
        return "not measured"
    low, high = share["ci95"]
    return f"{share['share']:.1%} ({low:.1%}–{high:.1%}), {share.get('count', share.get('images'))}"


def _list(items: Iterable[str]) -> str:
    return f'<ul class="pictures">{"".join(items)}</ul>'


def _top(figures: dict[str, Any]) -> str:
    copies, masks = figures["copies"], figures["masks"]
    facts = [
        (sum(item["images"] for item in figures["sets"]), "images"),
        (len(figures["faults"]), "faults of files and rows"),
        (sum(copies["pairs"].values()), "pairs of copies"),
        (len(copies["contradicting_images"]), "images with a copy of another label"),
        (len(masks["suspicious"]), f"of {masks['n']} masks look wrong"),
        *(
            [(len(figures["not_brains"]["images"]), "images refused as no brain MRI")]
            if "images" in figures["not_brains"]
            else []
        ),
        (figures["groups"]["all"]["groups"], "groups for splitting"),
    ]
    items = "".join(f"<li><strong>{n:,}</strong>{escape(what)}</li>" for n, what in facts)
    return f'<h1>Audit of {escape(_names(figures))}</h1><ul class="facts">{items}</ul>'


def _sets(figures: dict[str, Any]) -> str:
    rows = [
        (
            item["name"],
            f"{item['images']} of {item['listed']}"
            + (f"; {item['excluded']} excluded" if item["excluded"] else ""),
            ", ".join(f"{count} {label}" for label, count in item["labels"].items()),
            item["masks"],
            item["digest"][:12],
        )
        for item in figures["sets"]
    ]
    terms = [
        (
            item["name"],
            part["name"],
            part["licence"] or "not stated",
            part["citation"] or "not stated",
        )
        for item in figures["sets"]
        for part in item["parts"]
    ]
    return (
        "<h2>What was audited</h2>"
        + _table(("set", "usable images", "labels", "masks", "digest"), rows)
        + _table(("set", "collection", "licence", "citation"), terms)
    )


def _faults(figures: dict[str, Any]) -> str:
    faults = figures["faults"]
    if not faults:
        return "<h2>Files</h2><p>Every file is there, whole, and the one the manifest names.</p>"
    kinds = Counter(fault["kind"] for fault in faults)
    counts = _table(("kind", "number"), sorted(kinds.items()))
    rows = [
        (fault["set"], fault["where"], fault["kind"], fault["message"])
        for fault in faults[:_MOST_FAULTS]
    ]
    more = f"<p>The first {_MOST_FAULTS} are shown; all are in report.json.</p>"
    listed = _table(("set", "file", "kind", "what to do"), rows)
    return f"<h2>Files</h2>{counts}{more if len(faults) > _MOST_FAULTS else ''}{listed}"


def _copies(figures: dict[str, Any], relations: Relations, book: _Book) -> str:
    copies = figures["copies"]
    about = (
        "<h2>Copies</h2><p>Two images are near copies if the correlation of their 32×32 cells, in "
        f"the best of eight turns, is at least {copies['thresholds']['whole']} as whole pictures "
        f"or {copies['thresholds']['framed']} within the frame of the head.</p>"
    )
    parts = [about]
    rows = [
        (
            f"{item['of']} {item['one']}",
            f"{item['of']} {item['other']}",
            f"{item['images']} of {item['total']}",
            f"{item['share']:.1%} ({item['ci95'][0]:.1%}–{item['ci95'][1]:.1%})",
        )
        for item in copies["beyond"]
    ]
    if rows:
        head = ("images of", "that have a copy in", "number", "share (95% interval)")
        parts.append(_table(head, rows))
    existing = copies["existing_groups"]
    if existing.get("pairs"):
        parts.append(
            f"<p>Of {existing['pairs']} pairs within a set, {existing['in one group']} lie in one "
            f"group of its manifest; {existing['in two folds']} lie in two of its folds.</p>"
        )
    turns = [(turn_name(int(turn)), count) for turn, count in copies["turns"].items()]
    parts.append(_table(("how the second lies to the first", "pairs"), turns))
    likeness = {float(k): v for k, v in copies["likeness"].items()}
    parts.append(charts.histogram("Pairs by likeness", likeness, 0.002, "likeness of near copies"))
    for kind in KINDS:
        count = relations.pairs[kind]
        if count:
            shown = _list(book.pair(pair) for pair in relations.examples[kind].ordered())
            limit = f"; the most alike {SHOWN} are shown" if count > SHOWN else ""
            plural = "pairs" if count > 1 else "pair"
            parts.append(
                f"<h3>{escape(kind.capitalize())}: {count} {plural}{limit}</h3>"
                f"<p>{_ABOUT[kind]}</p>{shown}"
            )
    return "".join(parts)


def _search(figures: dict[str, Any]) -> str:
    search = figures["copy_search"]
    if not search:
        return ""
    rows = [(name, share["n"], _percent(share)) for name, share in search["copies"].items()]
    others = [(name, share["n"], _percent(share)) for name, share in search["others"].items()]
    curves = {
        name: [(point["shift"], point[name]) for point in search["curve"]]
        for name in search["curve"][0]
        if name != "shift"
    }
    return (
        "<h2>How often the search errs</h2><p>Measured on pairs of which the truth is known: "
        "images of this audit and their altered selves, and images that are surely others. Some "
        "of the latter may be true copies with contradicting labels.</p>"
        + _table(("copies made by", "n", "found (95% interval), number"), rows)
        + _table(("different images", "n", "taken for copies (95% interval), number"), others)
        + charts.lines(
            "Share of pairs called copies", curves, "both thresholds moved by (0: as used)"
        )
    )


def _masks(figures: dict[str, Any], found: Gathered, book: _Book) -> str:
    masks = figures["masks"]
    if not masks["n"]:
        return "<h2>Masks</h2><p>There are none.</p>"
    shown = _list(
        book.one(item.place, item.message, book.mask(item.place)) for item in found.masks[:SHOWN]
    )
    kinds = Counter(item["kind"] for item in masks["suspicious"])
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"
    return (
        f"<h2>Masks</h2><p>{masks['n']} masks, of which look wrong: {escape(counts)}. A mask is "
        "called misplaced if its rim differs from its surroundings less than 0.4 times as much as "
        "elsewhere. This is a hint for a second look: flat tumours without a rim are called so, "
        f"too. Reported: {_percent(masks['share'])}. Of sound masks that were flipped or shifted "
        f"on purpose it reports {_percent(masks['caught_when_moved'])}.</p>{shown}"
    )


def _not_brains(figures: dict[str, Any], found: Gathered, book: _Book) -> str:
    brains = figures["not_brains"]
    if "not_measured" in brains:
        return (
            "<h2>Images that are not brains</h2><p>Not measured: "
            f"{escape(brains['not_measured'])}.</p>"
        )
    shown = _list(
        book.one(place, f"score {found.brain[place]:.3f}") for place in found.refused[:SHOWN]
    )
    return (
        f"<h2>Images that are not brains</h2><p>{len(brains['images'])} images are refused by "
        f"{escape(brains['model'])}: for their score and how far they lie from the slices that it "
        f"has learnt from, or because they are blank.</p>{shown}"
    )


def _shortcuts(figures: dict[str, Any]) -> str:
    about = (
        "<h2>Shortcuts</h2><p>How well the label is told by size, aspect, borders and histogram "
        "alone, on groups not learnt from. The dashed line is guessing. Whatever lies right of it "
        "a network may learn instead of anatomy.</p>"
    )
    parts = [about]
    for question, answers in figures["shortcuts"].items():
        parts.append(f"<h3>{escape(question.capitalize())}</h3>")
        if "not_measured" in answers:
            parts.append(f"<p>Not measured: {escape(answers['not_measured'])}.</p>")
            continue
        for stage in ("as it is", "as the network sees it"):
            cues = answers[stage]
            rows = [
                (
                    cue,
                    figure["balanced_accuracy"]["value"],
                    figure["balanced_accuracy"]["ci95"],
                )
                for cue, figure in cues.items()
            ]
            title = f"Balanced accuracy, picture {stage}"
            parts.append(f"<h4>{escape(title)}</h4>")
            parts.append(charts.bars(title, rows, answers["chance"], "balanced accuracy"))
            areas = [
                (name, *(f"{figure['auc'][name]['value']:.3f}" for figure in cues.values()))
                for name in next(iter(cues.values()))["auc"]
            ]
            parts.append(_table(("AUC by label", *cues), areas))
    return "".join(parts)


def _end(figures: dict[str, Any]) -> str:
    groups = figures["groups"]
    return (
        "<h2>Groups</h2><p>Near copies alone make "
        f"{groups['copies']['groups']} groups ({groups['copies']['of_one']} of one image, the "
        f"largest of {groups['copies']['largest']}); with patients, groups the data came with and "
        f"neighbours in series, {groups['all']['groups']} (largest {groups['all']['largest']}). "
        'They are in <a href="groups.csv">groups.csv</a>, all figures in '
        '<a href="report.json">report.json</a>.</p>'
        f"<p>To repeat: <code>{escape(figures['command'])}</code></p>"
    )
