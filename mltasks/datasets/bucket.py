"""A bucket of an S3 store: objects by key, and errors in words."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from mltasks.data import DataError

# Larger files are sent in parts of this size, and fetched in ranges of it.
PART = 8 * 2**20
_CONNECTIONS = 16
_LARGEST_LIST = 256 * 2**20
# What a store answers of an object that is not there, or ends before the range asked for.
_MISSING = {"404", "NoSuchKey", "NotFound"}
_TOO_SHORT = {"416", "InvalidRange"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where data sets are kept, and the credentials for it."""

    bucket: str
    prefix: str = "data"
    endpoint: str = ""
    region: str = ""
    key: str = ""
    secret: str = ""

    def client(self) -> Any:
        """A client with long timeouts: transfers take long, and no page waits for them."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint or None,
            region_name=self.region or None,
            aws_access_key_id=self.key or None,
            aws_secret_access_key=self.secret or None,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path" if self.endpoint else "virtual"},
                connect_timeout=5,
                read_timeout=60,
                retries={"max_attempts": 5, "mode": "standard"},
                max_pool_connections=_CONNECTIONS,
            ),
        )


class Bucket:
    """Objects by key, and errors in words."""

    def __init__(self, place: Place) -> None:
        if not place.bucket:
            raise DataError("no bucket: set DATASET_BUCKET")
        self._client, self.place = place.client(), place

    def _key(self, *parts: str) -> str:
        prefix = self.place.prefix.strip("/")
        return "/".join([*([prefix] if prefix else []), *parts])

    def blob(self, digest: str) -> str:
        return self._key("blobs", digest)

    def files(self, digest: str) -> str:
        return self._key("datasets", digest, "files.json")

    def name(self, name: str) -> str:
        return self._key("names", f"{name}.json")

    def size(self, key: str) -> int | None:
        """Bytes of an object, or None if it is not there."""
        try:
            head = self._client.head_object(Bucket=self.place.bucket, Key=key)
        except ClientError as error:
            if _code(error) in _MISSING:
                return None
            raise self._fault(error, key) from error
        except BotoCoreError as error:
            raise self._fault(error, key) from error
        return int(head["ContentLength"])

    def get(self, key: str, missing: str) -> bytes:
        """A small object.

        Raises:
            DataError: it is not there (the message is `missing`), or cannot be read.
        """
        try:
            answer = self._client.get_object(Bucket=self.place.bucket, Key=key)
            return bytes(answer["Body"].read(_LARGEST_LIST))
        except ClientError as error:
            if _code(error) in _MISSING:
                raise DataError(missing) from None
            raise self._fault(error, key) from error
        except BotoCoreError as error:
            raise self._fault(error, key) from error

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Bytes start … stop - 1 of an object: fewer where it ends before, none if it is gone."""
        try:
            answer = self._client.get_object(
                Bucket=self.place.bucket, Key=key, Range=f"bytes={start}-{stop - 1}"
            )
            return bytes(answer["Body"].read())
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and _code(error) in _MISSING | _TOO_SHORT:
                return b""
            raise self._fault(error, key) from error

    def sha256(self, key: str, size: int) -> str:
        """Digest of an object, read back in pieces."""
        found = hashlib.sha256()
        for start in range(0, size, PART):
            found.update(self.get_range(key, start, min(size, start + PART)))
        return found.hexdigest()

    def put(self, key: str, content: bytes) -> None:
        try:
            self._client.put_object(Bucket=self.place.bucket, Key=key, Body=content)
        except (ClientError, BotoCoreError) as error:
            raise self._fault(error, key) from error

    def send(self, key: str, path: Path) -> None:
        """A file of any size; a large one becomes visible when its last part is there."""
        settings = TransferConfig(
            multipart_threshold=PART, multipart_chunksize=PART, use_threads=False
        )
        try:
            self._client.upload_file(str(path), self.place.bucket, key, Config=settings)
        except (ClientError, BotoCoreError, boto3.exceptions.S3UploadFailedError) as error:
            raise self._fault(error, key) from error

    def where(self, key: str) -> str:
        return f"s3://{self.place.bucket}/{key}"

    def _fault(self, error: Exception, key: str) -> DataError:
        where = self.where(key)
        # boto3 wraps the store's answer to one part of a large file.
        answer = error if isinstance(error, ClientError) else error.__context__
        code = _code(answer) if isinstance(answer, ClientError) else ""
        if code in {"SignatureDoesNotMatch", "InvalidAccessKeyId"}:
            return DataError(
                "the credentials are not accepted: check S3_ACCESS_KEY_ID and its secret"
            )
        if code == "NoSuchBucket":
            return DataError(f"there is no bucket {self.place.bucket}: check DATASET_BUCKET")
        # Answers without a body have the HTTP status as their code. S3 does not tell those who may
        # not list a bucket that an object is missing.
        if code in {"AccessDenied", "Forbidden", "403"}:
            return DataError(
                f"not allowed: these credentials have no right to {where}, or it is not there; "
                "check how it is spelled, then ask whoever keeps the bucket"
            )
        return DataError(
            f"cannot reach {where}: {error}; check the network, S3_ENDPOINT_URL and S3_REGION, "
            "then try again: it goes on where it stopped"
        )


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
