"""What must not be in an image, looked for in the built one."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from tests.deploy.images import Image

UID = 10001
LABELS = {
    f"org.opencontainers.image.{name}"
    for name in (
        *("title", "description", "vendor", "licenses", "source", "documentation"),
        *("version", "revision", "created", "base.name", "base.digest"),
    )
}
SECRET_NAMES = re.compile(
    r"^(secret[-_]?key.*|\.env(\..*)?|\.netrc|\.pypirc|pip\.conf|id_(rsa|ed25519)|credentials"
    r"|accounts\.json|.*\.sqlite3|\.git|\.docker|ca\.pem)$"
)
SECRET_SETTINGS = re.compile(r"SECRET|PASSWORD|TOKEN|CREDENTIAL|_KEY|DATABASE_URL|BROKER_URL")
PRIVATE_KEY = b"PRIVATE KEY-----"
# What the base brings. Pseudo file systems are empty in an image.
OURS = ("app", "opt", "data", "tmp", "root", "home", "run", "etc")


def _config_faults(image: Image) -> Iterator[str]:
    config = image.config
    user = str(config.get("User") or "root")
    if not re.fullmatch(rf"{UID}:{UID}", user):
        yield f"runs as {user}, not as {UID}:{UID}"
    if not (config.get("Healthcheck") or {}).get("Test"):
        yield "has no health check"
    command = config.get("Cmd") or []
    if not command or command[0].endswith("sh") or config.get("Entrypoint"):
        yield "its command is not in exec form"
    for name in image.environment():
        if SECRET_SETTINGS.search(name) and name != "GPG_KEY":
            yield f"sets {name}"
    missing = LABELS - (config.get("Labels") or {}).keys()
    if missing:
        yield f"lacks the labels {', '.join(sorted(missing))}"
    if re.search(r"migrate|prepare|collectstatic", " ".join(command)):
        yield "prepares the database when it starts"


def _walk(root: Path) -> Iterator[Path]:
    for part in OURS:
        for folder, folders, files in os.walk(root / part):
            yield from (Path(folder) / name for name in (*folders, *files))


def _file_fault(path: Path, state: os.stat_result) -> str | None:
    if SECRET_NAMES.match(path.name):
        return "may be a secret"
    if stat.S_ISREG(state.st_mode):
        if state.st_mode & stat.S_ISUID:
            return "runs as its owner, whoever starts it"
        # Keys are small text files; a network is not read for them.
        small = state.st_size < 100_000 and path.suffix in {".pem", ".key", ".crt", ""}
        if small and PRIVATE_KEY in path.read_bytes():
            return "holds a private key"
    return None


def _writable(state: os.stat_result) -> bool:
    if stat.S_ISLNK(state.st_mode):
        return False
    anyone = bool(state.st_mode & stat.S_IWOTH) and not state.st_mode & stat.S_ISVTX
    return anyone or (state.st_uid == UID and bool(state.st_mode & stat.S_IWUSR))


def _readable(state: os.stat_result) -> bool:
    needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(state.st_mode) else 0)
    return stat.S_ISLNK(state.st_mode) or state.st_mode & needed == needed


def _tree_faults(image: Image) -> Iterator[str]:
    for path in _walk(image.root):
        state, inside = path.lstat(), "/" + str(path.relative_to(image.root))
        if fault := _file_fault(path, state):
            yield f"{inside} {fault}"
        if _writable(state) and inside != "/data":
            yield f"{inside} can be written by the site"
        if inside.startswith(("/app/", "/opt/")) and not _readable(state):
            yield f"{inside} cannot be read by the site"
        if inside.startswith("/app/") and path.name in {"tests", "Dockerfile", "requirements"}:
            yield f"{inside} is not needed to run"


def faults(image: Image) -> list[str]:
    """Sentences about what is wrong with an image; none when all is well."""
    return [*_config_faults(image), *_tree_faults(image)]
