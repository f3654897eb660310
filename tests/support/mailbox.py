"""A real SMTP server on this machine, and what it was sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler

from tests.support.processes import free_port


class Mailbox(MessageHandler):
    """Keeps what it is sent: receivers and mail."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.mails: list[tuple[list[str], Message]] = []

    def prepare_message(self, session: Any, envelope: Any) -> Any:
        content = envelope.original_content or envelope.content
        self.mails.append((envelope.rcpt_tos, message_from_bytes(content)))
        return super().prepare_message(session, envelope)

    def handle_message(self, message: Any) -> None:
        """It is kept by now."""

    @property
    def address(self) -> str:
        """For NOTIFY_URLS."""
        return f"mailto://127.0.0.1:{self.port}?from=site@example.org&to=ada@example.org"

    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for _, mail in self.mails]


def text_of(mail: Message) -> str:
    return "\n".join(
        part.get_payload(decode=True).decode()  # type: ignore[union-attr]  # text is bytes
        for part in mail.walk()
        if part.get_content_maintype() == "text"
    )


@contextmanager
def open_mailbox() -> Iterator[Mailbox]:
    box = Mailbox(free_port())
    server = Controller(box, hostname="127.0.0.1", port=box.port)
    server.start()
    try:
        yield box
    finally:
        server.stop()
