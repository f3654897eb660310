"""Visitors of the pages."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from django.test import Client

from predictions.models import ModelVersion, Prediction
from predictions.owners import SESSION_KEY
from tests.support.records import submit


def sign_visitor_in(client: Client, visitor: UUID) -> None:
    """Give the client the browser session of a visitor without an account."""
    session = client.session
    session[SESSION_KEY] = str(visitor)
    session.save()


@pytest.fixture
def visitor() -> UUID:
    return uuid4()


@pytest.fixture
def visitor_client(db: None, visitor: UUID) -> Client:
    """The browser of `visitor`."""
    client = Client()
    sign_visitor_in(client, visitor)
    return client


@pytest.fixture
def mine(model: ModelVersion, visitor: UUID) -> Prediction:
    """A queued prediction of `visitor`."""
    return submit(visitor=visitor, name="mine.png")
