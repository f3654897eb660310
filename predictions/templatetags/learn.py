"""Links from results to the pages about tumours."""

from __future__ import annotations

from django import template
from django.urls import reverse
from wagtail.models import Page

register = template.Library()


@register.simple_tag
def published(reading: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of (slug, words), the (address, words) of pages that editors have not taken away."""
    slugs = {slug for slug, _ in reading}
    live = set(Page.objects.live().filter(slug__in=slugs).values_list("slug", flat=True))
    return [
        (reverse("wagtail_serve", args=[f"{slug}/"]), words)
        for slug, words in reading
        if slug in live
    ]
