"""The Django project: settings, URLs, Celery application, base templates and health."""

from tumorsite.celery import app as celery_app

__all__ = ["celery_app"]
