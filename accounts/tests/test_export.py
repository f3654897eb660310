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
from django.http import FileResponse, HttpResponse
from django.test import Client
from django.urls import reverse

from accounts.models import User
from accounts.services import export
from accounts.services.adoption import adopt_visitor
from accounts.services.export import export_account
from accounts.tests.support import add_second_factor, confirm, sign_in, verified
from predictions import storage
from predictions.models import Access, ModelVersion, Prediction, Review
from predictions.services.auditing import record_access
from tests.support.records import finish, make_user, submit

pytestmark = pytest.mark.django_db


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


def opened(answer: FileResponse) -> ZipFile:
    return ZipFile(io.BytesIO(b"".join(answer.streaming_content)))  # type: ignore[arg-type]  # a sync stream


def data_of(user: User) -> dict[str, Any]:
    with export_account(user=user) as file, ZipFile(file) as archive:
        found: dict[str, Any] = json.loads(archive.read("tumorsite-data/data.json"))
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

    data = data_of(ada)
    assert data["account"]["email"] == "ada@example.org"
    assert data["account"]["addresses"][0]["verified"] is True
    assert {factor["kind"] for factor in data["account"]["second_factors"]} == {
        "totp", "recovery_codes",
    }  # fmt: skip
    assert data["account"]["reviews_written"][0]["prediction"] == str(earlier.pk)
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
            f"{folder}/{answered.pk}/{kind}.png"
            for kind in ("area", "outline", "contours", "attention")
        ),
    }  # fmt: skip
    image = archive.read(f"tumorsite-data/{folder}/image.png")
    assert image == storage.get(answered.scan.image_key)
    text = archive.read("tumorsite-data/history.csv").decode("utf-8-sig")
    table = list(csv.DictReader(io.StringIO(text)))
    assert table[0]["prediction"] == str(answered.pk)
    assert table[0]["finding"] == "glioma"
    assert "could not be found" not in archive.read("tumorsite-data/README.txt").decode()


def test_nobody_elses_scans_are_in_it(ada: User, answered: Prediction) -> None:
    other = finish(submit(owner=make_user("bob@example.org"), seed=5))
    finish(submit(visitor=uuid4(), seed=6))
    with export_account(user=ada) as file, ZipFile(file) as archive:
        text = "".join(archive.namelist()) + archive.read("tumorsite-data/data.json").decode()
    assert str(other.scan_id) not in text
    assert {UUID(scan["id"]) for scan in data_of(ada)["scans"]} == {answered.scan_id}


def test_an_account_without_scans(ada: User) -> None:
    assert data_of(ada)["scans"] == []


def test_a_lost_picture_is_named(ada: User, answered: Prediction) -> None:
    storage.delete(answered.area_key)
    with export_account(user=ada) as file, ZipFile(file) as archive:
        readme = archive.read("tumorsite-data/README.txt").decode()
    assert f"scans/{answered.scan_id}/{answered.pk}/area.png" in readme


@pytest.mark.parametrize("fault", [storage.StorageUnavailableError("down"), OSError("disk full")])
def test_an_outage_gives_an_error_not_half_a_zip(
    client: Client,
    ada: User,
    answered: Prediction,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
) -> None:
    def broken(key: str) -> bytes:
        raise fault

    monkeypatch.setattr(export.storage, "get", broken)
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
