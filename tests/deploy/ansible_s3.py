"""A real S3 server with three principals: everything, what a site may, what a trainer may."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.deploy.ansible_host import PRODUCT
from tests.support.processes import Process, free_port, wait_until

SITE, DATA = "tumorsite", "tumorsite-data"
# The site: its own bucket. The trainer: data sets to read, networks to write, no scan.
RIGHTS = {
    "admin": ["Admin", "Read", "Write", "List", "Tagging"],
    "site": [f"{what}:{SITE}" for what in ("Read", "Write", "List")],
    "trainer": [
        f"Read:{DATA}",
        *(f"{what}:{SITE}/models/*" for what in ("Read", "Write", "List")),
    ],
}


def secret(name: str) -> str:
    return f"secret-of-{name}-for-tests"


class S3(Process):
    """SeaweedFS on the loopback address."""

    def __init__(self, folder: Path) -> None:
        identities = [
            {
                "name": name,
                "credentials": [{"accessKey": name, "secretKey": secret(name)}],
                "actions": actions,
            }
            for name, actions in RIGHTS.items()
        ]
        config, data = folder / "s3.json", folder / "s3"
        config.write_text(json.dumps({"identities": identities}))
        data.mkdir()
        self.port, master, volume, filer = (free_port(also=10000) for _ in range(4))
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(
            [
                PRODUCT / "bin/weed",
                *("server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *("-filer", f"-filer.port={filer}", f"-master.port={master}"),
                *(f"-volume.port={volume}", "-volume.max=20", "-master.volumeSizeLimitMB=64"),
                *("-s3", f"-s3.port={self.port}", "-s3.ip.bind=127.0.0.1", f"-s3.config={config}"),
                *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
                "-master.electionTimeout=1s",
            ],
            log=folder / "s3.log",
        )

    def client(self, name: str) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=name,
            aws_secret_access_key=secret(name),
            config=Config(connect_timeout=2, read_timeout=10, retries={"max_attempts": 1}),
        )

    def settings(self, name: str) -> dict[str, str]:
        return {
            "S3_BUCKET": SITE,
            "S3_ENDPOINT_URL": self.url,
            "S3_REGION": "us-east-1",
            "S3_ACCESS_KEY_ID": name,
            "S3_SECRET_ACCESS_KEY": secret(name),
        }

    def start(self) -> None:
        super().start()
        client = self.client("admin")

        def usable() -> bool:
            assert self.alive(), self.text()
            try:
                there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
                for name in {SITE, DATA} - there:
                    client.create_bucket(Bucket=name)
                for name in (SITE, DATA):
                    client.put_object(Bucket=name, Key="ready", Body=b"ready")
                    client.delete_object(Bucket=name, Key="ready")
            except Exception:
                time.sleep(0.2)
                return False
            return True

        wait_until(usable, seconds=60, what="S3 server", pause=0.3)

    def stored(self, prefix: str = "") -> set[str]:
        """The keys of the site's bucket, but those that the health check writes and removes."""
        pages = self.client("admin").get_paginator("list_objects_v2")
        found = (page.get("Contents", []) for page in pages.paginate(Bucket=SITE, Prefix=prefix))
        keys = {item["Key"] for items in found for item in items}
        return {key for key in keys if not key.startswith("health/")}

    def contents(self) -> dict[str, str]:
        """SHA-256 by key, of the site's bucket."""
        get = self.client("admin").get_object
        bodies = ((key, get(Bucket=SITE, Key=key)["Body"].read()) for key in self.stored())
        return {key: hashlib.sha256(body).hexdigest() for key, body in bodies}

    def empty(self) -> None:
        """Lose everything in the site's bucket."""
        client = self.client("admin")
        for key in self.stored():
            client.delete_object(Bucket=SITE, Key=key)
