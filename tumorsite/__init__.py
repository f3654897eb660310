"""The Django project: settings, URLs, Celery application, base templates and health.

`celery -A tumorsite` finds the application in `tumorsite.celery`. It is not imported here, as the
probe of containers, which must answer within a second, needs nothing of it.
"""
