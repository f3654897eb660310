"""The Celery application. Nothing imported here may start threads or load a network."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tumorsite.settings")

app = Celery("tumorsite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
