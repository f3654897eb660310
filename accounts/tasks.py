"""Scheduled work about people: old sessions, late uploads, erasures under way."""

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db.models import Exists, OuterRef

from accounts.services import adoption, erasure
from predictions.queueing import project_task


@project_task()
def clear_sessions() -> None:
    """Delete ended sessions, and with them the records of where and by which browser."""
    call_command("clearsessions")
    kept = Session.objects.filter(pk=OuterRef("session_key"))
    UserSession.objects.filter(~Exists(kept)).delete()


@project_task()
def adopt_strays() -> None:
    adoption.adopt_strays()


@project_task(name=erasure.FINISH)
def finish_erasures() -> None:
    erasure.finish_erasures()
