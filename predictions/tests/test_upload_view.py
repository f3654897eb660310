"""Uploads over HTTP: what is taken, and what each fault is told."""

from __future__ import annotations

import io
import re
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.models import Session
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import InterfaceError, OperationalError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from predictions import owners, storage
from predictions.models import ModelVersion, Prediction, Scan
from predictions.owners import SESSION_KEY
from predictions.services import submission
from tests.support.dicom import NAME, dicom
from tests.support.pictures import png
from tests.support.records import finish, make_user

pytestmark = pytest.mark.django_db
JSON = {"accept": "application/json"}


def file(content: bytes | None = None, name: str = "slice.png") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, png() if content is None else content, "image/png")


def post(client: Client, *files: SimpleUploadedFile, json: bool = True, **extra: Any) -> Any:
    headers = JSON if json else {"accept": "text/html"}
    return client.post("/scans/", {"images": list(files)}, headers=headers, **extra)


@pytest.mark.usefixtures("model")
class TestTaken:
    def test_a_script_is_told_where_to_look(self, client: Client) -> None:
        answer = post(client, file())
        assert answer.status_code == 201
        [result] = answer.json()["results"]
        assert result["name"] == "slice.png"
        assert client.get(result["url"]).status_code == 200
        assert client.get(result["state_url"]).json()["status"] == "queued"
        assert Scan.objects.get().visitor is not None

    def test_a_person_is_sent_to_the_result(self, client: Client) -> None:
        answer = post(client, file(), json=False)
        assert answer.status_code == 302
        assert answer["Location"] == Prediction.objects.get().get_absolute_url()

    def test_of_a_dicom_file_only_its_pixels_are_kept(self, client: Client) -> None:
        pixels = np.linspace(0, 255, 1200).reshape(30, 40).astype(np.uint8)
        content = dicom(pixels, WindowCenter=128, WindowWidth=256)
        assert NAME.encode() in content
        assert post(client, file(content, "IM000001")).status_code == 201
        scan = Scan.objects.get()
        assert np.abs(storage.pixels(scan.image_key).astype(int) - pixels).max() <= 1
        assert scan.facts == {
            "format": "DICOM", "orientation": 1, "stored_size": [40, 30], "colour": False,
        }  # fmt: skip
        for name, _ in storage.walk(scan.prefix):
            assert b"Erika" not in storage.get(name)

    def test_several_go_to_the_history(self, client: Client) -> None:
        answer = post(client, file(png(seed=1)), file(png(seed=2)), json=False)
        assert answer["Location"] == "/scans/"
        assert Scan.objects.count() == 2
        assert len(set(Scan.objects.values_list("visitor", flat=True))) == 1

    def test_without_scripts_the_history_reloads_while_something_waits(
        self, client: Client
    ) -> None:
        def reload(page: bytes) -> list[str]:
            return re.findall(r'http-equiv="refresh"\s+content="(\d+)"', page.decode())

        post(client, file(png(seed=1)), file(png(seed=2)), file(b"", name="no.png"), json=False)
        assert reload(client.get("/scans/").content) == ["60"], "time to read the fault"
        assert reload(client.get("/scans/").content) == ["20"]
        assert reload(client.get("/scans/?name=a").content) == [], "whoever looks is not disturbed"
        for row in Prediction.objects.all():
            finish(row)
        assert reload(client.get("/scans/").content) == []

    def test_a_bad_file_does_not_stop_the_others(self, client: Client) -> None:
        answer = post(client, file(), file(b"", name="empty.png"))
        assert answer.status_code == 201
        assert len(answer.json()["results"]) == 1
        [fault] = answer.json()["errors"]
        assert fault == {"name": "empty.png", "message": "This file is empty."}

    def test_a_person_reads_of_the_bad_file_on_the_next_page(self, client: Client) -> None:
        answer = post(client, file(), file(b"", name="empty.png"), json=False)
        page = client.get(answer["Location"])
        assert "empty.png: This file is empty." in page.content.decode()

    def test_a_fault_beside_one_good_picture_stays_to_be_read(self, client: Client) -> None:
        """The page that waits for the answer reloads itself."""
        answer = post(client, file(), file(b"", name="empty.png"), json=False)
        assert answer["Location"] == "/scans/"

    def test_the_visit_lasts_as_long_as_the_scan(
        self, client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.ANONYMOUS_RETENTION_DAYS = 90
        for day in range(2):
            at = timezone.now() + timedelta(days=day)
            monkeypatch.setattr(owners.timezone, "now", lambda at=at: at)
            cookie = post(client, file(png(seed=day))).cookies["sessionid"]
            assert cookie["max-age"] == 91 * 86400
            again = post(client, file(png(seed=9 + day)))
            assert not again.cookies, "it might come after the cookie of a sign-in"
        assert client.session.get_expiry_age() > 90 * 86400

    def test_an_account_owns_it_and_starts_no_visit(self, client: Client) -> None:
        user = make_user()
        client.force_login(user)
        post(client, file())
        assert Scan.objects.get().owner == user
        assert SESSION_KEY not in client.session


@pytest.mark.usefixtures("model")
class TestSessionGone:
    """The browser has signed in, or out, while this request was under way."""

    @pytest.fixture
    def late(self, client: Client) -> Client:
        """Sends the cookie of a session that there is no more."""
        post(client, file())
        Session.objects.all().delete()
        return client

    def test_a_script_is_told_to_come_again(self, late: Client) -> None:
        answer = post(late, file(png(seed=1)))
        assert answer.status_code == 409
        assert answer.json()["code"] == "session_gone"
        assert not answer.cookies, "it would take the place of the new session"
        assert Scan.objects.count() == 1

    def test_a_page_without_scripts_begins_anew(self, late: Client) -> None:
        answer = post(late, file(png(seed=1)), json=False)
        assert late.get(answer["Location"]).status_code == 200
        assert len(set(Scan.objects.values_list("visitor", flat=True))) == 2

    def test_what_only_looks_leaves_the_cookie(self, late: Client) -> None:
        for path in ("/", "/scans/", Prediction.objects.get().get_absolute_url()):
            assert "sessionid" not in late.get(path).cookies

    @pytest.mark.parametrize("json", [True, False])
    def test_it_goes_while_the_visit_is_renewed(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, json: bool
    ) -> None:
        post(client, file())

        def gone(*args: Any) -> None:
            Session.objects.all().delete()

        session = client.session
        del session[owners.RENEWED_KEY]
        session.save()
        monkeypatch.setattr(SessionBase, "set_expiry", gone)
        answer = post(client, file(png(seed=1)), json=json)
        assert answer.status_code == 409
        assert "signed in or out" in answer.content.decode()
        assert Scan.objects.count() == 1

    def test_a_script_gets_session_and_token_beforehand(self, late: Client) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = late.cookies
        token = strict.get(reverse("visit"), headers=JSON).json()["token"]
        answer = strict.post(
            "/scans/", {"images": [file()]}, headers={**JSON, "x-csrftoken": token}
        )
        assert answer.status_code == 201
        assert "sessionid" not in answer.cookies
        visitor = strict.session[SESSION_KEY]
        assert Scan.objects.filter(visitor=visitor).count() == 1

    def test_an_account_gets_the_token_alone(self, client: Client) -> None:
        client.force_login(make_user())
        assert client.get(reverse("visit"), headers=JSON).json()["token"]
        assert SESSION_KEY not in client.session


@pytest.mark.usefixtures("model")
class TestRefused:
    @pytest.mark.parametrize("json", [True, False])
    def test_no_file(self, client: Client, json: bool) -> None:
        answer = post(client, json=json)
        assert answer.status_code == 400
        assert "No picture was chosen" in answer.content.decode()

    def test_too_many_files(self, client: Client) -> None:
        answer = post(client, *(file(png(seed=n)) for n in range(11)))
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["message"] == "Please send up to 10 pictures at once."
        assert Scan.objects.count() == 0

    def test_a_file_that_is_no_picture(self, client: Client) -> None:
        answer = post(client, file(b"hello, I am text", name="brain.jpg"))
        assert answer.status_code == 422
        assert "not a picture we can read" in answer.json()["errors"][0]["message"]

    def test_a_person_sees_the_fault_on_the_form(self, client: Client) -> None:
        answer = post(client, file(b"<b>text</b>", name="<b>brain.jpg"), json=False)
        assert answer.status_code == 422
        page = answer.content.decode()
        assert "not a picture we can read" in page
        assert "&lt;b&gt;brain.jpg" in page
        assert "<b>brain.jpg" not in page

    def test_a_file_above_the_limit(self, client: Client, settings: Settings) -> None:
        settings.MAX_UPLOAD_BYTES = 1024 * 1024
        answer = post(client, file(png() + b"\0" * 1024 * 1024))
        assert answer.status_code == 413
        assert answer.json()["errors"][0]["message"] == "This file is larger than 1 MB."

    @pytest.mark.parametrize("json", [True, False])
    def test_a_body_far_above_the_limit_is_refused_unread(
        self, client: Client, settings: Settings, json: bool
    ) -> None:
        settings.MAX_UPLOAD_BYTES = 1024 * 1024
        answer = post(client, file(b"\0" * 11 * 1024 * 1024), json=json)
        assert answer.status_code == 413
        assert "up to 1 MB" in answer.content.decode()

    def test_a_hundred_megabytes(self, client: Client) -> None:
        answer = post(client, file(png() + b"\0" * 100 * 1024 * 1024))
        assert answer.status_code == 413
        assert answer.json()["errors"][0]["message"] == "This file is larger than 20 MB."
        assert Scan.objects.count() == 0

    def test_a_store_that_is_down(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(name: str, content: bytes) -> None:
            raise storage.StorageUnavailableError

        monkeypatch.setattr(storage, "put", refuse)
        for json in (True, False):
            answer = post(client, file(), json=json)
            assert answer.status_code == 503
            assert "cannot store pictures at the moment" in answer.content.decode()
        assert Scan.objects.count() == 0

    @pytest.mark.parametrize("fault", [OperationalError("locked"), InterfaceError("closed")])
    def test_records_that_cannot_be_written(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, fault: Exception
    ) -> None:
        """What is in before stays reachable, by a visitor who has come just now as well."""
        save, saved = Scan.save, []

        def refuse_second(scan: Scan, **options: Any) -> None:
            saved.append(scan)
            if len(saved) > 1:
                raise fault
            save(scan, **options)

        monkeypatch.setattr(Scan, "save", refuse_second)
        answer = post(client, file(png(seed=1)), file(png(seed=2)))
        assert answer.status_code == 201
        [result], [said] = answer.json()["results"], answer.json()["errors"]
        assert client.get(result["url"]).status_code == 200
        assert "cannot record pictures at the moment" in said["message"]
        assert post(client, file(png(seed=3))).status_code == 503
        assert not list(storage.walk(saved[1].prefix))

    @pytest.mark.parametrize("bad_first", [False, True])
    def test_of_several_faults_the_stores_counts(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, bad_first: bool
    ) -> None:
        def refuse(name: str, content: bytes) -> None:
            raise storage.StorageUnavailableError

        monkeypatch.setattr(storage, "put", refuse)
        files = [file(), file(b"text")]
        answer = post(client, *(files[::-1] if bad_first else files))
        assert answer.status_code == 503
        assert len(answer.json()["errors"]) == 2

    def test_a_large_picture_while_others_are_read(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(submission, "LARGE_WAIT", 0.05)
        large = png(2100, 2000)
        with submission._large_turn:
            answer = post(client, file(large))
            assert post(client, file()).status_code == 201, "small ones need no turn"
        assert answer.status_code == 503
        assert "Many large pictures" in answer.json()["errors"][0]["message"]
        assert Scan.objects.count() == 1
        assert post(client, file(large)).status_code == 201
        assert not submission._large_turn.locked()

    def test_a_form_that_has_expired(self) -> None:
        client = Client(enforce_csrf_checks=True)
        answer = post(client, file(), json=False)
        assert answer.status_code == 403
        assert "This form has expired" in answer.content.decode()
        assert "expired" in post(client, file()).json()["error"]
        assert Scan.objects.count() == 0

    def test_a_form_with_its_token_passes(self) -> None:
        client = Client(enforce_csrf_checks=True)
        client.get("/")
        token = client.cookies["csrftoken"].value
        answer = client.post(
            "/scans/", {"images": [file()]}, headers={**JSON, "x-csrftoken": token}
        )
        assert answer.status_code == 201

    def test_other_methods(self, client: Client) -> None:
        assert client.put("/scans/").status_code == 405
        assert client.delete("/scans/").status_code == 405


def test_without_a_network_in_service(client: Client, db: None) -> None:
    answer = post(client, file())
    assert answer.status_code == 503
    assert "No network is in service" in answer.json()["errors"][0]["message"]


NAMES = [
    "../../etc/passwd.png",
    "..\\..\\windows\\x.png",
    "brain 🧠👩‍⚕️.png",
    "x" * 296 + ".png",
    "\u202egnp.nairb.png",
    "a\r\nSet-Cookie: x=1.png",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_is_taken_and_shown_harmlessly(
    client: Client, model: ModelVersion, name: str
) -> None:
    upload = io.BytesIO(png())
    upload.name = name
    answer = client.post("/scans/", {"images": [upload]}, headers=JSON)
    assert answer.status_code == 201
    scan = Scan.objects.get()
    assert scan.image_key == f"scans/{scan.pk}/image.png"
    assert not set(scan.name) & set("/\\\u202e\r\n\0")
    assert 0 < len(scan.name) <= 120
    assert client.get("/scans/").status_code == 200


class TestThrottle:
    def test_too_many_uploads(
        self, client: Client, model: ModelVersion, settings: Settings
    ) -> None:
        settings.SUBMISSIONS_PER_MINUTE = 2
        codes = [post(client, file(png(seed=n))).status_code for n in range(4)]
        assert codes == [201, 201, 429, 429]
        answer = post(client, file())
        assert 1 <= int(answer["Retry-After"]) <= 61
        assert "a lot of scans" in answer.json()["error"]
        assert Scan.objects.count() == 2

    def test_pictures_count_and_not_requests(
        self, client: Client, mine: Prediction, settings: Settings
    ) -> None:
        settings.SUBMISSIONS_PER_MINUTE = 3
        pair = [file(png(seed=n)) for n in range(2)]
        assert post(client, *pair).status_code == 201
        assert post(client, *pair).status_code == 429

    def test_running_again_counts_as_well(
        self, visitor_client: Client, mine: Prediction, settings: Settings
    ) -> None:
        settings.SUBMISSIONS_PER_MINUTE = 1
        address = reverse("again", args=[mine.pk])
        codes = [visitor_client.post(address).status_code for _ in range(2)]
        assert codes == [302, 429]

    def test_an_account_cannot_go_round_it_by_other_addresses(
        self, client: Client, model: ModelVersion, settings: Settings
    ) -> None:
        settings.SUBMISSIONS_PER_MINUTE = 1
        client.force_login(make_user())
        assert post(client, file(), REMOTE_ADDR="192.0.2.1").status_code == 201
        assert post(client, file(), REMOTE_ADDR="192.0.2.2").status_code == 429

    def test_ten_thousand_rapid_requests(self, client: Client, settings: Settings) -> None:
        settings.REQUESTS_PER_MINUTE = 50
        codes = [client.get("/scans/", headers=JSON).status_code for _ in range(10_000)]
        # They may straddle the ends of a few minutes on a slow machine.
        assert 50 <= codes.count(200) <= 250
        assert codes.count(429) == 10_000 - codes.count(200)
        settings.REQUESTS_PER_MINUTE = 0
        page = client.get("/scans/", headers={"accept": "text/html"})
        assert page.status_code == 429
        assert 1 <= int(page["Retry-After"]) <= 61
        assert "Too many requests" in page.content.decode()

    def test_health_is_never_throttled(self, client: Client, settings: Settings) -> None:
        settings.REQUESTS_PER_MINUTE = 0
        assert client.get("/health/live/").status_code == 200
