"""Closes the page editor's own ways to delete accounts: there is only one way, with erasure."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from wagtail import hooks

from accounts.models import User

INSTEAD = "Accounts are deleted in the admin, which erases their scans and pictures as well."


@hooks.register("before_delete_user")
def delete_in_the_admin(request: HttpRequest, user: User) -> HttpResponse:
    messages.warning(request, INSTEAD)
    return redirect("admin:accounts_user_delete", user.pk)


@hooks.register("before_bulk_action")
def delete_many_in_the_admin(
    request: HttpRequest, action_type: str, objects: list[Any], action: Any
) -> HttpResponse | None:
    if action_type != "delete" or not any(isinstance(chosen, User) for chosen in objects):
        return None
    messages.warning(request, INSTEAD)
    return redirect("admin:accounts_user_changelist")
