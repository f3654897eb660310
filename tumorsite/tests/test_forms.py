"""How forms are written out."""

from __future__ import annotations

import re

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("page", ["login", "signup", "password/reset"])
def test_labels_name_their_fields_and_end_in_no_colon(client: Client, page: str) -> None:
    text = client.get(f"/account/{page}/").content.decode()
    labels = re.findall(r'<label for="(\w+)">([^<]+)</label>', text)
    assert labels
    assert len(labels) == text.count("<label")
    for field, words in labels:
        assert f'id="{field}"' in text
        assert not words.strip().endswith(":")
