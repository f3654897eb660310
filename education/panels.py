"""What waits for editors, on the first page of the editor."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from itertools import chain
from typing import Any, ClassVar

from django.http import HttpRequest
from django.utils import timezone
from wagtail.admin.ui.components import Component
from wagtail.models import Page
from wagtail.permissions import page_permission_policy

from education.models import GlossaryPage, InfoPage, TopicPage, TumourPage

KINDS: tuple[type[InfoPage], ...] = (TumourPage, TopicPage, GlossaryPage)
# More than a screen of them is a matter for the list of pages.
MOST = 20


def _editable(request: HttpRequest) -> Any:
    """Ids of the pages that whoever asks may change."""
    pages = page_permission_policy.instances_user_has_permission_for(request.user, "change")
    return pages.values("pk")


class Waiting(Component):
    """A list of pages with a date each; nothing where there is none."""

    template_name = "education/panels/waiting.html"
    heading: ClassVar[str]
    dated: ClassVar[str]

    def rows(self, request: HttpRequest) -> list[tuple[Page, date | None]]:
        raise NotImplementedError

    def get_context_data(self, parent_context: Mapping[str, Any] | None = None) -> dict[str, Any]:
        rows = self.rows((parent_context or {})["request"])
        return {
            "id": self.name,
            "heading": self.heading,
            "dated": self.dated,
            "rows": rows[:MOST],
            "more": len(rows) - MOST,
        }


class DueForReview(Waiting):
    """Published pages whose day of review has passed, the longest overdue first."""

    name = "due_for_review"
    heading = "Due for review"
    dated = "was due on"
    order = 120

    def rows(self, request: HttpRequest) -> list[tuple[Page, date | None]]:
        mine, today = _editable(request), timezone.localdate()
        due = chain.from_iterable(
            kind.objects.live().filter(pk__in=mine, next_review__lt=today) for kind in KINDS
        )
        return sorted(((page, page.next_review) for page in due), key=lambda row: row[1])


class Drafts(Waiting):
    """Pages of which something is written but not published, the latest change first."""

    name = "drafts_not_published"
    heading = "Drafts not published"
    dated = "changed on"
    order = 130

    def rows(self, request: HttpRequest) -> list[tuple[Page, date | None]]:
        drafts = Page.objects.filter(pk__in=_editable(request), has_unpublished_changes=True)
        return [
            (page, page.latest_revision_created_at)
            for page in drafts.order_by("-latest_revision_created_at")
        ]
