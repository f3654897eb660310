"""What the check of migrations finds, operation by operation, and what it lets pass."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import migrations, models
from django.db.migrations.state import ProjectState

from predictions.migration_operations import AddIndexOnline
from tests.support.next_release.migrations.next_release_column import Migration as NextColumn
from tests.support.next_release.migrations.next_release_index import Migration as NextIndex
from tumorsite.management.commands import lint_migrations
from tumorsite.migration_rules import Finding, findings

INDEX = models.Index(fields=["name"], name="scan_name")
CHECK = models.CheckConstraint(condition=~models.Q(name=""), name="named")
HARM = (migrations.DeleteModel("Scan"),)
TABLE = migrations.CreateModel(
    "Scan",
    fields=[
        ("id", models.BigAutoField(primary_key=True)),
        ("name", models.CharField(max_length=20)),
        ("note", models.TextField(null=True)),
        ("kept", models.TextField(db_default="")),
        ("size", models.IntegerField()),
    ],
)


def found(*operations: Any, app: str = "predictions", **attributes: Any) -> list[Finding]:
    """What is found in a migration after the one that has made the table of scans."""
    before = ProjectState()
    TABLE.state_forwards(app, before)
    migration = type("Migration", (migrations.Migration,), {"operations": operations, **attributes})
    return findings(migration("0002_test", app), before)


@pytest.mark.parametrize(
    ("operation", "what"),
    [
        (migrations.DeleteModel("Scan"), "drop-table scan"),
        (migrations.RenameModel("Scan", "Slice"), "rename-table scan"),
        (migrations.AlterModelTable("Scan", "slices"), "rename-table scan"),
        (migrations.RemoveField("Scan", "note"), "drop-column scan.note"),
        (migrations.RenameField("Scan", "note", "remark"), "rename-column scan.note"),
        (migrations.AddField("Scan", "by", models.TextField(default="")), "no-default scan.by"),
        (
            migrations.AddField("Scan", "by", models.TextField(null=True, db_index=True)),
            "index scan.by",
        ),
        (
            migrations.AddField("Scan", "by", models.TextField(null=True, unique=True)),
            "constraint scan.by",
        ),
        (
            migrations.AddField(
                "Scan",
                "twice",
                models.GeneratedField(
                    expression=models.F("size") * 2,
                    output_field=models.IntegerField(),
                    db_persist=True,
                ),
            ),
            "rewrite scan.twice",
        ),
        (migrations.AlterField("Scan", "size", models.TextField()), "change-type scan.size"),
        (
            migrations.AlterField("Scan", "name", models.CharField(max_length=10)),
            "change-type scan.name",
        ),
        (migrations.AlterField("Scan", "note", models.TextField()), "not-null scan.note"),
        (migrations.AlterField("Scan", "kept", models.TextField()), "no-default scan.kept"),
        (
            migrations.AlterField("Scan", "size", models.IntegerField(unique=True)),
            "constraint scan.size",
        ),
        (
            migrations.AlterField("Scan", "size", models.IntegerField(db_index=True)),
            "index scan.size",
        ),
        (
            migrations.AlterField("Scan", "size", models.IntegerField(db_column="area")),
            "rename-column scan.size",
        ),
        (migrations.AddIndex("Scan", INDEX), "index scan.scan_name"),
        # In a transaction, PostgreSQL refuses to.
        (AddIndexOnline("Scan", INDEX), "index scan.scan_name"),
        (migrations.AddConstraint("Scan", CHECK), "constraint scan.named"),
        (
            migrations.AlterUniqueTogether("Scan", {("name", "size")}),
            "constraint scan.unique_together",
        ),
        (migrations.RunPython(migrations.RunPython.noop), "by-hand noop"),
        (migrations.RunSQL("SELECT 1"), "by-hand sql"),
        (migrations.AlterOrderWithRespectTo("Scan", None), "unknown AlterOrderWithRespectTo"),
        (
            migrations.SeparateDatabaseAndState(
                database_operations=[migrations.RemoveField("Scan", "note")]
            ),
            "drop-column scan.note",
        ),
        # Code that no longer knows the column could not write a row.
        (
            migrations.SeparateDatabaseAndState(
                state_operations=[migrations.RemoveField("Scan", "size")]
            ),
            "no-default scan.size",
        ),
    ],
)
def test_what_code_from_before_does_not_bear_is_found(operation: Any, what: str) -> None:
    [one] = found(operation)
    assert (one.migration, one.what) == ("predictions.0002_test", what)
    assert str(one).startswith(f"predictions.0002_test: {what}: ")


@pytest.mark.parametrize(
    "operations",
    [
        [migrations.AddField("Scan", "by", models.TextField(null=True))],
        [migrations.AddField("Scan", "by", models.TextField(db_default=""))],
        [migrations.AlterField("Scan", "name", models.CharField(max_length=40))],
        [migrations.AlterField("Scan", "name", models.TextField())],
        [migrations.AlterField("Scan", "size", models.IntegerField(null=True))],
        [migrations.AlterField("Scan", "size", models.IntegerField("size in pixels"))],
        [migrations.AlterModelOptions("Scan", {"ordering": ["-id"]})],
        [
            migrations.CreateModel("New", [("id", models.BigAutoField(primary_key=True))]),
            migrations.AddField("New", "by", models.TextField(unique=True)),
            migrations.AddIndex("New", models.Index(fields=["by"], name="new_by")),
            migrations.AddConstraint("New", CHECK),
        ],
        # The first step of a removal: the column stays, and rows may be written without it.
        [
            migrations.SeparateDatabaseAndState(
                state_operations=[migrations.RemoveField("Scan", "kept")]
            )
        ],
    ],
)
def test_what_it_bears_passes(operations: list[Any]) -> None:
    assert found(*operations) == []


def test_an_index_made_online_or_on_a_small_table_passes() -> None:
    assert found(AddIndexOnline("Scan", INDEX), atomic=False) == []
    assert found(migrations.AddIndex("Scan", INDEX), app="education") == []


def test_what_runs_in_no_transaction_is_an_online_index_and_nothing_else() -> None:
    column = migrations.AddField("Scan", "by", models.TextField(null=True, default=""))
    index = AddIndexOnline("Scan", INDEX)
    [one] = found(column, index, atomic=False)
    assert one.what == "unprotected AddField"
    assert "rows are lost" in one.why
    assert found(column) == []


def test_a_second_column_with_a_default_hides_none_without() -> None:
    first = migrations.AddField("Scan", "one", models.TextField(default=""))
    second = migrations.AddField("Scan", "two", models.TextField(db_default=""))
    assert [one.what for one in found(first, second)] == ["no-default scan.one"]


def test_a_finding_is_let_pass_with_a_reason_and_a_stale_reason_is_found() -> None:
    drop = migrations.RemoveField("Scan", "note")
    reason = "No release since 1.2 has read or written it."
    assert found(drop, considered={"drop-column scan.note": reason}) == []
    assert "'because' is no reason" in str(
        found(drop, considered={"drop-column scan.note": "because"})[0]
    )
    [one] = found(considered={"drop-column scan.note": reason})
    assert one.why == "is considered, but not done"


def test_the_project_s_own_migrations_pass() -> None:
    output = StringIO()
    call_command("lint_migrations", stdout=output)
    assert int(output.getvalue().split()[0]) >= 8


def test_the_command_fails_and_names_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint_migrations, "project_findings", lambda: (1, found(*HARM)))
    errors = StringIO()
    with pytest.raises(CommandError, match="would not run"):
        call_command("lint_migrations", stderr=errors)
    assert "predictions.0002_test: drop-table scan: " in errors.getvalue()


def test_what_the_rollout_test_applies_while_old_code_runs_passes() -> None:
    state = ProjectState()
    TABLE.state_forwards("predictions", state)
    for kind in (NextColumn, NextIndex):
        migration = kind(kind.__module__.rpartition(".")[2], "predictions")
        assert findings(migration, state) == []
        state = migration.mutate_state(state)
