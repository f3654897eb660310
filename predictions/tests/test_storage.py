"""Object storage, on a local folder and on a real S3 server: same promises."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from botocore.exceptions import EndpointConnectionError
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from pytest_django import Settings

from predictions import storage
from predictions.storage import StorageUnavailableError
from tests.support.processes import free_port
from tests.support.servers import S3
from tests.support.stores import use_folder, use_s3

pytestmark = pytest.mark.data_layer


@pytest.fixture
def key() -> str:
    return f"scans/{uuid4()}/image.png"


@pytest.mark.usefixtures("object_store")
class TestOnBoth:
    def test_what_was_put_is_got(self, key: str) -> None:
        assert not storage.exists(key)
        storage.put(key, b"pixels")
        assert storage.exists(key)
        assert storage.get(key) == b"pixels"
        assert storage.stream(key).read() == b"pixels"

    def test_an_object_is_never_overwritten(self, key: str) -> None:
        storage.put(key, b"first")
        with pytest.raises(FileExistsError):
            storage.put(key, b"second")
        assert storage.get(key) == b"first"

    def test_of_many_writers_exactly_one_wins(self, key: str) -> None:
        outcomes: list[bytes | None] = []
        gate = threading.Barrier(6)

        def write(content: bytes) -> None:
            gate.wait()
            try:
                storage.put(key, content)
            except FileExistsError:
                outcomes.append(None)
            else:
                outcomes.append(content)

        writers = [threading.Thread(target=write, args=(b"%d" % n,)) for n in range(6)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        winners = [content for content in outcomes if content is not None]
        assert len(outcomes) == 6
        assert winners == [storage.get(key)]

    def test_the_same_content_again_is_no_fault(self, key: str) -> None:
        # As when the answer to the first write was lost on its way and the client repeats it.
        storage.put(key, b"same")
        storage.put(key, b"same")
        assert storage.get(key) == b"same"

    def test_a_missing_object_is_not_found(self, key: str) -> None:
        with pytest.raises(FileNotFoundError):
            storage.get(key)

    def test_deleting_what_is_not_there_is_fine(self, key: str) -> None:
        storage.delete(key)
        storage.put(key, b"x")
        storage.delete(key)
        storage.delete(key)
        assert not storage.exists(key)

    def test_a_prefix_is_deleted_with_all_below_it_and_nothing_else(self) -> None:
        kept = f"scans/{uuid4()}/image.png"
        gone = f"scans/{uuid4()}/"
        for name in (kept, f"{gone}image.png", f"{gone}predictions/1/1/area.png"):
            storage.put(name, b"x")
        assert storage.delete_prefix(gone) == 2
        assert [name for name, _ in storage.walk("scans/")] == [kept]
        assert storage.delete_prefix(gone) == 0

    def test_walking_tells_name_and_time(self, key: str) -> None:
        storage.put(key, b"x")
        [(name, changed)] = list(storage.walk("scans/"))
        assert name == key
        assert abs(datetime.now(UTC) - changed) < timedelta(minutes=1)
        assert list(storage.walk("nothing/")) == []

    def test_walking_goes_in_order_and_on_from_any_name(self) -> None:
        scan = f"scans/{uuid4()}"
        names = sorted(
            [f"{scan}/image.png", f"{scan}/predictions/1/1/area.png", f"{scan}/thumbnail.png"]
            + [f"scans/{uuid4()}/image.png" for _ in range(2)]
        )
        for name in names:
            storage.put(name, b"x")
        assert [name for name, _ in storage.walk("scans/")] == names
        for at, name in enumerate(names):
            after = [found for found, _ in storage.walk("scans/", after=name)]
            assert after == names[at + 1 :]


def test_a_crashed_write_leaves_no_object_under_the_name(
    key: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_folder(settings, tmp_path)

    def interrupted(*args: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", interrupted)
        with pytest.raises(StorageUnavailableError):
            storage.put(key, b"x" * 1000)
    assert not storage.exists(key)
    assert [entry for entry in tmp_path.rglob("*") if entry.is_file()] == []
    storage.put(key, b"now")
    assert storage.get(key) == b"now"


def test_a_draft_left_by_a_crash_is_seen_by_the_orphan_check(
    settings: Settings, tmp_path: Path
) -> None:
    use_folder(settings, tmp_path)
    draft = tmp_path / "scans" / str(uuid4()) / ".image.png.1.draft"
    draft.parent.mkdir(parents=True)
    draft.write_bytes(b"half")
    [(name, _)] = list(storage.walk("scans/"))
    storage.delete(name)
    assert not draft.exists()


def test_objects_of_a_folder_are_for_the_site_alone(
    key: str, settings: Settings, tmp_path: Path
) -> None:
    use_folder(settings, tmp_path)
    storage.put(key, b"x")
    assert (tmp_path / key).stat().st_mode & 0o077 == 0
    assert storage.signed_url(key) is None


def test_a_folder_name_cannot_leave_the_store(settings: Settings, tmp_path: Path) -> None:
    use_folder(settings, tmp_path / "objects")
    with pytest.raises(Exception, match=r"outside of the base path|Detected path traversal"):
        storage.put("../elsewhere.png", b"x")
    assert not (tmp_path / "elsewhere.png").exists()


def test_signed_urls_work_for_the_object_alone_and_expire(
    key: str, settings: Settings, s3_server: S3
) -> None:
    use_s3(settings, s3_server)
    other = f"scans/{uuid4()}/image.png"
    storage.put(key, b"mine")
    storage.put(other, b"theirs")
    url = storage.signed_url(key, ResponseContentType="image/png")
    assert url is not None
    assert url.startswith(s3_server.url)
    with urllib.request.urlopen(url) as answer:  # noqa: S310  # our own server
        assert answer.read() == b"mine"
        assert answer.headers["Content-Type"] == "image/png"
    for refused in (url.replace(key, other), url.split("?")[0]):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(refused)  # noqa: S310  # our own server
    storages["scans"].querystring_expire = 1  # type: ignore[attr-defined]  # S3's
    url = storage.signed_url(key)
    assert url is not None
    time.sleep(2.5)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(url)  # noqa: S310  # our own server


def test_each_request_gets_a_link_of_its_own(key: str, settings: Settings, s3_server: S3) -> None:
    use_s3(settings, s3_server)
    storage.put(key, b"x")
    first = storage.signed_url(key)
    time.sleep(1.1)
    assert first != storage.signed_url(key)


def test_links_point_to_where_browsers_reach_the_store(
    key: str, settings: Settings, s3_server: S3
) -> None:
    use_s3(settings, s3_server)
    settings.S3_PUBLIC_URL = "https://pictures.example.org"
    url = storage.signed_url(key)
    assert url is not None
    assert url.startswith(f"https://pictures.example.org/{s3_server.BUCKET}/{key}?")


def test_a_store_that_is_away_is_one_kind_of_fault(
    key: str, settings: Settings, s3_server: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_s3(settings, s3_server)
    settings.STORAGES["scans"]["OPTIONS"]["endpoint_url"] = f"http://127.0.0.1:{free_port()}"
    settings.STORAGES = dict(settings.STORAGES)
    for attempt in (
        lambda: storage.put(key, b"x"),
        lambda: storage.get(key),
        lambda: storage.exists(key),
        lambda: storage.delete(key),
        lambda: storage.delete_prefix("scans/"),
        lambda: list(storage.walk("scans/")),
    ):
        with pytest.raises(StorageUnavailableError) as caught:
            attempt()
        assert isinstance(caught.value.__cause__, EndpointConnectionError)


def test_objects_that_the_store_keeps_are_a_fault_of_it(
    key: str, settings: Settings, s3_server: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers so with 200, and the row that names them must stay."""
    use_s3(settings, s3_server)
    answers = [{"Deleted": [{"Key": "other"}], "Errors": [{"Key": key, "Code": "InternalError"}]}]
    found = SimpleNamespace(delete=lambda: answers)
    bucket = SimpleNamespace(objects=SimpleNamespace(filter=lambda **_: found))
    monkeypatch.setattr(type(storages["scans"]), "bucket", bucket)
    with pytest.raises(StorageUnavailableError, match="1 objects could not be removed"):
        storage.delete_prefix("scans/")


def test_a_bucket_that_is_not_there_is_a_fault_of_the_store(
    key: str, settings: Settings, s3_server: S3
) -> None:
    use_s3(settings, s3_server)
    settings.STORAGES["scans"]["OPTIONS"]["bucket_name"] = "no-such-bucket"
    settings.STORAGES = dict(settings.STORAGES)
    with pytest.raises(StorageUnavailableError):
        list(storage.walk("scans/"))


def test_objects_are_told_as_pictures(key: str, settings: Settings, s3_server: S3) -> None:
    use_s3(settings, s3_server)
    client = storages["scans"].connection.meta.client  # type: ignore[attr-defined]  # of the S3 backend
    for name, told in ((key, "image/png"), (key.replace(".png", ".svg"), "image/svg+xml")):
        storage.put(name, b"x")
        assert client.head_object(Bucket=s3_server.BUCKET, Key=name)["ContentType"] == told
    storages["scans"].save("health/1", ContentFile(b"ok"))
    storages["scans"].delete("health/1")
