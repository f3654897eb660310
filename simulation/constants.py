"""The values of `constants.toml`, each with its source."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("constants.toml")


class Constants:
    """Values by name, as attributes.

    Raises:
        ValueError: one has no value or states no source.
    """

    def __init__(self, file: Path = FILE) -> None:
        self.rows: list[tuple[str, str, Any, str]] = []
        for kind, entries in tomllib.loads(file.read_text(encoding="utf-8")).items():
            for name, entry in entries.items():
                if not isinstance(entry, dict) or not entry.get("why") or "value" not in entry:
                    raise ValueError(f"{file}: {kind}.{name} needs a value and a why")
                self.rows.append((kind, name, entry["value"], entry["why"]))
        self._values = {name: value for _, name, value, _ in self.rows}

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"{FILE.name} has no {name}") from None
