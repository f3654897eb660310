"""Scheduled work about people: old sessions, late uploads, erasures under way."""

from django.core.management import call_command

from accounts.services import adoption, erasure
from predictions.task import project_task


@project_task()
def clear_sessions() -> None:
    call_command("clearsessions")


@project_task()
def adopt_strays() -> None:
    adoption.adopt_strays()


@project_task(name=erasure.FINISH)
def finish_erasures() -> None:
    erasure.finish_erasures()
