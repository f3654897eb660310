"""A history as a table with a row for each prediction."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator

from predictions.models import Label, Prediction

COLUMNS = (
    "prediction", "scan", "name", "uploaded", "status", "finding", "glioma", "meningioma",
    "no_tumor", "pituitary", "prediction_set", "committed", "flagged", "unlikeness", "uncertainty",
    "area_fraction", "area_inner", "area_outer", "box", "model", "message",
)  # fmt: skip


def csv_row(row: Prediction) -> list[object]:
    """The values of `COLUMNS` for one prediction with its scan and model version."""
    name = row.scan.name
    # A spreadsheet would run a cell that starts so as a formula.
    if name[:1] in {"=", "+", "-", "@"}:
        name = f"'{name}"
    # Those of a refused picture would be taken for an answer.
    shares = row.probabilities if row.label else {}
    return [
        row.pk,
        row.scan_id,
        name,
        row.scan.created_at.isoformat(timespec="seconds"),
        row.status,
        row.label,
        *(_number(shares.get(label)) for label in Label.values),
        " or ".join(row.prediction_set),
        "" if row.committed is None else int(row.committed),
        int(row.flagged),
        _number(row.ood_score),
        _number(row.uncertainty),
        _number(row.area_fraction),
        *(_number(share) for share in row.area_range or (None, None)),
        " ".join(map(str, row.bounding_box or [])),
        str(row.model_version),
        row.message,
    ]


class _Echo:
    """A file for the CSV writer that hands each line straight back."""

    def write(self, line: str) -> str:
        return line


def csv_lines(rows: Iterable[Prediction]) -> Iterator[str]:
    """The table as text, a line at a time."""
    writer = csv.writer(_Echo())
    # Without the mark, spreadsheets take UTF-8 for another encoding.
    yield "\ufeff"
    yield writer.writerow(COLUMNS)
    for row in rows:
        yield writer.writerow(csv_row(row))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
