"""Writes a report: report.json and report.html, beside the pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.template.loader import render_to_string

from mltasks.evaluation.plots import plots

JSON_NAME, PAGE_NAME, PICTURES = "report.json", "report.html", "pictures"
# Keys of report.json that no other kind of report has.
_MARKS = {"validation", "sanity", "misses"}


def render(figures: dict[str, Any]) -> str:
    """The page for the figures of `measuring.measure` with `misses` from the gallery."""
    slices, data = figures["validation"], figures["data"]
    order, counts = slices["confusion"]["order"], slices["confusion"]["counts"]
    kinds = slices["kind_known"]
    # If no tumour's kind is known, figures by kind would cover tumour-free slices alone.
    by_kind = kinds["n"] == slices["n"] or kinds["tumors"] > 0
    context = {
        "figures": figures,
        "slices": slices,
        "kinds": kinds,
        "by_kind": by_kind,
        "wrong": wrong_names(slices),
        "unknown": slices["n"] - kinds["n"],
        # Which figure counts as right on the changed slices.
        "right": "accuracy" if by_kind else "tumor_or_none",
        # On slices used to calibrate, the cross-fitted error; see `fitting.cross_fitted`.
        "crossed": data["groups_calibrated_on"] and figures.get("calibration", {}).get("plain"),
        "plots": plots(figures),
        "confusion": [
            (name, list(zip(order, row, strict=True)))
            for name, row in zip(order, counts, strict=True)
        ],
        "order": order,
    }
    return render_to_string("mltasks/report.html", context)


def wrong_names(slices: dict[str, Any]) -> dict[str, Any]:
    """How many slices of known kind got a wrong name, and the class with the largest share of them.

    Args:
        slices: see `figures.summary`.
    """
    order, counts = slices["confusion"]["order"], slices["confusion"]["counts"]
    classes = [
        {
            "name": name,
            "right": counts[place][place],
            "n": sum(counts[place]),
            "groups": slices["per_class"][name]["groups"],
        }
        for place, name in enumerate(order)
    ]
    there = [own for own in classes if own["n"]]
    n, right = (sum(own[key] for own in there) for key in ("n", "right"))
    worst = min(there, key=lambda own: own["right"] / own["n"]) if right < n else None
    return {"n": n, "count": n - right, "worst": worst}


def write(folder: Path, figures: dict[str, Any]) -> None:
    """Write page and figures beside the pictures.

    Raises:
        ValueError: a figure is not a number.
    """
    text = json.dumps(figures, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / JSON_NAME).write_text(text + "\n", encoding="utf-8")
    (folder / PAGE_NAME).write_text(render(figures), encoding="utf-8")


def may_replace(folder: Path) -> bool:
    """Whether a report may take a folder's place: it is new, empty, or an earlier report."""
    if not folder.exists():
        return True
    return folder.is_dir() and (not any(folder.iterdir()) or _holds_report(folder))


def _holds_report(folder: Path) -> bool:
    """Whether it is a report of this kind; others have a report.json too."""
    try:
        figures = json.loads((folder / JSON_NAME).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(figures, dict) and figures.keys() >= _MARKS
