from django.apps import AppConfig


class MltasksConfig(AppConfig):
    name = "mltasks"
