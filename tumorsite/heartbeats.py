"""Heartbeats that workers leave in DATA_DIR/run, for a probe that has no time to ask them.

`workers/<node>/starting` is written by a worker's parent, `workers/<node>/<pid>` by a child of
its pool once it may take tasks: an inference child when its network is loaded and warm. A file's
time is the last heartbeat. Only the standard library: the probe must answer within a second.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
STARTING = "starting"


def born(pid: int) -> str:
    """When a process started, which tells it from a later one of the same pid; "" if unknown."""
    try:
        # Its name, in brackets, may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return fields[19]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        return stat.rpartition(")")[2].split()[0] != "Z"
    return True


def folder_of(data_dir: Path, node: str) -> Path:
    return data_dir / "run" / "workers" / re.sub(r"[^\w.@-]", "_", node)


def _write(file: Path) -> None:
    """Write this process's pid and start time, whole or not at all."""
    pid = os.getpid()
    draft = file.with_name(f".{file.name}.{pid}")
    draft.write_text(json.dumps({"pid": pid, "born": born(pid)}), encoding="ascii")
    draft.replace(file)


def starting(data_dir: Path, node: str) -> None:
    """Called in a worker's parent before it forks: removes what a namesake before it left."""
    folder = folder_of(data_dir, node)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink(missing_ok=True)
        _write(folder / STARTING)
    except OSError as error:
        logger.warning("probes will not find this worker: %s", error.strerror)


def ready(data_dir: Path, node: str) -> None:
    """Called in a child that may take tasks: gives heartbeats for as long as its threads run."""
    file = folder_of(data_dir, node) / str(os.getpid())
    try:
        _write(file)
    except OSError as error:
        logger.warning("probes will not find this worker: %s", error.strerror)
        return
    threading.Thread(target=_beat, args=(file,), name="heartbeat", daemon=True).start()


def _beat(file: Path) -> None:
    while True:
        time.sleep(BEAT_SECONDS)
        try:
            os.utime(file)
        except FileNotFoundError:
            # Removed by a later worker of the same name, which gives its own heartbeats.
            return
        except OSError:
            continue


def touch(file: Path) -> None:
    """Note that something has just happened."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a file of heartbeats says at the moment."""

    pid: int
    age: float
    alive: bool


def read(file: Path) -> Heartbeat | None:
    """The heartbeat in a file; None if it has just gone or is none."""
    try:
        said = json.loads(file.read_text(encoding="ascii"))
        age = time.time() - file.stat().st_mtime
        pid, was_born = int(said["pid"]), said["born"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Heartbeat(pid, age, is_alive(pid) and born(pid) == was_born)
