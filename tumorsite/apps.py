from django.apps import AppConfig


class TumorSiteConfig(AppConfig):
    name = "tumorsite"

    def ready(self) -> None:
        from tumorsite.observability import jobs, sentry

        jobs.connect()
        sentry.begin()
