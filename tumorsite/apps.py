from django.apps import AppConfig


class TumorSiteConfig(AppConfig):
    name = "tumorsite"

    def ready(self) -> None:
        # First, so that the tasks of all other applications belong to it.
        from tumorsite import celery  # noqa: F401
        from tumorsite.observability import jobs, sentry

        jobs.connect()
        sentry.begin()
