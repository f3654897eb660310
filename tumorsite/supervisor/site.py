"""The order in which the site starts and ends."""

from __future__ import annotations

import gc
import json
import socket
import time
import traceback
from typing import Any

from tumorsite.supervisor import StartError
from tumorsite.supervisor.broker import EmbeddedBroker
from tumorsite.supervisor.console import Console
from tumorsite.supervisor.core import Supervisor
from tumorsite.supervisor.folder import DataFolder
from tumorsite.supervisor.opening import address_of, probe_of
from tumorsite.supervisor.parts import Part, load_code, preparation, site_parts

READY_SECONDS = 120.0


class Site:
    """One run of the whole site, from the first part to the last."""

    def __init__(
        self,
        values: Any,
        folder: DataFolder,
        listener: socket.socket,
        embedded: EmbeddedBroker | None,
        began: float,
    ) -> None:
        self.values, self.folder, self.listener, self.embedded = values, folder, listener, embedded
        self.console = Console(folder.log)
        self.supervisor = Supervisor(self.console, folder.lock, values.STOP_SECONDS + 2)
        self._began = began
        self._broker: Part | None = None

    def run(self) -> None:
        """Start everything, say so, and stay until told to stop.

        Raises:
            StartError: a part cannot start; all others have been ended.
        """
        self.supervisor.open()
        try:
            self._start_or_explain()
            while not self.supervisor.stopping:
                self.supervisor.step(60)
            self.console.say("stopping")
        finally:
            self.supervisor.stop(last=[self._broker] if self._broker else [])
            self.folder.withdraw_broker()
            self.console.say("everything has ended")
            self.console.close()

    def _start_or_explain(self) -> None:
        try:
            self._start()
        except (StartError, OSError):
            raise
        except Exception as error:
            self.console.record(traceback.format_exc())
            raise StartError(
                f"{type(error).__name__}: {error}; where it came from is in {self.folder.log}."
            ) from None

    def _start(self) -> None:
        """1. the broker, 2. the code, 3. database and files, 4. all other parts, 5. health."""
        self.console.say(f"starting; data in {self.folder.path}")
        if self.embedded:
            self._broker = Part("broker", self.embedded.command(self.folder.path / "valkey"))
            self.supervisor.start(self._broker)
        load_code()
        # What has been loaded stays; a collection in a child must not copy its pages.
        gc.freeze()
        if self.embedded and not self._wait_for_broker(self.embedded):
            return
        code = self.supervisor.run_once(part := preparation())
        if code:
            raise StartError(part.last_words or "Preparing database and files failed.")
        if code is None:
            return
        parts = site_parts(self.listener)
        for part in parts:
            self.supervisor.start(part)
        self._wait_for_parts(parts)
        self._wait_for_health()
        if not self.supervisor.stopping:
            self.console.say(f"ready after {self._seconds():.1f} s")
            self.console.show(self._greeting())

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _say_ready(self, name: str) -> None:
        self.console.say(f"{name} is ready ({self._seconds():.1f} s)")

    def _wait_for_broker(self, embedded: EmbeddedBroker) -> bool:
        while not self.supervisor.stopping:
            self.supervisor.step(0.05)
            if self._broker and embedded.answers():
                self._broker.ready = self._broker.was_ready = True
                self.folder.announce_broker(embedded.url)
                self._say_ready("broker")
                return True
        return False

    def _wait_for_parts(self, parts: list[Part]) -> None:
        waiting, limit = list(parts), time.monotonic() + READY_SECONDS
        while waiting and not self.supervisor.stopping:
            self.supervisor.step(0.2)
            for part in [part for part in waiting if part.ready]:
                waiting.remove(part)
                self._say_ready(part.name)
            if time.monotonic() > limit:
                names = ", ".join(part.name for part in waiting)
                raise StartError(f"Not ready after {READY_SECONDS:.0f} s: {names}.")

    def _wait_for_health(self) -> None:
        probe, limit = probe_of(self.values, self.listener), time.monotonic() + READY_SECONDS
        while not self.supervisor.stopping:
            self.supervisor.step(0.1)
            probe.step()
            if probe.healthy:
                break
            if time.monotonic() > limit:
                wrong = "; ".join(f"{name} {state}" for name, state in probe.wrong.items())
                raise StartError(
                    f"Not healthy after {READY_SECONDS:.0f} s: {wrong or 'web gives no answer'}."
                )
        probe.close()

    def _greeting(self) -> str:
        kept = self.folder.path / "accounts.json"
        people = ""
        # A database that came from elsewhere has accounts of its own.
        if kept.exists():
            people = "".join(
                f"  {role.capitalize():<14} {who['email']:<26} {who['password']}\n"
                for role, who in json.loads(kept.read_text(encoding="utf-8")).items()
            )
            people += f"\n  Kept in        {kept}\n"
        return (
            f"\nTumorSite is ready:  {address_of(self.values)}\n\n{people}"
            f"  Logs           {self.folder.log}\n"
            "  Stop           Ctrl-C\n"
        )
