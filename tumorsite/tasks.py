"""Scheduled work for the pages, which know nothing of queues."""

from django.core.management import call_command

from predictions.queueing import project_task


@project_task()
def publish_scheduled() -> None:
    """Publish the pages whose time has come, and take away those whose time is over."""
    call_command("publish_scheduled")
