"""Numbers as people read them."""

import math

from django import template

register = template.Library()


@register.filter
def percent(share: float | None) -> str:
    """A share of 0–1 as a percentage. Rounding never makes it certain: 0.9999 is "over 99.9%"."""
    if share is None:
        return "–"
    value = 100 * share
    if 0 < value < 0.1:
        return "under 0.1%"
    if 99.9 < value < 100:
        return "over 99.9%"
    return f"{value:.1f}%"


@register.filter
def in_hundred(share: float) -> str:
    """A share of 0–1 as people count: "about 4". Rounding makes it neither none nor all."""
    count = math.floor(100 * share + 0.5)
    if count < 1:
        return "fewer than 1"
    return f"about {count}" if count < 100 else "more than 99"


@register.filter
def bounds(interval: tuple[float, float] | None) -> str:
    """Both ends of an interval, where there is one."""
    return f"{percent(interval[0])}–{percent(interval[1])}" if interval else percent(None)


@register.filter
def suffix(key: str) -> str:
    """What kind of file an object is, by its name: `png` or `svg`."""
    return key.rpartition(".")[2]


@register.filter
def svg(value: float) -> str:
    """A number for an SVG attribute, whatever the language of the page."""
    return f"{value:.4f}"
