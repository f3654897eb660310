from django.apps import AppConfig


class PredictionsConfig(AppConfig):
    name = "predictions"

    def ready(self) -> None:
        from predictions import gauges, tasks, worker  # noqa: F401  # registers the tasks

        worker.connect()
        gauges.connect()
