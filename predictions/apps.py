from django.apps import AppConfig


class PredictionsConfig(AppConfig):
    name = "predictions"

    def ready(self) -> None:
        from predictions import tasks, worker  # noqa: F401  # registers the tasks

        worker.connect()
