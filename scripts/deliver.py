#!/usr/bin/env python3
"""Writes what runs where into a checkout of the branch from which Argo CD reads it.

    deliver.py environment FOLDER NAME --commit SHA --digests FOLDER
    deliver.py preview     FOLDER BRANCH --commit SHA --digests FOLDER [--train]
    deliver.py train       FOLDER BRANCH
    deliver.py retire      FOLDER BRANCH
    deliver.py delivered   FOLDER BRANCH
    deliver.py slug        BRANCH

One file per place, replaced as a whole: `environments/NAME/release.json` and
`previews/SLUG/preview.json`. `--digests` is a folder with one file per image (web, worker, trainer)
that holds its digest. Ends with 1 and a sentence if anything is missing: nothing is written then.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

IMAGES = ("web", "worker", "trainer")
ENVIRONMENTS = ("staging", "production")
# A namespace is `preview-SLUG`, and names of objects add to it: 63 characters are the end.
_SLUG = 30


class DeliveryError(Exception):
    """Nothing was written; the message says what to do."""


def slug(branch: str) -> str:
    """A name for namespaces, hosts and image tags: letters, digits, hyphens; at most 30 characters.

    Two branches never share one: what had to be changed is told apart by a piece of its digest.

    Raises:
        DeliveryError: the name is empty.
    """
    if not branch.strip():
        raise DeliveryError("the branch has no name")
    plain = re.sub(r"[^a-z0-9]+", "-", branch.lower()).strip("-")
    if plain == branch and len(plain) <= _SLUG and not re.search(r"-[0-9a-f]{7}$", plain):
        return plain
    piece = hashlib.sha256(branch.encode()).hexdigest()[:7]
    return f"{plain[: _SLUG - 8].strip('-')}-{piece}".lstrip("-")


def digests(folder: Path) -> dict[str, str]:
    """The digest of each image.

    Raises:
        DeliveryError: one is missing, or is no digest.
    """
    found = {}
    for image in IMAGES:
        try:
            text = (folder / image).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DeliveryError(f"the digest of {image} cannot be read from {folder}") from error
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
            raise DeliveryError(f"{text[:80]!r} is not the digest of an image ({image})")
        found[image] = text
    return found


def commit(text: str) -> str:
    """The name of a commit, in full: a short one or a branch would mean another one tomorrow.

    Raises:
        DeliveryError: it is not 40 hexadecimal digits.
    """
    if not re.fullmatch(r"[0-9a-f]{40}", text):
        raise DeliveryError(f"{text[:80]!r} is not the full name of a commit")
    return text


def write(path: Path, content: dict[str, Any]) -> None:
    """Replace a file as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=2, sort_keys=True)
        stream.write("\n")
    Path(draft).chmod(0o644)
    Path(draft).replace(path)


def environment(options: argparse.Namespace) -> None:
    content = {
        "environment": options.name,
        "commit": commit(options.commit),
        "images": digests(options.digests),
    }
    write(options.folder / "environments" / options.name / "release.json", content)


def preview(options: argparse.Namespace) -> None:
    name = slug(options.branch)
    path = options.folder / "previews" / name / "preview.json"
    revision = commit(options.commit)
    try:
        # Until another commit is to be trained, the branch keeps the candidate it has.
        trained = str(json.loads(path.read_text(encoding="utf-8"))["candidate"])
    except (OSError, ValueError, KeyError):
        trained = ""
    content = {
        "preview": name,
        "branch": options.branch,
        "commit": revision,
        # Which commit's training the preview has its candidate from; empty: none was asked for.
        "candidate": revision if options.train else trained,
        "images": digests(options.digests),
    }
    write(path, content)


def train(options: argparse.Namespace) -> None:
    path = options.folder / "previews" / slug(options.branch) / "preview.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["candidate"] = content["commit"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeliveryError(
            f"{options.branch} has no preview yet: push it and wait until it is delivered"
        ) from error
    write(path, content)


def delivered(options: argparse.Namespace) -> None:
    """Print which commit the preview runs, or nothing."""
    path = options.folder / "previews" / slug(options.branch) / "preview.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, DeliveryError):
        print(commit(json.loads(path.read_text(encoding="utf-8"))["commit"]))


def retire(options: argparse.Namespace) -> None:
    folder = options.folder / "previews" / slug(options.branch)
    if folder.exists():
        shutil.rmtree(folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What runs where, for Argo CD.")
    steps = parser.add_subparsers(dest="step", required=True)
    one = steps.add_parser("environment")
    one.add_argument("folder", type=Path)
    one.add_argument("name", choices=ENVIRONMENTS)
    one.set_defaults(run=environment)
    two = steps.add_parser("preview")
    two.add_argument("folder", type=Path)
    two.add_argument("branch")
    two.add_argument("--train", action="store_true", help="train a candidate from this commit")
    two.set_defaults(run=preview)
    for step in (one, two):
        step.add_argument("--commit", required=True)
        step.add_argument("--digests", required=True, type=Path)
    for name, run in (("train", train), ("retire", retire), ("delivered", delivered)):
        step = steps.add_parser(name)
        step.add_argument("folder", type=Path)
        step.add_argument("branch")
        step.set_defaults(run=run)
    four = steps.add_parser("slug")
    four.add_argument("branch")
    four.set_defaults(run=lambda options: print(slug(options.branch)))
    return parser


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except DeliveryError as error:
        print(f"Not delivered: {error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
