"""Errors in the form that the caller can read."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render


def wants_json(request: HttpRequest) -> bool:
    """Whether a script asks, which wants JSON, rather than a person, who wants a page."""
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def problem(request: HttpRequest, status: int, message: str, *, heading: str = "") -> HttpResponse:
    """An error as the caller can read it: the page `<status>.html`, or JSON with the message.

    Args:
        heading: in place of the page's own, where it can have another.
    """
    if wants_json(request):
        return JsonResponse({"error": message}, status=status)
    return render(
        request, f"{status}.html", {"message": message, "heading": heading}, status=status
    )
