"""Links from results to the pages about tumours."""

from django import template
from django.urls import reverse
from wagtail.models import Page

register = template.Library()


@register.simple_tag
def learn_page(slug: str) -> str:
    """Address of a page, or of all of them while an editor has taken that one away."""
    there = Page.objects.live().filter(slug=slug).exists()
    return reverse("wagtail_serve", args=[f"{slug}/" if there else ""])
