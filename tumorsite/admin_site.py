"""The admin, in which no column can be read that it does not show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

if TYPE_CHECKING:
    AdminBase = admin.ModelAdmin[Any]
else:
    AdminBase = object


class OfferedLookups(AdminBase):
    """Lists can be filtered by their own filters only.

    Django lets an address ask for any column of the model, as `?session_key__startswith=a`: whoever
    may look at a list could find out, letter by letter, what it does not show.
    """

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        filters: Iterable[Any] = self.get_list_filter(request)
        offered = {
            getattr(name, "parameter_name", name)
            for name in (one[0] if isinstance(one, tuple) else one for one in filters)
        }
        # Django's own rule rejects lookups that go beyond the offered column.
        return lookup.partition("__")[0] in offered and super().lookup_allowed(
            lookup, value, request
        )


class Site(admin.AdminSite):
    """Applies this to every list, those of the packages included."""

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        base = admin_class or admin.ModelAdmin
        guarded = type(base.__name__, (OfferedLookups, base), {"__module__": base.__module__})
        super().register(model_or_iterable, guarded, **options)
