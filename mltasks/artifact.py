"""A model folder as one thing with one digest: what is in it, and whether it is still whole.

`SHA256SUMS` lists every file in the form of the command of that name; its own SHA-256 is the
digest of the artifact. Whoever knows the digest can therefore check every byte, here or with
`sha256sum --check`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mltasks.engines import ModelError

SUMS_NAME = "SHA256SUMS"
# What training keeps beside the model in order to go on, and what is half written.
_LEFT_OUT = frozenset({"checkpoints", "__pycache__"})
_DRAFT_SUFFIXES = frozenset({".part", ".tmp"})
# A release is read into memory file by file; nothing that belongs in one is near this.
LARGEST_FILE = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sums:
    """The files of an artifact.

    Attributes:
        files: SHA-256 as hexadecimal digits by relative path, sorted by path.
    """

    files: dict[str, str]

    @property
    def text(self) -> bytes:
        """The content of SHA256SUMS."""
        return "".join(f"{digest}  {name}\n" for name, digest in self.files.items()).encode()

    @property
    def digest(self) -> str:
        """The digest of the artifact."""
        return hashlib.sha256(self.text).hexdigest()

    @classmethod
    def parse(cls, text: bytes, *, where: str, digest: str | None = None) -> Sums:
        """Read the content of SHA256SUMS.

        Args:
            digest: that the list must have; None where nothing states one.

        Raises:
            ModelError: it is not the list of that digest, is no text, or names a file outside the
                folder.
        """
        if digest is not None and hashlib.sha256(text).hexdigest() != digest:
            raise ModelError(f"{where} is damaged: its digest is not {digest[:12]}…")
        try:
            lines = text.decode().splitlines()
        except UnicodeDecodeError:
            raise ModelError(f"{where} is damaged") from None
        files = {}
        for line in lines:
            value, _, name = line.partition("  ")
            path = PurePosixPath(name)
            if not name or path.is_absolute() or ".." in path.parts:
                raise ModelError(f"{where} names a file outside the model folder: {name!r}")
            files[name] = value
        return cls(files)


def sums_of(folder: Path) -> Sums:
    """List the files of a model folder, all but hidden ones, drafts and checkpoints.

    Raises:
        ModelError: a file cannot be read, is a link to elsewhere, or is too large.
    """
    files = {}
    for path in sorted(folder.rglob("*"), key=lambda one: one.relative_to(folder).as_posix()):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") or part in _LEFT_OUT for part in name.parts)
        if hidden or path.suffix in _DRAFT_SUFFIXES or name.as_posix() == SUMS_NAME:
            continue
        if path.is_symlink():
            raise ModelError(f"{path} is a link: a model folder must hold its files itself")
        if path.is_file():
            files[name.as_posix()] = _digest(path)
    return Sums(files)


def _digest(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ModelError(f"{path} is too large for a release: take it out of the folder")
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from None


def verify(folder: Path, digest: str) -> None:
    """Check every file of a fetched artifact.

    Raises:
        ModelError: one is missing or damaged; the message names it.
    """
    listed = folder / SUMS_NAME
    try:
        sums = Sums.parse(listed.read_bytes(), digest=digest, where=str(listed))
    except OSError as error:
        raise ModelError(f"cannot read {listed}: {error.strerror}") from None
    for name, wanted in sums.files.items():
        if not (folder / name).is_file():
            raise ModelError(f"{folder / name} is missing")
        if _digest(folder / name) != wanted:
            raise ModelError(f"{folder / name} is damaged: its digest is not that of {SUMS_NAME}")
