"""Errors in the form that the caller can read."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render


def wants_json(request: HttpRequest) -> bool:
    """Whether the caller prefers JSON, as scripts do, to a page."""
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def problem(
    request: HttpRequest, status: int, message: str, *, template: str = "", **more: str
) -> HttpResponse:
    """An error as the caller can read it: a page, or JSON with the message.

    Args:
        template: the page, if not the usual `<status>.html`.
        more: what that page is told beside the message.
    """
    if wants_json(request):
        return JsonResponse({"error": message}, status=status)
    context = {"message": message, "status": status, **more}
    return render(request, template or f"{status}.html", context, status=status)
