"""People get everything the site holds about them."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from uuid import UUID, uuid4
from zipfile import ZipFile

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts import selectors
from accounts.models import User
from accounts.selectors import exported_facts
from accounts.services import export
from accounts.services.adoption import adopt_visitor
from accounts.services.export import export_account
from accounts.tests.support import add_second_factor, confirm, sign_in, verified
from predictions import storage
from predictions.models import Access, ModelVersion, Prediction, Review
from predictions.services.auditing import record_access
from tests.support.records import finish, make_user, submit

pytestmark = [pytest.mark.data_layer, pytest.mark.django_db]


@pytest.fixture
def ada() -> User:
    return verified()


@pytest.fixture
def answered(ada: User, model: ModelVersion) -> Prediction:
    return finish(submit(owner=ada, name="my head.png"))


def fetch(client: Client) -> Any:
    sign_in(client)
    confirm(client)
    return client.post(reverse("account_export"))


def opened(answer: StreamingHttpResponse) -> ZipFile:
    return ZipFile(io.BytesIO(b"".join(answer.streaming_content)))  # type: ignore[arg-type]  # a sync stream


def archive_of(user: User) -> ZipFile:
    return ZipFile(io.BytesIO(b"".join(export_account(user=user))))


def data_of(user: User) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(archive_of(user).read("tumorsite-data/data.json"))
    return found


def test_the_zip_holds_everything(client: Client, ada: User, answered: Prediction) -> None:
    add_second_factor(ada)
    visitor = uuid4()
    earlier = finish(submit(visitor=visitor, seed=2))
    record_access(prediction=earlier, kind="image", user=None, visitor=visitor)
    adopt_visitor(visitor=visitor, user=ada)
    doctor = make_user("doctor@example.org", is_staff=True)
    Review.objects.create(prediction=answered, reviewer=doctor, comment="I see it too.")
    record_access(prediction=answered, kind="attention", user=doctor, visitor=None)
    record_access(prediction=answered, kind="report", user=ada, visitor=None)
    Review.objects.create(prediction=earlier, reviewer=ada)
    Review.objects.create(prediction=earlier, reviewer=doctor, comment="For others.")

    data = data_of(ada)
    assert data["account"]["email"] == "ada@example.org"
    assert data["account"]["addresses"][0]["verified"] is True
    assert {factor["kind"] for factor in data["account"]["second_factors"]} == {
        "totp", "recovery_codes",
    }  # fmt: skip
    # Her own alone.
    [written] = data["account"]["reviews_written"]
    assert (written["prediction"], written["comment"]) == (str(earlier.pk), "")
    by_id = {scan["id"]: scan for scan in data["scans"]}
    scan = by_id[str(answered.scan_id)]
    assert scan["name"] == "my head.png"
    run = scan["predictions"][0]
    assert run["label"] == "glioma"
    assert run["probabilities"]["glioma"] == pytest.approx(0.9)
    assert run["reviews"][0]["comment"] == "I see it too."
    assert [(row["what"], row["to"]) for row in scan["handed_out"]] == [
        ("attention", "staff"),
        ("report", "you"),
    ]
    assert by_id[str(earlier.scan_id)]["handed_out"][0]["to"] == "you"
    assert "doctor@example.org" not in json.dumps(data)


def test_its_table_and_pictures(client: Client, ada: User, answered: Prediction) -> None:
    answer = fetch(client)
    assert answer["Content-Type"] == "application/zip"
    assert answer["Content-Disposition"].startswith('attachment; filename="tumorsite-data-')
    assert "no-store" in answer["Cache-Control"]
    archive = opened(answer)
    assert archive.testzip() is None
    names = {name.removeprefix("tumorsite-data/") for name in archive.namelist()}
    folder = f"scans/{answered.scan_id}"
    assert names == {
        "data.json", "history.csv", "README.txt", f"{folder}/image.png", f"{folder}/thumbnail.png",
        *(
            f"{folder}/{answered.pk}/{name}"
            for name in ("area.png", "outline.svg", "contours.svg", "attention.png")
        ),
    }  # fmt: skip
    image = archive.read(f"tumorsite-data/{folder}/image.png")
    assert image == storage.get(answered.scan.image_key)
    text = archive.read("tumorsite-data/history.csv").decode("utf-8-sig")
    table = list(csv.DictReader(io.StringIO(text)))
    assert table[0]["prediction"] == str(answered.pk)
    assert table[0]["finding"] == "glioma"
    assert "could not be found" not in archive.read("tumorsite-data/README.txt").decode()


def test_the_pictures_in_it_are_written_down(
    client: Client, ada: User, answered: Prediction
) -> None:
    submit(owner=make_user("bob@example.org"), seed=5)
    opened(fetch(client))
    (access,) = Access.objects.all()
    assert (access.scan_id, access.kind, access.user) == (answered.scan_id, "export", ada)
    data = json.loads(opened(fetch(client)).read("tumorsite-data/data.json"))
    assert [row["what"] for row in data["scans"][0]["handed_out"]] == ["export"]


def test_nobody_elses_scans_are_in_it(ada: User, answered: Prediction) -> None:
    other = finish(submit(owner=make_user("bob@example.org"), seed=5))
    finish(submit(visitor=uuid4(), seed=6))
    archive = archive_of(ada)
    text = "".join(archive.namelist()) + archive.read("tumorsite-data/data.json").decode()
    assert str(other.scan_id) not in text
    assert {UUID(scan["id"]) for scan in data_of(ada)["scans"]} == {answered.scan_id}


def test_an_account_without_scans(ada: User) -> None:
    assert data_of(ada)["scans"] == []


def test_a_lost_picture_is_named(ada: User, answered: Prediction) -> None:
    storage.delete(answered.area_key)
    readme = archive_of(ada).read("tumorsite-data/README.txt").decode()
    assert f"scans/{answered.scan_id}/{answered.pk}/area.png" in readme


def test_it_is_sent_before_the_pictures_are_read(
    ada: User, model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands before the site waits a minute for the first piece, and no longer."""
    for seed in range(3):
        submit(owner=ada, seed=seed)
    read: list[str] = []
    get = storage.get

    def noted(key: str) -> bytes:
        read.append(key)
        return get(key)

    monkeypatch.setattr(storage, "get", noted)
    pieces = export_account(user=ada)
    first = next(piece for piece in pieces if piece)
    assert len(read) == 1, "to see whether the store answers"
    rest = [piece for piece in pieces if piece]
    assert len(read) == 1 + 6
    assert len(rest) >= 6, "piece by piece"
    assert ZipFile(io.BytesIO(first + b"".join(rest))).testzip() is None


