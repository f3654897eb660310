"""The one map of addresses. Wagtail's pages come last, as they answer to any path."""

from collections.abc import Callable

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.http.response import HttpResponseBase
from django.urls import include, path
from django.views.generic import TemplateView

from tumorsite import health, views

admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]


def _page(name: str) -> Callable[..., HttpResponseBase]:
    """A page that holds no records."""
    return TemplateView.as_view(template_name=f"pages/{name}.html")


urlpatterns = [
    path("health/", health.health, name="health"),
    path("health/live/", health.live, name="live"),
    path("", include("predictions.urls")),
    path("robots.txt", views.robots, name="robots"),
    path("favicon.ico", views.Favicon.as_view(), name="favicon"),
    path("how-it-works/", _page("how_it_works"), name="how_it_works"),
    path("privacy/", _page("privacy"), name="privacy"),
    path("terms/", _page("terms"), name="terms"),
    path("training/", include("training.urls")),
    path("account/", include("accounts.urls")),
    path("account/", include("allauth.urls")),
    path("admin/", admin.site.urls),
    path("cms/login/", views.SignIn.as_view(), {"permission": "wagtailadmin.access_admin"}),
    # Wagtail's own sign-in for readers asks for no second factor.
    path("learn/_util/login/", views.SignIn.as_view(), name="wagtailcore_login"),
    path("", include("education.urls")),
]

handler400 = views.bad_request
handler403 = views.forbidden
handler404 = views.not_found
# Django knows no handler of this name; allauth asks for it.
handler429 = views.too_many_requests
handler500 = views.server_error
