from django.apps import AppConfig
from django.core.signals import request_finished


class TumorSiteConfig(AppConfig):
    name = "tumorsite"

    def ready(self) -> None:
        # First, so that the tasks of all other applications belong to it.
        from tumorsite import celery  # noqa: F401
        from tumorsite.observability import context, jobs, sentry

        request_finished.connect(context.end_request)
        jobs.connect()
        sentry.begin()
