"""The registry of a running site: what an operator types, and which network answers."""

from __future__ import annotations

import json

from tests.support.http import Browser
from tests.support.pictures import mri_png
from tests.support.site import Site

_COMMANDS = "tests.support.commands"


class Registry:
    """The commands that an operator types, on a site's own data folder."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def ask(self, *commands: tuple[object, ...]) -> list[tuple[bool, str]]:
        """Of each command, whether it succeeded, and what it said."""
        words = json.dumps([[str(word) for word in command] for command in commands])
        return [(done, said) for done, said in json.loads(self.site.run(_COMMANDS, words))]

    def do(self, *words: object) -> str:
        [(done, said)] = self.ask(words)
        assert done, said
        return said

    def in_production(self) -> str:
        """The version that answers, by the records."""
        return self._production("version")

    def artifact(self) -> str:
        """The name of the folder of the network in production."""
        return self._production("artifact")

    def _production(self, column: str) -> str:
        with self.site.database() as database:
            [row] = database.execute(
                "SELECT * FROM predictions_modelversion WHERE stage = 'production'"
            ).fetchall()
        return str(row[column])

    def versions(self) -> dict[int, str]:
        """The version of each row by its primary key."""
        with self.site.database() as database:
            rows = database.execute("SELECT id, version FROM predictions_modelversion").fetchall()
        return {row["id"]: row["version"] for row in rows}

    def answered_by(self, ids: list[str]) -> list[str]:
        # Visitors may go on while the rows are read.
        ids = list(ids)
        versions, rows = self.versions(), self.site.predictions()
        return [versions[rows[pk]["model_version_id"]] for pk in ids]

    def answering(self) -> str:
        """The version that answers a picture uploaded now."""
        ids = Browser(self.site.url).submit(mri_png(seed=7))
        self.site.wait_for(ids, seconds=30)
        return self.answered_by(ids)[0]
