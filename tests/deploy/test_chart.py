"""The chart: Helm takes it, a cluster would take what comes out, and bad values are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.deploy.manifests import (
    CHART,
    ENVIRONMENTS,
    InvalidManifestError,
    Manifest,
    name_of,
    objects,
    of_kind,
    template,
    validate,
)
from tests.deploy.tools import PROJECT, run

each_environment = pytest.mark.parametrize("environment", ENVIRONMENTS)


@each_environment
@pytest.mark.parametrize("parts", ["all", "site", "training"])
def test_helm_finds_no_fault(helm: Path, environment: str, parts: str) -> None:
    values = ("--values", CHART / f"values-{environment}.yaml", "--set", f"parts={parts}")
    said = run(helm, "lint", "--strict", CHART, *values)
    assert said.returncode == 0, said.stdout + said.stderr


def test_helm_finds_a_planted_fault(helm: Path, tmp_path: Path) -> None:
    run("cp", "-r", CHART, tmp_path / "tumorsite")
    broken = tmp_path / "tumorsite/templates/web.yaml"
    broken.write_text(broken.read_text(encoding="utf-8") + "{{ .Values.web.replica.count }}\n")
    said = run(
        helm, "lint", "--strict", tmp_path / "tumorsite", "--values", CHART / "values-dev.yaml"
    )
    assert said.returncode != 0
    assert "replica" in said.stdout + said.stderr


def test_without_an_environment_the_chart_is_refused(helm: Path) -> None:
    said = run(helm, "template", "tumorsite", CHART)
    assert said.returncode != 0
    assert "bucket" in said.stderr


@each_environment
def test_a_cluster_would_take_every_object(environment: str) -> None:
    manifests = objects(environment)
    assert len(manifests) > 30
    for manifest in manifests:
        validate(manifest)


@each_environment
def test_no_two_objects_have_one_name(environment: str) -> None:
    names = [name_of(manifest) for manifest in objects(environment)]
    assert len(names) == len(set(names))


def _first(kind: str) -> Manifest:
    return of_kind(objects("production"), kind)[0]


FAULTS: list[tuple[str, list[str | int], Any]] = [
    ("Deployment", ["spec", "template", "spec", "containers", 0, "imagePullPolice"], "Always"),
    ("Deployment", ["spec", "template", "spec", "containers", 0, "ports"], "http"),
    ("Service", ["spec", "ports", 0, "port"], "eighty"),
    ("Job", ["spec", "backofLimit"], 3),
    ("CronJob", ["spec", "concurrencyPolicies"], "Forbid"),
    ("HorizontalPodAutoscaler", ["spec", "maxReplicas"], "many"),
    ("PodDisruptionBudget", ["spec", "maxUnavailabel"], 1),
    ("NetworkPolicy", ["spec", "egres"], []),
    ("Ingress", ["spec", "rules", 0, "http", "paths", 0, "pathtype"], "Prefix"),
    ("ScaledObject", ["spec", "maxReplicas"], 3),
    ("ScaledObject", ["spec", "triggers", 0, "metadata", "threshold"], 20),
    ("ExternalSecret", ["spec", "secretStore"], {"name": "x"}),
    ("ExternalSecret", ["apiVersion"], "external-secrets.io/v1beta1"),
    ("PodMonitor", ["spec", "podMetricsEndpoints", 0, "targetport"], 9100),
    ("PrometheusRule", ["spec", "groups", 0, "rules", 0, "expression"], "up == 0"),
]


@pytest.mark.parametrize(("kind", "path", "value"), FAULTS, ids=lambda part: str(part)[:40])
def test_each_validator_finds_a_planted_fault(kind: str, path: list[str | int], value: Any) -> None:
    manifest = _first(kind)
    validate(manifest)
    place: Any = manifest
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(InvalidManifestError):
        validate(manifest)


def test_an_unknown_kind_is_no_pass() -> None:
    stranger = {"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "x"}}
    with pytest.raises(InvalidManifestError):
        validate(stranger)


BAD_VALUES = {
    "a mistyped name": ("web.replica=3", "replica"),
    "an image by the name of latest": ("image.tag=latest", "tag"),
    "a short digest": ("image.web.digest=sha256:abc", "digest"),
    "an address with a path": ("site.url=https://x.example/site", "url"),
    "a half that is none": ("parts=web", "parts"),
    "no host": ("site.hosts=null", "hosts"),
    "a role that is none": ("s3.roles.site=admin", "role"),
    "a bucket's address": ("s3.bucket=s3://scans", "bucket"),
    "text for a number": ("web.processes=two", "processes"),
    "memory in megabytes": ("web.resources.limits.memory=512MB", "memory"),
    "a limit left out": ("web.resources.limits=null", "limits"),
    "an unknown part": ("secrets.parts.webb={SECRET_KEY}", "webb"),
    "two kinds of peer at once": (
        "network.ingress[0].namespace=a,network.ingress[0].cidr=10.0.0.0/8",
        "ingress",
    ),
    "a soft shutdown as long as the grace": ("inferenceCpu.softShutdownSeconds=60", "graceSeconds"),
    "a soft shutdown as long as a task": ("general.softShutdownSeconds=30", "TASK_HARD_LIMIT"),
    "tasks longer than a soft shutdown": ("settings.TASK_HARD_LIMIT=40", "inference-cpu"),
    "requests cut off by the grace": ("web.requestSeconds=55", "graceSeconds"),
    "more at least than at most": ("inferenceCpu.autoscaling.min=50", "autoscaling.min"),
    "a setting given twice": ("settings.S3_BUCKET=other", "S3_BUCKET"),
    "a way to nowhere": ("network.reach.web={moon}", "moon"),
    "a setting that is no name": ("settings.log-level=INFO", "log-level"),
}


@pytest.mark.parametrize("what", BAD_VALUES)
def test_bad_values_are_refused_by_name(what: str) -> None:
    change, named = BAD_VALUES[what]
    code, _, errors = template("production", "--set", change)
    assert code != 0, f"{what} was taken"
    assert named in errors


def test_nothing_is_scaled_by_what_nobody_measures() -> None:
    """KEDA would take the silence for a fault, and keep the pods of its fallback for ever."""
    change = "monitoring.enabled=false"
    for part, name in (
        ("general", "general"),
        ("inference-cpu", "inferenceCpu"),
        ("inference-gpu", "inferenceGpu"),
        ("shadow", "shadow"),
        ("training", "training"),
    ):
        code, _, errors = template("production", "--set", change)
        assert code != 0
        assert f"{part}: its autoscaler reads Prometheus: monitoring.enabled must be" in errors
        change += f",{name}.autoscaling.enabled=false"
    code, _, errors = template("production", "--set", change)
    assert code == 0, errors


def test_an_image_needs_a_tag_or_a_digest() -> None:
    code, _, errors = template("staging", "--set", "image.tag=")
    assert code != 0
    assert ".digest or image.tag must be given" in errors


def test_production_names_images_by_digest() -> None:
    images = {
        container["image"]
        for manifest in of_kind(objects("production"), "Deployment")
        for container in manifest["spec"]["template"]["spec"]["containers"]
    }
    assert images
    assert all("@sha256:" in image for image in images)


def test_the_namespace_refuses_pods_that_are_not_restricted() -> None:
    import yaml

    namespace = yaml.safe_load((PROJECT / "k8s/namespace.yaml").read_text(encoding="utf-8"))
    validate(namespace)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("environment", ["production", "staging"])
def test_the_database_is_told_how_many_connections_there_may_be(environment: str) -> None:
    """The figures of docs/kubernetes.md are its formula, of what is really rendered."""
    most, threads = {}, 0
    for scaler in of_kind(objects(environment), "HorizontalPodAutoscaler", "ScaledObject"):
        spec = scaler["spec"]
        name = spec["scaleTargetRef"]["name"].removeprefix("tumorsite-")
        most[name] = spec.get("maxReplicas", spec.get("maxReplicaCount"))
    for one in of_kind(objects(environment), "Deployment"):
        if one["metadata"]["name"] == "tumorsite-web":
            (web,) = one["spec"]["template"]["spec"]["containers"]
            env = {entry["name"]: entry.get("value") for entry in web["env"]}
            threads = int(env["WEB_WORKERS"]) * int(env["WEB_THREADS"])
    needed = 2 * (most.pop("web") * threads + 2 * sum(most.values())) + 10
    text = (PROJECT / "docs/kubernetes.md").read_text(encoding="utf-8")
    assert f"| `values-{environment}.yaml` | {needed} | 100 |" in text, needed


def test_what_is_asked_for_is_what_was_measured() -> None:
    """The table of docs/kubernetes.md is what values.yaml says, and more than was seen."""
    import yaml

    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    text = (PROJECT / "docs/kubernetes.md").read_text(encoding="utf-8")
    table = text[text.index("| Part | MiB after the start") :].split("\n\n", 1)[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    keys = {"inference-cpu": "inferenceCpu", "migrate, register": "jobs"}
    assert {keys.get(row[0], row[0]) for row in rows} == {
        "web", "inferenceCpu", "shadow", "general", "beat", "jobs",
    }  # fmt: skip
    for part, _, highest, memory, limit, _, busiest, processor, _ in rows:
        resources = values[keys.get(part, part)]["resources"]
        told = {kind: amounts["memory"] for kind, amounts in resources.items()}
        assert told == {"requests": f"{memory}Mi", "limits": f"{limit}Mi"}, part
        assert resources["requests"]["cpu"] == f"{processor}m", part
        assert int(highest or 0) < int(memory), part
        assert int(busiest or 0) < int(processor), part
