"""`python -m tumorsite.probe worker ready`: whether a part of the site on this machine is well.

    worker ready   every worker here has a living child that takes tasks, its network loaded
    worker live    it has given a sign of life lately, or is still starting
    web ready      the web answers, and database, storage and broker do
    web live       the web answers
    beat live      the scheduler has sent a task lately

Says why not, and ends with 1. For containers: it starts neither Django nor Celery.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tumorsite import heartbeats

BASE_DIR = Path(__file__).resolve().parent.parent
WEB_SECONDS = 0.9
# Fetching and loading a network over a slow line.
STARTING_SECONDS = 600.0
NEEDED = ("database", "storage", "broker")


class NotWellError(Exception):
    """What is wrong, in a sentence."""


def data_dir() -> Path:
    """DATA_DIR, as the settings read it, without reading all of them."""
    return (BASE_DIR / Path(os.environ.get("DATA_DIR") or "./var").expanduser()).resolve()


def _workers(node: str | None) -> list[Path]:
    """The folders of the workers that run here."""
    root = data_dir() / "run" / "workers"
    if node:
        folders = [heartbeats.folder_of(data_dir(), node)]
    else:
        folders = sorted(root.iterdir()) if root.is_dir() else []
    running = [folder for folder in folders if _parent(folder) is not None]
    if not running:
        raise NotWellError(f"no worker runs with signs of life in {root}")
    return running


def _parent(folder: Path) -> heartbeats.Heartbeat | None:
    beat = heartbeats.read(folder / heartbeats.STARTING)
    return beat if beat is not None and beat.alive else None


def _children(folder: Path) -> list[heartbeats.Heartbeat]:
    found = (heartbeats.read(file) for file in folder.iterdir() if file.name.isdecimal())
    return [beat for beat in found if beat is not None and beat.alive]


def worker_ready(options: argparse.Namespace) -> None:
    for folder in _workers(options.node):
        if not any(beat.age <= options.limit for beat in _children(folder)):
            raise NotWellError(f"{folder.name} has no child that is ready and gives signs of life")


def worker_live(options: argparse.Namespace) -> None:
    for folder in _workers(options.node):
        children, parent = _children(folder), _parent(folder)
        if children:
            age = min(beat.age for beat in children)
            if age > options.limit:
                raise NotWellError(f"{folder.name} gave its last sign of life {age:.0f} s ago")
        elif parent is not None and parent.age > options.starting and not _between(folder, options):
            raise NotWellError(f"{folder.name} has had no child for too long")


def _between(folder: Path, options: argparse.Namespace) -> bool:
    """Whether a child has ended so lately that the next one may still be loading."""
    last = max(
        (file.stat().st_mtime for file in folder.iterdir() if file.name.isdecimal()), default=0.0
    )
    return time.time() - last <= options.starting


def _ask(path: str) -> tuple[int, bytes]:
    # Imported here, as only the web is asked by HTTP, and every import costs time.
    import http.client

    host = os.environ.get("HOST") or "127.0.0.1"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # where to ask
    names = (os.environ.get("ALLOWED_HOSTS") or "localhost").split(",")
    name = next((one.strip() for one in names if one.strip() not in {"", "*"}), "localhost")
    port = int(os.environ.get("PORT") or 8000)
    try:
        link = http.client.HTTPConnection(host, port, timeout=WEB_SECONDS)
        link.request("GET", path, headers={"Host": name.lstrip("."), "User-Agent": "probe"})
        answer = link.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise NotWellError(f"the web does not answer: {type(error).__name__}") from None


def web_live(options: argparse.Namespace) -> None:
    status, _ = _ask("/health/live/")
    if status != 200:
        raise NotWellError(f"the web answers {status}")


def web_ready(options: argparse.Namespace) -> None:
    """Without regard to workers: while they are missing, the web still takes uploads."""
    status, body = _ask("/health/")
    try:
        parts = json.loads(body)["parts"]
    except (ValueError, KeyError, TypeError):
        raise NotWellError(f"the web answers {status} instead of its health") from None
    wrong = [f"{name} {parts.get(name)}" for name in NEEDED if parts.get(name) != "ok"]
    if wrong:
        raise NotWellError("; ".join(wrong))


def beat_live(options: argparse.Namespace) -> None:
    file = data_dir() / "run" / "beat"
    try:
        age = time.time() - file.stat().st_mtime
    except OSError:
        raise NotWellError("the scheduler has sent nothing yet") from None
    # It sends something every minute, or more often.
    limit = max(options.limit, 150.0)
    if age > limit:
        raise NotWellError(f"the scheduler sent its last task {age:.0f} s ago")


QUESTIONS: dict[tuple[str, str], Callable[[argparse.Namespace], None]] = {
    ("worker", "ready"): worker_ready,
    ("worker", "live"): worker_live,
    ("web", "ready"): web_ready,
    ("web", "live"): web_live,
    ("beat", "live"): beat_live,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tumorsite.probe", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("part", choices=sorted({part for part, _ in QUESTIONS}))
    parser.add_argument("question", choices=["ready", "live"])
    parser.add_argument("--node", help="one worker, by the name given with -n")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds without a sign of life")
    parser.add_argument(
        "--starting", type=float, default=STARTING_SECONDS, help="seconds a start may take"
    )
    options = parser.parse_args()
    question = QUESTIONS.get((options.part, options.question))
    if question is None:
        parser.error(f"there is no question {options.part} {options.question}")
    try:
        question(options)
    except NotWellError as reason:
        print(f"not {options.question}: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
