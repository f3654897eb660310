"""Small charts as SVG: they take the page's colours, so they suit light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 480, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 40
Point = tuple[float, float]


class _Axes:
    """Maps values to places, and draws the frame."""

    def __init__(self, x: Point, y: Point, height: int = _HEIGHT) -> None:
        self.x, self.y, self.height = x, y, height

    def place(self, x: float, y: float) -> Point:
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            self.height - _BOTTOM - up * (self.height - _TOP - _BOTTOM),
        )

    def frame(self, x_label: str, x_marks: Sequence[float], y_marks: Sequence[float]) -> str:
        parts = []
        for mark in y_marks:
            _, y = self.place(self.x[0], mark)
            parts.append(
                f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" '
                f'y2="{y:.1f}"/><text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
                f"{mark:g}</text>"
            )
        for mark in x_marks:
            x, _ = self.place(mark, self.y[0])
            parts.append(
                f'<text x="{x:.1f}" y="{self.height - _BOTTOM + 16}" text-anchor="middle">'
                f"{mark:g}</text>"
            )
        parts.append(
            f'<text x="{(_WIDTH + _LEFT) / 2}" y="{self.height - 6}" text-anchor="middle">'
            f"{escape(x_label)}</text>"
        )
        return "".join(parts)


def _svg(title: str, body: str, height: int = _HEIGHT) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def _nice(most: float) -> float:
    """The least of 1, 2, 5 times a power of ten that is not below."""
    step = 1.0
    while step * 10 <= most:
        step *= 10
    return next((step * factor for factor in (1, 2, 5, 10) if step * factor >= most), step * 10)


def histogram(title: str, counts: Mapping[float, int], step: float, x_label: str) -> str:
    """Bars of counts by the lower edge of each bin."""
    if not counts:
        return "<p>Nothing to show.</p>"
    low, high = min(counts), max(counts) + step
    top = _nice(max(counts.values()))
    axes = _Axes((low, high), (0, top))
    bars = []
    for edge, count in sorted(counts.items()):
        x, y = axes.place(edge, count)
        right, floor = axes.place(edge + step, 0)
        bars.append(
            f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{max(1, right - x - 1):.1f}" '
            f'height="{floor - y:.1f}"><title>{edge:g}: {count}</title></rect>'
        )
    marks = [round(low + i * (high - low) / 4, 4) for i in range(5)]
    return _svg(title, axes.frame(x_label, marks, [0, top / 2, top]) + "".join(bars))


def lines(title: str, curves: Mapping[str, Sequence[Point]], x_label: str) -> str:
    """Curves of shares, 0 to 1, with a legend."""
    places = [point for curve in curves.values() for point in curve]
    if not places:
        return "<p>Nothing to show.</p>"
    low, high = min(x for x, _ in places), max(x for x, _ in places)
    axes = _Axes((low, high), (0, 1))
    marks = [round(low + i * (high - low) / 4, 4) for i in range(5)]
    parts = [axes.frame(x_label, marks, [0, 0.25, 0.5, 0.75, 1])]
    legend = []
    for number, (name, curve) in enumerate(curves.items()):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (axes.place(*point) for point in curve))
        parts.append(f'<polyline class="line c{number % 4}" points="{path}"/>')
        legend.append(f'<li class="c{number % 4}">{escape(name)}</li>')
    return _svg(title, "".join(parts)) + f'<ul class="legend">{"".join(legend)}</ul>'


def bars(
    title: str, rows: Sequence[tuple[str, float, Sequence[float]]], chance: float, x_label: str
) -> str:
    """Lying bars of shares with 95% intervals, and a line where guessing would be."""
    height = _TOP + _BOTTOM + 30 * len(rows)
    left = 90
    parts = []

    def across(value: float) -> float:
        return left + value * (_WIDTH - left - 60)

    for number, (name, value, interval) in enumerate(rows):
        y = _TOP + 30 * number
        parts.append(
            f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="bar" x="{left}" y="{y + 4}" width="{across(value) - left:.1f}" '
            f'height="18"/><line class="spread" x1="{across(interval[0]):.1f}" '
            f'x2="{across(interval[1]):.1f}" y1="{y + 13}" y2="{y + 13}"/>'
            f'<text x="{across(max(value, interval[1])) + 6:.1f}" y="{y + 17}">{value:.2f}</text>'
        )
    parts.extend(
        f'<text x="{across(mark):.1f}" y="{height - 24}" text-anchor="middle">{mark:g}</text>'
        for mark in (0, 0.25, 0.5, 0.75, 1)
    )
    parts.append(
        f'<line class="chance" x1="{across(chance):.1f}" x2="{across(chance):.1f}" y1="{_TOP}" '
        f'y2="{height - _BOTTOM}"/><text x="{(left + _WIDTH) / 2}" y="{height - 6}" '
        f'text-anchor="middle">{escape(x_label)}</text>'
    )
    return _svg(title, "".join(parts), height)
