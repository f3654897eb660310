"""Rendered objects of the chart, their validators, and ways through them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from kubernetes_validate.utils import all_versions, schema_contents
from referencing import Registry, Resource

from tests.deploy.tools import PROJECT, helm, run

CHART = PROJECT / "k8s/chart/tumorsite"
ENVIRONMENTS = ("dev", "staging", "production")
# Of the newest cluster whose schemas are to be had, and of the oldest that Chart.yaml allows.
VERSIONS = ("1.37", "1.31")
SCHEMAS = Path(__file__).parent / "schemas"

Manifest = dict[str, Any]


class InvalidManifestError(Exception):
    """An object that a cluster would refuse."""


def template(environment: str, *options: str) -> tuple[int, str, str]:
    """Exit code, output and errors of `helm template` with one values file."""
    said = run(
        helm(), "template", "tumorsite", CHART, "--namespace", "tumorsite",
        "--values", CHART / f"values-{environment}.yaml", *options,
    )  # fmt: skip
    return said.returncode, said.stdout, said.stderr


@cache
def _rendered(environment: str, options: tuple[str, ...]) -> str:
    """As JSON, which is read many times faster than YAML."""
    code, text, errors = template(environment, *options)
    if code:
        raise InvalidManifestError(errors)
    return json.dumps([one for one in yaml.safe_load_all(text) if one])


def objects(environment: str, *options: str) -> list[Manifest]:
    """Every object of one environment, hooks among them, fresh copies each time."""
    found: list[Manifest] = json.loads(_rendered(environment, options))
    return found


@cache
def _own(kind: str) -> Draft202012Validator | None:
    path = SCHEMAS / f"{kind.lower()}.json"
    if not path.exists():
        return None
    return Draft202012Validator(json.loads(path.read_text(encoding="utf-8")))


@cache
def _definitions(folder: str) -> Registry[Any]:
    content = schema_contents(f"{folder}/_definitions.json", "")
    return (Resource.from_contents(content) @ Registry()).crawl()


@cache
def _kubernetes(kind: str, api_version: str, version: str) -> Draft202012Validator:
    """As `kubernetes_validate.validate` when strict, which reads 8 MB anew for each object."""
    exact = next(one for one in all_versions() if one.startswith(f"{version}."))
    folder = f"kubernetes-json-schema/v{exact}-local-strict"
    group, _, number = api_version.rpartition("/")
    file = f"{kind.lower()}-{group.split('.')[0] + '-' if group else ''}{number}.json"
    try:
        schema = schema_contents(f"{folder}/{file}", version)
    except FileNotFoundError:
        raise InvalidManifestError(f"Kubernetes {version} has no {kind} of {api_version}") from None
    registry = Resource.from_contents(schema) @ _definitions(folder)
    return Draft202012Validator(schema, registry=registry)


def validate(manifest: Manifest) -> None:
    """Against the schema of its kind: Kubernetes' own, or ours for what operators add.

    Raises:
        InvalidManifestError: it does not fit, or nobody knows its kind.
    """
    kind, api_version = manifest["kind"], manifest["apiVersion"]
    own = _own(kind)
    validators = [own] if own else [_kubernetes(kind, api_version, version) for version in VERSIONS]
    faults = [
        f"{kind}: {error.json_path}: {error.message[:300]}"
        for validator in validators
        for error in validator.iter_errors(manifest)
    ]
    if faults:
        raise InvalidManifestError("\n".join(faults))


def name_of(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] in kinds]


def pod_template(manifest: Manifest) -> Manifest | None:
    """The pod's metadata and spec inside a workload."""
    found: Manifest
    if manifest["kind"] in {"Deployment", "Job", "StatefulSet", "DaemonSet"}:
        found = manifest["spec"]["template"]
        return found
    if manifest["kind"] == "CronJob":
        found = manifest["spec"]["jobTemplate"]["spec"]["template"]
        return found
    return None


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The workload's name and its pod, for each workload."""
    for manifest in manifests:
        if pod := pod_template(manifest):
            yield name_of(manifest), pod


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a label selector of the plain kind, all that the chart uses, takes these labels."""
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
