"""What stands before the web: a port that stays, whatever process answers behind it."""

from __future__ import annotations

import contextlib
import socket
import threading

PIECE = 65536


class Switch:
    """Passes each connection to the web process that is the target when it comes.

    It tries nothing twice: whatever goes wrong behind it reaches the visitor.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def to(self, port: int) -> None:
        """Send connections to this port from now on; those that are open stay where they are."""
        self._target = port

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                visitor, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(visitor,), daemon=True).start()

    def _serve(self, visitor: socket.socket) -> None:
        with visitor:
            try:
                web = socket.create_connection(("127.0.0.1", self._target), timeout=120)
            except OSError:
                return
            with web:
                asking = threading.Thread(target=_pass_on, args=(visitor, web), daemon=True)
                asking.start()
                _pass_on(web, visitor)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
