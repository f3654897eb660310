"""Operations of migrations that do not stop a site that is in use."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


class AddIndexOnline(AddIndexConcurrently):
    """`AddIndex` during which a large table of PostgreSQL can still be written.

    Its migration needs `atomic = False`. SQLite, which has one writer at a time, builds the index
    as always.
    """

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: Any,
        to_state: Any,
    ) -> None:
        way = _way(schema_editor)
        way.database_forwards(self, app_label, schema_editor, from_state, to_state)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: Any,
        to_state: Any,
    ) -> None:
        way = _way(schema_editor)
        way.database_backwards(self, app_label, schema_editor, from_state, to_state)


def _way(schema_editor: BaseDatabaseSchemaEditor) -> Any:
    postgresql = schema_editor.connection.vendor == "postgresql"
    return AddIndexConcurrently if postgresql else migrations.AddIndex
