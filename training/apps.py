from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"

    def ready(self) -> None:
        from training import gauges, tasks  # noqa: F401  # registers the tasks

        gauges.connect()
