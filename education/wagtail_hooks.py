"""Additions to Wagtail's editor."""

from typing import Any

from django.http import Http404, HttpRequest
from django.templatetags.static import static
from django.utils.html import format_html
from wagtail import hooks
from wagtail.documents.models import Document

from education import panels, pictures


@hooks.register("insert_global_admin_js")
def widgets_without_inline_scripts() -> str:
    return format_html('<script src="{}"></script>', static("education/cms.js"))


@hooks.register("before_serve_document")
def drafts_are_for_editors(document: Document, request: HttpRequest) -> None:
    if not (pictures.is_published(document) or pictures.may_edit(request)):
        raise Http404


@hooks.register("construct_homepage_panels")
def what_waits(request: HttpRequest, shown: list[Any]) -> None:
    shown += [panels.DueForReview(), panels.Drafts()]
