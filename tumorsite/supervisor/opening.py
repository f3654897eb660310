"""What is settled before the first part starts: the settings and the site's socket."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from tumorsite.supervisor import StartError
from tumorsite.supervisor.broker import EmbeddedBroker
from tumorsite.supervisor.probe import HealthProbe

BACKLOG = 512
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # only where to ask
LOOPBACK = {"127.0.0.1", "::1"}


def read_settings(embedded: EmbeddedBroker | None) -> Any:
    """The operator's values; an embedded broker's address is put among them before."""
    if embedded:
        os.environ["BROKER_URL"] = embedded.url
    # Numeric libraries must not start threads in a process that forks.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tumorsite.settings")
    from tumorsite.settings.values import values

    if not values.BROKER_URL:
        raise StartError("BROKER_URL_FILE names an empty file. See docs/settings.md.")
    return values


def listen(host: str, port: int) -> socket.socket:
    """The site's socket, taken before anything else so that a taken port is found at once."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise StartError(f"HOST {host} is no address of this machine: {error.strerror}.") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(_why_not(error, host, port)) from None
    return listener


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken; choose another one, for example PORT={port + 1}."
    if error.errno == errno.EACCES:
        return f"Port {port} is not open to this user; choose one above 1023."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"HOST {host} is no address of this machine."
    return f"Port {port} on {host} cannot be used: {error.strerror}."


def address_of(values: Any) -> str:
    """The site's address as a person types it. Browsers allow passkeys at names only."""
    host = ANY_ADDRESS.get(values.HOST, values.HOST)
    if host in LOOPBACK and {"localhost", "*"} & set(values.ALLOWED_HOSTS):
        host = "localhost"
    host = f"[{host}]" if ":" in host else host
    return str(values.SITE_URL.rstrip("/") or f"http://{host}:{values.PORT}")


def probe_of(values: Any, listener: socket.socket) -> HealthProbe:
    """Asks on this machine, under a name that the site answers to."""
    host, port = listener.getsockname()[:2]
    name = next((host for host in values.ALLOWED_HOSTS if host != "*"), "localhost")
    return HealthProbe((ANY_ADDRESS.get(host, host), port), name.lstrip("."))
