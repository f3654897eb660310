"""To a real S3 server and back: interrupted, damaged, with too few rights."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError
from django.conf import settings as site
from django.core.management import call_command
from django.core.management.base import CommandError

from mltasks.data import DataError, file_digest
from mltasks.datasets import importing, remote
from mltasks.datasets.bucket import PART, Bucket
from mltasks.datasets.form import Row, read_dataset, replace_rows
from mltasks.datasets.tests.conftest import MADE, request
from tests.support.servers import S3

ROOT = Path(__file__).parents[3]


@pytest.fixture
def place(s3_server: S3, tmp_path: Path) -> remote.Place:
    """A prefix of its own, with every right."""
    return remote.Place(
        bucket=s3_server.BUCKET,
        prefix=tmp_path.name,
        endpoint=s3_server.url,
        region="us-east-1",
        key=s3_server.KEY,
        secret=s3_server.SECRET,
    )


@pytest.fixture
def reader(place: remote.Place, s3_server: S3) -> remote.Place:
    return replace(place, key=s3_server.READER_KEY, secret=s3_server.READER_SECRET)


@pytest.fixture
def data(slices: Path, tmp_path: Path) -> Path:
    importing.run(request(slices, tmp_path / "data", **MADE))
    return tmp_path / "data"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def keys(place: remote.Place) -> list[str]:
    pages = place.client().get_paginator("list_objects_v2")
    found = pages.paginate(Bucket=place.bucket, Prefix=place.prefix + "/")
    return [item["Key"] for page in found for item in page.get("Contents", ())]


def test_there_and_back(
    data: Path, place: remote.Place, reader: remote.Place, tmp_path: Path
) -> None:
    first = remote.push(data, place)
    # Equal files, such as the masks of this set, are kept once.
    assert (first.name, first.moved + first.there) == ("drawn", len(contents(data)))
    blobs = [key for key in keys(place) if "/blobs/" in key]
    assert len(blobs) == len(set(contents(data).values()))
    again = remote.push(data, place, name="other-name")
    assert (again.digest, again.moved) == (first.digest, 0)
    for which in ("drawn", "other-name", first.digest):
        remote.pull(which, tmp_path / which, reader)
        assert contents(tmp_path / which) == contents(data)
    assert list(tmp_path.glob(".*")) == []
    with pytest.raises(DataError, match="is there already"):
        remote.pull("drawn", data, reader)


def test_a_reader_cannot_write(data: Path, reader: remote.Place, place: remote.Place) -> None:
    with pytest.raises(DataError, match="these credentials have no right to s3://"):
        remote.push(data, reader)
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.client().put_object(Bucket=reader.bucket, Key=f"{reader.prefix}/x", Body=b"x")
    assert keys(place) == []
    with pytest.raises(DataError, match="not accepted: check S3_ACCESS_KEY_ID"):
        remote.pull("drawn", data.with_name("pulled"), replace(reader, secret="wrong"))


def test_large_files_go_in_parts_and_come_in_ranges(
    data: Path,
    place: remote.Place,
    reader: remote.Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = json.loads((data / "import.json").read_text())
    large["note"] = np.random.default_rng(1).bytes(6 * 2**20).hex()
    (data / "import.json").write_text(json.dumps(large))
    remote.push(data, place)
    [entry] = [e for e in _listed(place, "drawn") if e["path"] == "import.json"]
    assert entry["size"] > PART
    head = place.client().head_object(
        Bucket=place.bucket, Key=f"{place.prefix}/blobs/{entry['sha256']}"
    )
    assert head["ETag"].strip('"').endswith("-2")
    # The first range arrives, then the connection is gone.
    real, calls = Bucket.get_range, []

    def flaky(bucket: Bucket, key: str, start: int, stop: int) -> bytes:
        if key.endswith(entry["sha256"]):
            calls.append(start)
            if len(calls) == 2:
                raise DataError("connection lost")
        return real(bucket, key, start, stop)

    monkeypatch.setattr(Bucket, "get_range", flaky)
    with pytest.raises(DataError, match="connection lost"):
        remote.pull("drawn", tmp_path / "out", reader)
    assert not (tmp_path / "out").exists()
    done = remote.pull("drawn", tmp_path / "out", reader)
    assert calls == [0, PART, PART]
    assert done.there > 0
    assert contents(tmp_path / "out") == contents(data)


def _listed(place: remote.Place, name: str) -> list[dict[str, Any]]:
    client = place.client()
    pointer = client.get_object(Bucket=place.bucket, Key=f"{place.prefix}/names/{name}.json")
    files: list[dict[str, Any]] = _list(place, json.load(pointer["Body"])["digest"])["files"]
    return files


def _list(place: remote.Place, digest: str) -> dict[str, Any]:
    key = f"{place.prefix}/datasets/{digest}/files.json"
    found = place.client().get_object(Bucket=place.bucket, Key=key)
    listed: dict[str, Any] = json.load(found["Body"])
    return listed


def damaged(place: remote.Place, entry: dict[str, Any]) -> str:
    """What a pull says of a file that is not there as it was pushed."""
    where = f"s3://{place.bucket}/{place.prefix}/blobs/{entry['sha256']}"
    return (
        f"{re.escape(entry['path'])} is missing or damaged in the store, at {where}; .* "
        "Pull again: .* ask whoever has a sound copy .* dataset push --verify"
    )


@pytest.mark.parametrize("left", [None, b"", b"half of i"])
def test_a_file_that_is_gone_or_cut_off_in_the_store_is_named(
    left: bytes | None, data: Path, place: remote.Place, reader: remote.Place, tmp_path: Path
) -> None:
    remote.push(data, place)
    entry = next(e for e in _listed(place, "drawn") if e["path"] == "images/slice5.jpg")
    client, key = place.client(), f"{place.prefix}/blobs/{entry['sha256']}"
    if left is None:
        client.delete_object(Bucket=place.bucket, Key=key)
    else:
        client.put_object(Bucket=place.bucket, Key=key, Body=left)
    with pytest.raises(DataError, match=damaged(place, entry)):
        remote.pull("drawn", tmp_path / "out", reader)
    assert not (tmp_path / "out").exists()
    # As it says, somebody who has a sound copy mends it.
    assert remote.push(data, place, verify=True).moved == 1
    assert remote.pull("drawn", tmp_path / "out", reader).there > 0
    assert contents(tmp_path / "out") == contents(data)


def test_damaged_objects_are_refused_and_removed(
    data: Path, place: remote.Place, reader: remote.Place, tmp_path: Path
) -> None:
    digest = remote.push(data, place).digest
    entry = next(e for e in _listed(place, "drawn") if e["path"] == "images/slice5.jpg")
    client, key = place.client(), f"{place.prefix}/blobs/{entry['sha256']}"
    sound = (data / entry["path"]).read_bytes()
    flipped = bytes([sound[0] ^ 1]) + sound[1:]
    client.put_object(Bucket=place.bucket, Key=key, Body=flipped)
    with pytest.raises(DataError, match=damaged(place, entry)):
        remote.pull("drawn", tmp_path / "out", reader)
    assert not (tmp_path / "out").exists()
    assert flipped not in contents(tmp_path / ".out.pull").values()
    # Of the same size, it is found only by reading it.
    assert remote.push(data, place).moved == 0
    assert remote.push(data, place, verify=True).moved == 1
    assert remote.pull("drawn", tmp_path / "out", reader).there > 0
    assert contents(tmp_path / "out") == contents(data)
    listing = f"{place.prefix}/datasets/{digest}/files.json"
    client.put_object(Bucket=place.bucket, Key=listing, Body=b"{}")
    with pytest.raises(DataError, match=rf"{listing} is damaged, .*ask whoever pushed the set"):
        remote.pull(digest, tmp_path / "more", reader)
    assert remote.push(data, place).digest == digest
    remote.pull(digest, tmp_path / "whole", reader)
    client.put_object(Bucket=place.bucket, Key=f"{place.prefix}/names/drawn.json", Body=b"[]")
    with pytest.raises(DataError, match=r"drawn\.json, .* is damaged: pull the set by its digest"):
        remote.pull("drawn", tmp_path / "more", reader)


def test_what_an_earlier_pull_left_is_checked_before_it_is_used(
    data: Path, place: remote.Place, reader: remote.Place, tmp_path: Path
) -> None:
    digest = remote.push(data, place).digest
    waiting = tmp_path / ".out.pull"

    def left(mark: str) -> None:
        shutil.copytree(data, waiting)
        (waiting / ".digest").write_text(mark)

    left(digest)
    # A flipped bit on this disk, more than there is of a file, and a file that is none of the set.
    sound = (data / "images" / "slice5.jpg").read_bytes()
    (waiting / "images" / "slice5.jpg").write_bytes(bytes([sound[0] ^ 1]) + sound[1:])
    (waiting / "images" / "slice4.jpg").unlink()
    (waiting / "images" / ".slice4.jpg.part").write_bytes(bytes(10**6))
    (waiting / "images" / "stray.jpg").write_bytes(sound)
    # A beginning that a power cut has left as zeros.
    (waiting / "images" / "slice3.jpg").unlink()
    (waiting / "images" / ".slice3.jpg.part").write_bytes(bytes(100))
    assert remote.pull("drawn", tmp_path / "out", reader).moved == 3
    assert contents(tmp_path / "out") == contents(data)
    # What is of another set is not gone on with.
    left("0" * 64)
    shutil.rmtree(tmp_path / "out")
    assert remote.pull("drawn", tmp_path / "out", reader).there == 0
    assert contents(tmp_path / "out") == contents(data)


def test_a_set_states_whose_data_it_is(
    data: Path, slices: Path, brisc: Path, place: remote.Place, tmp_path: Path
) -> None:
    info = data / "dataset.json"
    stated = json.loads(info.read_text())
    for change, what in (
        ({"licence": ""}, "no licence of Drawn"),
        ({"citation": " "}, "no citation of Drawn"),
        ({"licence": None, "citation": None}, "no licence and no citation of Drawn"),
        ({"parts": [stated, {**stated, "name": "Other", "licence": ""}]}, "no licence of Other"),
    ):
        info.write_text(json.dumps(stated | change))
        with pytest.raises(DataError, match=rf"dataset\.json states {what}: write it there"):
            remote.push(data, place)
    info.write_text(json.dumps(stated))
    importing.run(request(brisc, tmp_path / "both", onto=data))
    digest = remote.push(tmp_path / "both", place).digest
    listed = _list(place, digest)
    assert [(part["name"], part["licence"]) for part in listed["parts"]] == [
        ("Drawn", "CC0"),
        ("BRISC 2025", "CC BY 4.0"),
    ]
    # The older images came with a manifest alone.
    importing.run(request(brisc, tmp_path / "mixed", onto=slices))
    with pytest.raises(DataError, match=r"folder without dataset\.json: import that folder"):
        remote.push(tmp_path / "mixed", place)


def test_clear_errors(data: Path, place: remote.Place, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"called nothing .*/names/nothing\.json: check the name"):
        remote.pull("nothing", tmp_path / "out", place)
    with pytest.raises(DataError, match=r"no data set has the digest 0{64}, .*: check the digest"):
        remote.pull("0" * 64, tmp_path / "out", place)
    with pytest.raises(DataError, match=r"neither the name nor the digest.* small letters"):
        remote.pull("../up", tmp_path / "out", place)
    with pytest.raises(DataError, match="set DATASET_BUCKET"):
        remote.pull("nothing", tmp_path / "out", replace(place, bucket=""))
    with pytest.raises(DataError, match="there is no bucket elsewhere: check DATASET_BUCKET"):
        remote.pull("nothing", tmp_path / "out", replace(place, bucket="elsewhere"))
    # Whatever digits stand in an address, it is not an answer.
    for which in ("x", f"{403:064}"):
        with pytest.raises(DataError, match=r"cannot reach s3://.* check the network.* try again"):
            remote.pull(which, tmp_path / "out", replace(place, endpoint="http://127.0.0.1:9"))
    (data / "images" / "slice4.jpg").write_bytes(b"changed")
    with pytest.raises(DataError, match=r"slice4\.jpg is not the file of the manifest"):
        remote.push(data, place)
    (data / "dataset.json").unlink()
    with pytest.raises(DataError, match=r"has no dataset\.json"):
        remote.push(data, place)
    # Neither list nor name is visible of a push that failed.
    assert not [key for key in keys(place) if "/blobs/" not in key]


def test_what_cannot_be_written_is_named(data: Path, place: remote.Place, tmp_path: Path) -> None:
    remote.push(data, place)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=rf"cannot write {tmp_path}/file/.*; make room or choose"):
        remote.pull("drawn", tmp_path / "file" / "out", place)


@pytest.mark.parametrize(
    "listed",
    [b"[]", b"{", b'{"files": [{"path": "images/x"}]}', b'{"files": [{"place": "images/x"}]}'],
)
def test_a_list_of_another_format_may_be_of_a_newer_release(
    listed: bytes, place: remote.Place, tmp_path: Path
) -> None:
    digest = hashlib.sha256(listed).hexdigest()
    key = f"{place.prefix}/datasets/{digest}/files.json"
    place.client().put_object(Bucket=place.bucket, Key=key, Body=listed)
    with pytest.raises(DataError, match=rf"{key} is not of format 1, .* so update this one"):
        remote.pull(digest, tmp_path / "out", place)


@pytest.mark.parametrize("path", ["../x", "images/../../x", "/etc/x", "images/.x", "else/x", ""])
def test_lists_that_lead_out_of_the_folder_are_refused(
    path: str, place: remote.Place, tmp_path: Path
) -> None:
    listed = {"files": [{"path": path, "sha256": "0" * 64, "size": 1}]}
    content = json.dumps(listed).encode()
    digest = hashlib.sha256(content).hexdigest()
    place.client().put_object(
        Bucket=place.bucket, Key=f"{place.prefix}/datasets/{digest}/files.json", Body=content
    )
    with pytest.raises(DataError, match=r"which is no file .* do not use this set"):
        remote.pull(digest, tmp_path / "out", place)


def test_the_command(
    data: Path,
    place: remote.Place,
    reader: remote.Place,
    tmp_path: Path,
    settings: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings.DATASET_STORE = {
        name: getattr(place, name)
        for name in ("bucket", "prefix", "endpoint", "region", "key", "secret")
    }
    call_command("dataset", "push", str(data), "--name", "slices")
    call_command("dataset", "push", str(data), "--name", "slices", "--verify")
    assert ": 0 files sent" in capsys.readouterr().out
    settings.DATASET_STORE |= {"key": reader.key, "secret": reader.secret}
    call_command("dataset", "pull", "slices", "--output", str(tmp_path / "out"))
    assert read_dataset(tmp_path / "out").digest == read_dataset(data).digest
    with pytest.raises(CommandError, match="have no right"):
        call_command("dataset", "push", str(data))


@pytest.mark.faults
@pytest.mark.parametrize("step", ["push", "pull"])
def test_killed_in_the_middle_and_run_again(
    step: str, slices: Path, place: remote.Place, s3_server: S3, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    importing.run(request(slices, data, **MADE))
    # Large enough that the end is not reached at once.
    for number in range(3):
        content = np.random.default_rng(number).bytes(9 * 2**20)
        (data / "images" / f"large{number}.bin").write_bytes(content)
    _list_large_files(data)
    if step == "pull":
        remote.push(data, place)
    env = {
        **os.environ,
        **s3_server.environment(),
        "DATASET_BUCKET": place.bucket,
        "DATASET_PREFIX": place.prefix,
        "DATA_DIR": str(site.DATA_DIR),
        "DJANGO_SETTINGS_MODULE": "tumorsite.settings",
    }
    rest = [str(data)] if step == "push" else ["drawn", "--output", str(out)]
    command = [sys.executable, "manage.py", "dataset", step, *rest]
    running = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
    try:
        _wait_for_some(step, place, tmp_path)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert not out.exists()
    if step == "push":
        # Neither list nor name was written: nobody can see half a set.
        assert not [key for key in keys(place) if "/blobs/" not in key]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert " 0 were there" not in done.stdout
    if step == "push":
        remote.pull("drawn", out, place)
    assert contents(out) == contents(data)


def _list_large_files(data: Path) -> None:
    """Rows whose files are no pictures: neither push nor pull looks into them."""
    found = read_dataset(data)
    rows = [
        Row(id=path.stem, label="glioma", sha256=file_digest(path), file=path.name)
        for path in sorted((data / "images").glob("large*"))
    ]
    replace_rows(found, [*found.rows, *rows], found.info)


def _wait_for_some(step: str, place: remote.Place, folder: Path) -> None:
    """Until the transfer is well under way, but not at its end."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if step == "push" and len(keys(place)) > 10:
            return
        waiting = folder / ".out.pull"
        if step == "pull" and waiting.exists() and len(list(waiting.rglob("*.jpg"))) > 5:
            return
        time.sleep(0.01)
    raise AssertionError("the transfer did not start")
