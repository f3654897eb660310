"""What waits for staff, on the first page of the admin and above its reviews."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import template
from django.core.cache import cache
from django.http import HttpRequest
from django.utils import timezone

from predictions.admin.common import unreviewed
from predictions.ids import first_uuid7
from predictions.models import Prediction, Status
from predictions.services.registry import in_production
from predictions.services.reviewing import WAITING_KEY, next_to_review

register = template.Library()

# More than these nobody reads in a day, and to count a million takes too long.
MOST = 1000
WAITING_SECONDS = 20


def _capped(rows: Any) -> str:
    count = rows.order_by()[: MOST + 1].count()
    return f"{MOST:,}+" if count > MOST else str(count)


@register.simple_tag
def waiting_for_review(request: HttpRequest) -> dict[str, Any]:
    """How many results wait and which comes first; empty for those who may not review."""
    if not request.user.has_perms(["predictions.add_review", "predictions.view_prediction"]):
        return {}
    rows = unreviewed(Prediction.objects.filter(scan__deleted_at__isnull=True))
    first = next_to_review(rows=rows.order_by("-pk"), reviewer=request.user)  # type: ignore[arg-type]  # staff
    count = cache.get(WAITING_KEY) if first else "0"
    if not count:
        count = _capped(rows)
        cache.set(WAITING_KEY, count, WAITING_SECONDS)
    return {"first": first, "count": count}


@register.simple_tag
def failed_today(request: HttpRequest) -> str:
    """How many runs of the last 24 hours failed; empty for those who may not see them."""
    if not request.user.has_perm("predictions.view_prediction"):
        return ""
    day_ago = first_uuid7(timezone.now() - timedelta(days=1))
    runs = Prediction.objects.filter(status=Status.FAILED, pk__gte=day_ago)
    return _capped(runs.filter(scan__deleted_at__isnull=True))


@register.simple_tag
def network_in_production(request: HttpRequest) -> Any:
    """The network that answers, if there is one, as `network`; empty for those who may not know."""
    if not request.user.has_perm("predictions.view_modelversion"):
        return {}
    return {"network": in_production()}
