"""Which migrations a rollout allows, during which older code runs on the new schema.

Whatever is not known to be harmless is a finding. A migration gives its reasons, by finding, in its
attribute `considered`; a reason that matches no finding is a finding, too.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState
from django.db.models import NOT_PROVIDED, Field, ManyToManyField
from django.db.models.fields.related import RelatedField

# Tables in which an index is made before anybody notices. All others may have millions of rows.
SMALL = {"predictions.modelversion", "predictions.modelevent", "training.trainingrun"}
SMALL_APPS = {"education"}
# A reason shorter than this is none.
LEAST_WORDS = 5

# Only asked for the names of its types: it never connects.
_postgresql = DatabaseWrapper({**settings.DATABASES["default"], "TIME_ZONE": None, "OPTIONS": {}})

Found = Iterator[tuple[str, str]]

LOCKS = (
    "writers wait while it is made: predictions.migration_operations.AddIndexOnline, "
    "with atomic = False"
)
NO_DEFAULT = "code from before writes rows without it: null=True or db_default=…"
BREAKS = "code from before may write what it forbids, and rows are checked under a lock"
ALONE = (
    "without a transaction SQLite may copy the table while code from before writes to it, and "
    "those rows are lost: a migration of its own, leaving only the online index in this one"
)
READS = "code from before still asks for it: first a release that does not, then this one"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one migration does that may break a rollout."""

    migration: str
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.migration}: {self.what}: {self.why}"


@dataclass
class _Schema:
    """What is known before an operation."""

    app: str
    state: ProjectState
    atomic: bool
    made: set[str] = field(default_factory=set)

    def field(self, model: str, name: str) -> Any:
        return self.state.models[self.app, model.lower()].fields[name]

    def is_new(self, model: str) -> bool:
        """Whether it has no rows yet, and no older code knows it."""
        return model.lower() in self.made

    def is_small(self, model: str) -> bool:
        return (
            self.is_new(model) or self.app in SMALL_APPS or f"{self.app}.{model.lower()}" in SMALL
        )


@functools.singledispatch
def _check(operation: Any, schema: _Schema) -> Found:
    yield f"unknown {type(operation).__name__}", "its effect is not known to this check"


@_check.register(migrations.AlterModelOptions)
@_check.register(migrations.AlterModelManagers)
@_check.register(migrations.AlterModelTableComment)
@_check.register(migrations.RemoveIndex)
@_check.register(migrations.RenameIndex)
@_check.register(migrations.RemoveConstraint)
def _harmless(operation: Any, schema: _Schema) -> Found:
    yield from ()


@_check.register
def _create_model(operation: migrations.CreateModel, schema: _Schema) -> Found:
    schema.made.add(operation.name.lower())
    yield from ()


@_check.register
def _delete_model(operation: migrations.DeleteModel, schema: _Schema) -> Found:
    if not schema.is_new(operation.name):
        yield f"drop-table {operation.name.lower()}", READS


@_check.register
def _rename_model(operation: migrations.RenameModel, schema: _Schema) -> Found:
    yield f"rename-table {operation.old_name.lower()}", READS


@_check.register
def _alter_table(operation: migrations.AlterModelTable, schema: _Schema) -> Found:
    yield f"rename-table {operation.name.lower()}", READS


@_check.register
def _rename_field(operation: migrations.RenameField, schema: _Schema) -> Found:
    if not schema.field(operation.model_name, operation.old_name).db_column:
        yield f"rename-column {operation.model_name.lower()}.{operation.old_name}", READS


@_check.register
def _remove_field(operation: migrations.RemoveField, schema: _Schema) -> Found:
    if not schema.is_new(operation.model_name):
        yield f"drop-column {operation.model_name.lower()}.{operation.name}", READS


@_check.register
def _add_field(operation: migrations.AddField, schema: _Schema) -> Found:
    model, added = operation.model_name, operation.field
    if schema.is_new(model) or isinstance(added, ManyToManyField):
        return
    where = f"{model.lower()}.{operation.name}"
    if getattr(added, "generated", False):
        yield f"rewrite {where}", "every row is written anew under a lock"
    elif not added.null and not _has_default(added):
        yield f"no-default {where}", NO_DEFAULT
    if added.unique:
        yield f"constraint {where}", BREAKS
    elif _is_indexed(added) and not schema.is_small(model):
        yield f"index {where}", f"{LOCKS}, on a field with db_index=False"


@_check.register
def _alter_field(operation: migrations.AlterField, schema: _Schema) -> Found:
    model, new = operation.model_name, operation.field
    old = schema.field(model, operation.name)
    if schema.is_new(model):
        return
    where = f"{model.lower()}.{operation.name}"
    if old.db_column != new.db_column:
        yield f"rename-column {where}", READS
    if not _same_type(old, new):
        yield f"change-type {where}", "rows are written anew under a lock, and code may choke on it"
    if old.null and not new.null:
        yield f"not-null {where}", BREAKS
    if _has_default(old) and not _has_default(new) and not new.null:
        yield f"no-default {where}", NO_DEFAULT
    if new.unique and not old.unique:
        yield f"constraint {where}", BREAKS
    elif _is_indexed(new) and not (_is_indexed(old) or old.unique or schema.is_small(model)):
        yield f"index {where}", LOCKS


