"""Object storage of scans and results: an object, once written, is never changed."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

import numpy as np
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, storages
from numpy.typing import NDArray
from PIL import Image
from storages.backends.s3 import S3Storage

_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}


class StorageUnavailableError(Exception):
    """The object store did not do what it was asked to."""


class ScanStorage(Protocol):
    """What the services need beyond Django's own storage."""

    def save(self, name: str, content: ContentFile[bytes]) -> str: ...
    def open(self, name: str, mode: str = "rb") -> Any: ...
    def exists(self, name: str) -> bool: ...
    def delete(self, name: str) -> None: ...
    def delete_prefix(self, prefix: str) -> int: ...
    def walk(self, prefix: str, after: str = "") -> Iterator[tuple[str, datetime]]: ...
    def signed_url(self, name: str, **response: str) -> str | None: ...


class ImmutableFileStorage(FileSystemStorage):
    """A local folder in which a name can be written once."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def _save(self, name: str, content: Any) -> str:
        """Write to a draft beside the target, then link it: a crash leaves no half object.

        Raises:
            FileExistsError: the name is taken.
        """
        target = Path(self.path(name))
        draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.draft")
        try:
            with _new_file(draft) as stream:
                for chunk in content.chunks():
                    stream.write(chunk)
                stream.flush()
                os.fsync(stream.fileno())
            os.link(draft, target)
        finally:
            draft.unlink(missing_ok=True)
        return name

    def delete_prefix(self, prefix: str) -> int:
        """Remove every object under `prefix` and say how many there were."""
        root = Path(self.path(prefix))
        removed = 0
        if root.is_dir():
            for entry in sorted(root.rglob("*"), reverse=True):
                # Another process may be removing the same objects.
                with suppress(FileNotFoundError):
                    if entry.is_dir():
                        entry.rmdir()
                    else:
                        entry.unlink()
                        removed += 1
            with suppress(FileNotFoundError):
                root.rmdir()
        return removed

    def walk(self, prefix: str, after: str = "") -> Iterator[tuple[str, datetime]]:
        """Objects under `prefix` in order, drafts of a crashed write included, with their time."""
        yield from self._walk(Path(self.path(prefix)), prefix.rstrip("/"), after)

    def _walk(self, folder: Path, prefix: str, after: str) -> Iterator[tuple[str, datetime]]:
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            return
        # In the order of whole names, in which a folder's ends with a slash.
        names = {f"{prefix}/{one.name}{'/' if one.is_dir() else ''}": one for one in entries}
        for name, entry in sorted(names.items()):
            if name.endswith("/"):
                if name > after or after.startswith(name):
                    yield from self._walk(Path(entry.path), name[:-1], after)
            elif name > after:
                with suppress(FileNotFoundError):
                    yield name, datetime.fromtimestamp(entry.stat().st_mtime, UTC)

    def signed_url(self, name: str, **response: str) -> str | None:
        """A local folder has no address of its own: the site streams the object."""
        return None


def _new_file(path: Path) -> BinaryIO:
    """A file for the site's own user only; its folder is made if it is missing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return open(os.open(path, flags, 0o600), "wb")  # noqa: PTH123  # a descriptor, not a path
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(os.open(path, flags, 0o600), "wb")  # noqa: PTH123  # a descriptor, not a path


