"""The group of those who read results: they see scans without whose they are, and review."""

from typing import Any

from django.db import migrations

MAY = {
    "scan": ("view",),
    "prediction": ("view",),
    "modelversion": ("view",),
    "review": ("add", "view", "change"),
}
NAMES = {"modelversion": "model version"}


def make_group(apps: Any, schema_editor: Any) -> None:
    group, created = apps.get_model("auth", "Group").objects.get_or_create(name="Reviewers")
    if not created:
        return
    # Django makes permissions only after the last migration, so those needed are made here.
    content_types = apps.get_model("contenttypes", "ContentType").objects
    permissions = apps.get_model("auth", "Permission").objects
    for model, actions in MAY.items():
        kind, _ = content_types.get_or_create(app_label="predictions", model=model)
        for action in actions:
            permission, _ = permissions.get_or_create(
                content_type=kind,
                codename=f"{action}_{model}",
                defaults={"name": f"Can {action} {NAMES.get(model, model)}"},
            )
            group.permissions.add(permission)


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0002_erasure"),
        ("predictions", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    considered = {
        "by-hand make_group": "It writes a dozen rows about permissions, which no visitor's request reads.",
    }

    operations = [migrations.RunPython(make_group, migrations.RunPython.noop)]
