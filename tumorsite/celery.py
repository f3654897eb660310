"""The Celery application. Nothing imported here may start threads or load a network."""

import os
from typing import Any

from celery import Celery
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tumorsite.settings")


class Application(Celery):
    """Sends with little patience: the sweeper sends what was not sent.

    Workers wait for messages on connections of another kind.
    """

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        patience = {**settings.PUBLISH_OPTIONS, **(options.pop("transport_options", None) or {})}
        return super().connection_for_write(url, transport_options=patience, **options)


app = Application("tumorsite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