def test_an_outage_on_the_way_leaves_out_pictures_and_names_them(
    ada: User, model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = [submit(owner=ada, seed=seed).scan for seed in range(6)]
    asked = 0
    get = storage.get

    def failing(key: str) -> bytes:
        nonlocal asked
        asked += 1
        if asked > 2:
            raise storage.StorageUnavailableError("down")
        return get(key)

    monkeypatch.setattr(storage, "get", failing)
    archive = archive_of(ada)
    assert archive.testzip() is None
    assert asked == 2 + export.MOST_FAILURES, "no more, as each takes its time"
    names = archive.namelist()
    readme = archive.read("tumorsite-data/README.txt").decode()
    assert f"tumorsite-data/scans/{scans[-1].pk}/image.png" in names
    for scan in scans[:-1]:
        assert f"scans/{scan.pk}/image.png\n" in readme
    assert len(names) == 3 + 1
    assert len(json.loads(archive.read("tumorsite-data/data.json"))["scans"]) == 6


def test_its_records_take_as_many_queries_for_any_number_of_scans(
    ada: User, model: ModelVersion, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    def facts() -> list[UUID]:
        return [scan["id"] for scan in exported_facts(ada)]

    submit(owner=ada)
    with CaptureQueriesContext(connection) as few:
        facts()
    newer = [submit(owner=ada, seed=seed).scan_id for seed in range(1, 5)]
    with django_assert_num_queries(len(few)):
        assert set(newer) < set(facts())


def test_every_scan_is_in_it_however_many(
    ada: User, model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selectors, "CHUNK", 2)
    scans = {submit(owner=ada, seed=seed).scan_id for seed in range(5)}
    found = [scan["id"] for scan in exported_facts(ada)]
    assert len(found) == 5
    assert set(found) == scans
    table = list(csv.DictReader("".join(export._csv(ada)).splitlines()))
    assert sorted(row["scan"] for row in table) == sorted(map(str, scans))


def test_an_outage_gives_an_error_not_half_a_zip(
    client: Client, ada: User, answered: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(key: str) -> bytes:
        raise storage.StorageUnavailableError("down")

    monkeypatch.setattr(storage, "get", broken)
    answer: HttpResponse = fetch(client)
    assert answer.status_code == 503
    assert b"cannot be collected at the moment" in answer.content


def test_it_asks_for_the_password_first(client: Client, ada: User, answered: Prediction) -> None:
    assert reverse("account_login") in client.post(reverse("account_export"))["Location"]
    sign_in(client)
    answer = client.get(reverse("account_export"))
    assert reverse("account_reauthenticate") in answer["Location"]
    confirm(client)
    assert b"1 scan" in client.get(reverse("account_export")).content
    assert not Access.objects.exists()
    assert EmailAddress.objects.count() == 1
