"""Search, and the pictures of the pages."""

import mimetypes

from django.core.files.storage import default_storage
from django.core.paginator import Paginator
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe

from education import pictures
from education.models import LearnIndexPage
from education.search import MAX_QUERY, search as find_pages, snippet, words_of

RESULTS_PER_PAGE = 10


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    query = request.GET.get("q", "").replace("\0", "").strip()[:MAX_QUERY]
    words = words_of(query)
    found = Paginator(find_pages(words), RESULTS_PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "query": query,
        "words": words,
        "found": found,
        "results": [(page, snippet(page, words)) for page in found],
        "index": LearnIndexPage.objects.live().first(),
    }
    return render(request, "education/search.html", context)


@require_safe
def media(request: HttpRequest, name: str) -> HttpResponseBase:
    """A picture as a published page shows it to anyone; any other, and originals, to editors only.

    A file name is never used twice, so what is public may be kept for ever.
    """
    known = pictures.find(name)
    if known is None:
        raise Http404
    if known.shown and pictures.is_published(known.picture):
        caching = "public, max-age=31536000, immutable"
    elif pictures.may_edit(request):
        caching = "private, no-cache"
    else:
        raise Http404
    response = get_conditional_response(request, etag=known.etag) or _stream(name)
    response["Cache-Control"] = caching
    response["ETag"] = known.etag
    return response


def _stream(name: str) -> HttpResponseBase:
    try:
        stream = default_storage.open(name)
    except FileNotFoundError:
        raise Http404 from None
    kind, _ = mimetypes.guess_type(name)
    return FileResponse(stream, content_type=kind or "application/octet-stream")