@_check.register
def _add_index(operation: migrations.AddIndex, schema: _Schema) -> Found:
    where = f"index {operation.model_name.lower()}.{operation.index.name}"
    online = isinstance(operation, AddIndexConcurrently)
    if online and schema.atomic:
        yield where, "PostgreSQL makes it in no transaction: atomic = False"
    elif not online and not schema.is_small(operation.model_name):
        yield where, LOCKS


@_check.register
def _add_constraint(operation: migrations.AddConstraint, schema: _Schema) -> Found:
    if not schema.is_new(operation.model_name):
        yield f"constraint {operation.model_name.lower()}.{operation.constraint.name}", BREAKS


@_check.register
def _unique_together(operation: migrations.AlterUniqueTogether, schema: _Schema) -> Found:
    old = schema.state.models[schema.app, operation.name.lower()].options.get("unique_together")
    if not schema.is_new(operation.name) and (operation.option_value or set()) - set(old or ()):
        yield f"constraint {operation.name.lower()}.unique_together", BREAKS


@_check.register
def _run_python(operation: migrations.RunPython, schema: _Schema) -> Found:
    name = getattr(operation.code, "__name__", "code")
    yield f"by-hand {name}", "what it locks, and for how long, shows only in it"


@_check.register
def _run_sql(operation: migrations.RunSQL, schema: _Schema) -> Found:
    yield "by-hand sql", "what it locks, and for how long, shows only in it"


@_check.register
def _separate(operation: migrations.SeparateDatabaseAndState, schema: _Schema) -> Found:
    within = _Schema(schema.app, schema.state.clone(), schema.atomic, schema.made)
    yield from _walk(operation.database_operations, within)
    for one in operation.state_operations:
        # The first step of a removal: from now on rows are written without it.
        if isinstance(one, migrations.RemoveField):
            kept = schema.field(one.model_name, one.name)
            if not isinstance(kept, ManyToManyField) and not (kept.null or _has_default(kept)):
                yield f"no-default {one.model_name.lower()}.{one.name}", NO_DEFAULT


def _is_indexed(field: Field[Any, Any]) -> bool:
    return bool(getattr(field, "db_index", False))


def _has_default(one: Any) -> bool:
    return one.db_default is not NOT_PROVIDED


def _same_type(old: Any, new: Any) -> bool:
    """Whether PostgreSQL changes from one to the other without touching a row."""
    if isinstance(old, RelatedField) or isinstance(new, RelatedField):
        return type(old) is type(new) and old.remote_field.model == new.remote_field.model
    before, after = old.db_type(_postgresql), new.db_type(_postgresql)
    if before == after:
        return True
    wider = old.max_length and (new.max_length is None or new.max_length >= old.max_length)
    return bool(wider) and {before.split("(")[0], after.split("(")[0]} <= {"varchar", "text"}


def _walk(operations: Iterable[Any], schema: _Schema) -> Found:
    for operation in operations:
        yield from _check(operation, schema)
        operation.state_forwards(schema.app, schema.state)


def _all(migration: migrations.Migration, schema: _Schema) -> Found:
    yield from _walk(migration.operations, schema)
    for operation in () if migration.atomic else migration.operations:
        if not isinstance(operation, AddIndexConcurrently | RemoveIndexConcurrently):
            yield f"unprotected {type(operation).__name__}", ALONE


def findings(migration: migrations.Migration, before: ProjectState) -> list[Finding]:
    """What a migration does that may break a rollout and that it gives no reason for.

    Args:
        before: the models before it, which is left as it is.
    """
    schema = _Schema(migration.app_label, before.clone(), migration.atomic)
    considered: dict[str, str] = dict(getattr(migration, "considered", {}))
    name, found = f"{migration.app_label}.{migration.name}", []
    for what, why in dict(_all(migration, schema)).items():
        reason = considered.pop(what, None)
        if reason is None:
            found.append(Finding(name, what, why))
        elif len(reason.split()) < LEAST_WORDS:
            found.append(Finding(name, what, f"{reason!r} is no reason"))
    found += [Finding(name, what, "is considered, but not done") for what in considered]
    return found


def project_findings() -> tuple[int, list[Finding]]:
    """The number of the project's own migrations, and what was found in them."""
    own = {
        config.label
        for config in apps.get_app_configs()
        if Path(config.path).is_relative_to(settings.BASE_DIR)
        and "site-packages" not in Path(config.path).parts
    }
    graph, state = MigrationLoader(None).graph, ProjectState()
    count, found, seen = 0, [], set()
    for leaf in graph.leaf_nodes():
        for key in graph.forwards_plan(leaf):
            if key in seen:
                continue
            seen.add(key)
            migration = graph.nodes[key]
            if key[0] in own:
                count += 1
                found += findings(migration, state)
            state = migration.mutate_state(state, preserve=False)
    return count, found