class ImmutableS3Storage(S3Storage):
    """A bucket in which a key can be written once."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name

    def _save(self, name: str, content: Any) -> str:
        """One conditional PUT, as the transfer manager cannot send the condition.

        Raises:
            FileExistsError: the key is taken.
        """
        content.seek(0)
        try:
            self.connection.meta.client.put_object(
                Bucket=self.bucket_name,
                Key=name,
                Body=content.read(),
                ContentType=content_type(name),
                IfNoneMatch="*",
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in {"PreconditionFailed", "412"}:
                raise FileExistsError(name) from None
            raise
        return name

    def delete_prefix(self, prefix: str) -> int:
        """Remove every object under `prefix` and say how many there were."""
        removed = 0
        for answer in self.bucket.objects.filter(Prefix=prefix).delete():
            if answer.get("Errors"):
                raise OSError(f"{len(answer['Errors'])} objects could not be removed")
            removed += len(answer.get("Deleted", []))
        return removed

    def walk(self, prefix: str, after: str = "") -> Iterator[tuple[str, datetime]]:
        """Every object under `prefix` in order, with the time it was written."""
        for entry in self.bucket.objects.filter(Prefix=prefix, Marker=after):
            yield entry.key, entry.last_modified

    def signed_url(self, name: str, **response: str) -> str | None:
        """A link to the object that is valid for a minute, at the address that browsers reach."""
        return str(
            self._public_client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self.bucket_name, "Key": name, **response},
                ExpiresIn=self.querystring_expire,
            )
        )

    @cached_property
    def _public_client(self) -> Any:
        # The host is part of what is signed, so links for browsers need a client of their own.
        return self._create_session().client(
            "s3",
            region_name=self.region_name,
            endpoint_url=settings.S3_PUBLIC_URL or None,
            config=self.client_config,
        )


def content_type(name: str) -> str:
    """What an object is, by the end of its name."""
    return _TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")


def _storage() -> ScanStorage:
    storage: ScanStorage = storages["scans"]  # type: ignore[assignment]  # by settings.STORAGES
    return storage


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the faults of every backend into `StorageUnavailableError`.

    A missing object stays `FileNotFoundError`, a taken name `FileExistsError`: waiting mends
    neither.
    """
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in {"NoSuchKey", "404"}:
            raise FileNotFoundError(error.response["Error"].get("Key", "object")) from None
        raise StorageUnavailableError(str(error)) from error
    except (OSError, BotoCoreError, Boto3Error) as error:
        raise StorageUnavailableError(str(error)) from error


def put(name: str, content: bytes) -> None:
    """Write an object.

    The same content under the same name is no fault: a client repeats a write whose answer was
    lost on its way.

    Raises:
        FileExistsError: the name is taken by other content.
        StorageUnavailableError: the store did not take it.
    """
    try:
        with _translated():
            _storage().save(name, ContentFile(content))
    except FileExistsError:
        if get(name) != content:
            raise


def get(name: str) -> bytes:
    """Read an object.

    Raises:
        FileNotFoundError: there is none of that name.
        StorageUnavailableError: the store did not answer.
    """
    with _translated(), _storage().open(name) as stream:
        return bytes(stream.read())


def stream(name: str) -> io.BytesIO:
    """An object as a file in memory; see `get`."""
    return io.BytesIO(get(name))


def pixels(name: str) -> NDArray[np.uint8]:
    """The pixels of a stored picture, as they are; see `get`.

    Raises:
        OSError, ValueError, SyntaxError: it is damaged; Pillow has no one error for that.
    """
    with Image.open(stream(name), formats=["PNG"]) as image:
        return np.asarray(image)


def exists(name: str) -> bool:
    """Whether there is an object of that name."""
    with _translated():
        return bool(_storage().exists(name))


def delete(name: str) -> None:
    """Remove one object, if there is one of that name."""
    with _translated():
        _storage().delete(name)


def delete_prefix(prefix: str) -> int:
    """Remove every object whose name starts with `prefix`, and say how many there were."""
    with _translated():
        return _storage().delete_prefix(prefix)


def walk(prefix: str, *, after: str = "") -> Iterator[tuple[str, datetime]]:
    """Name and time of every object whose name starts with `prefix` and comes after `after`."""
    with _translated():
        yield from _storage().walk(prefix, after)


def signed_url(name: str, **response: str) -> str | None:
    """A short-lived address of the object, or None where the site must stream it itself.

    Raises:
        StorageUnavailableError: there is nothing to sign it with at the moment.
    """
    with _translated():
        return _storage().signed_url(name, **response)
