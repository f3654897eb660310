"""Where a test keeps its scans."""

from __future__ import annotations

from pathlib import Path

from botocore.config import Config
from pytest_django import Settings

from tests.support.servers import S3
from tumorsite.settings import storage as configured


def use_s3(settings: Settings, server: S3) -> None:
    """Keep scans on the S3 server for the rest of the test."""
    settings.S3_PUBLIC_URL = server.url
    settings.STORAGES = {
        **settings.STORAGES,
        "scans": {
            "BACKEND": "predictions.storage.ImmutableS3Storage",
            "OPTIONS": {
                **configured._s3,
                "bucket_name": server.BUCKET,
                "endpoint_url": server.url,
                "region_name": "us-east-1",
                "access_key": server.KEY,
                "secret_key": server.SECRET,
                "client_config": configured._s3["client_config"].merge(
                    Config(s3={"addressing_style": "path"})
                ),
            },
        },
    }


def use_folder(settings: Settings, folder: Path) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "scans": {
            "BACKEND": "predictions.storage.ImmutableFileStorage",
            "OPTIONS": {"location": folder},
        },
    }
