from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps
from django.core.signals import request_finished


class TumorSiteConfig(AppConfig):
    default = True
    name = "tumorsite"

    def ready(self) -> None:
        # First, so that the tasks of all other applications belong to it.
        from tumorsite import celery  # noqa: F401
        from tumorsite.observability import context, jobs, sentry

        request_finished.connect(context.end_request)
        jobs.connect()
        sentry.begin()


class SiteAdminConfig(admin_apps.AdminConfig):
    """Django's admin, with a site of ours."""

    default = False
    default_site = "tumorsite.admin_site.Site"
