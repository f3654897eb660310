"""Wagtail's editor, documents and pages, and the pages' search and pictures."""

from csp.constants import UNSAFE_INLINE
from csp.decorators import csp_update
from django.urls import include, path
from wagtail import urls as wagtail_urls
from wagtail.admin import urls as wagtailadmin_urls
from wagtail.documents import urls as wagtaildocs_urls
from wagtail.utils.urlpatterns import decorate_urlpatterns

from education import views

# The text editor (Draft.js) writes style attributes. Scripts stay as strict as everywhere:
# see static/education/cms.js.
loosened = csp_update({"style-src": [UNSAFE_INLINE]})

urlpatterns = [
    path("cms/", include(decorate_urlpatterns(wagtailadmin_urls.urlpatterns, loosened))),
    path("documents/", include(wagtaildocs_urls)),
    path("media/<path:name>", views.media, name="media"),
    path("learn/search/", views.search, name="learn_search"),
    # Wagtail answers to any path below its own, so it comes last.
    path("learn/", include(wagtail_urls)),
]
