"""Numbers as reports write them."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from mltasks.classes import DISPLAY_NAMES

register = template.Library()
_MISSING = "–"


def _percent(value: float, digits: int) -> str:
    return f"{100 * value:.{digits}f}%"


@register.filter
def share(stated: Any, digits: int = 1) -> str:
    """A share as percent: of a number, or of a stated figure with its interval.

    What is missing in the figures reaches a filter as an empty string.
    """
    if isinstance(stated, dict):
        value, interval = stated.get("value", stated.get("share")), stated.get("ci95")
        if value is None:
            return _MISSING
        if not interval:
            return _percent(value, digits)
        low, high = (_percent(bound, digits).rstrip("%") for bound in interval)
        return f"{_percent(value, digits)} ({low}–{high})"
    return _MISSING if stated in {None, ""} else _percent(float(stated), digits)


@register.filter
def number(stated: Any, digits: int = 2) -> str:
    """A number, with its interval where it is stated."""
    if isinstance(stated, dict):
        if stated.get("value") is None:
            return _MISSING
        text = f"{stated['value']:.{digits}f}"
        interval = stated.get("ci95")
        return f"{text} ({interval[0]:.{digits}f}–{interval[1]:.{digits}f})" if interval else text
    return _MISSING if stated in {None, ""} else f"{float(stated):.{digits}f}"


@register.filter
def named(label: str) -> str:
    """The words for a class."""
    return DISPLAY_NAMES.get(label, label)


@register.filter
def counted(classes: dict[str, int]) -> str:
    """How many slices of each class, in words."""
    return ", ".join(f"{count} {named(label)}" for label, count in classes.items())


@register.filter
def stated(figures: Any, name: str) -> Any:
    """A plain figure with the interval that stands beside it; older cards have none."""
    if not isinstance(figures, dict):
        return None
    return {"value": figures.get(name), "ci95": figures.get("ci95", {}).get(name)}


@register.filter
def words(key: str) -> str:
    """A key of the figures as words."""
    return key.replace("_", " ")


@register.simple_tag
def drawing(plot: Any) -> SafeString | str:
    """A plot with title and words for those who do not see it."""
    # What is missing reaches a tag as an empty string.
    if not plot:
        return ""
    # The SVG is drawn by our own code from numbers.
    return format_html(
        '<figure class="plot"><figcaption>{}</figcaption>'
        '<div role="img" aria-label="{}">{}</div><p>{}</p></figure>',
        plot.title,
        plot.alt,
        mark_safe(plot.svg),  # noqa: S308
        plot.alt,
    )


@register.filter
def get(values: Any, key: str) -> Any:
    """The entry of a dictionary, None if there is none."""
    return values.get(key) if isinstance(values, dict) else None
