"""The house's rules for everything that runs in the cluster, held against each environment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
import yaml

from tests.deploy.manifests import (
    CHART,
    ENVIRONMENTS,
    Manifest,
    containers,
    matches,
    name_of,
    objects,
    of_kind,
    pods,
)
from tests.deploy.tools import PROJECT

pytestmark = pytest.mark.parametrize("environment", ENVIRONMENTS)

# Read by Celery and by Amazon's library, not by the site's own settings.
OTHERS = {
    "REMAP_SIGTERM",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_SESSION_NAME",
}
# Namespaces of the cluster that the chart's documentation tells the operator of.
NEIGHBOURS = {"ingress-nginx", "monitoring", "kube-system"}
# The restricted Pod Security Standard names these; all else is refused.
VOLUMES = {"configMap", "downwardAPI", "emptyDir", "ephemeral", "projected", "secret"}


def _pod_labels(manifests: list[Manifest]) -> list[dict[str, str]]:
    return [pod["metadata"]["labels"] for _, pod in pods(manifests)]


def _all_containers(environment: str) -> Iterator[tuple[str, Manifest]]:
    for workload, pod in pods(objects(environment)):
        for container in containers(pod):
            yield f"{workload}/{container['name']}", container


def test_every_container_is_locked_down(environment: str) -> None:
    found = list(_all_containers(environment))
    assert len(found) >= 6
    for where, container in found:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        }, where
        assert not any("hostPort" in port for port in container.get("ports", [])), where


def test_every_pod_is_restricted(environment: str) -> None:
    for where, pod in pods(objects(environment)):
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), where
        context = spec["securityContext"]
        assert context["runAsNonRoot"], where
        assert context["runAsUser"] == 10001, where
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert spec["automountServiceAccountToken"] is False, where
        assert spec["enableServiceLinks"] is False, where
        for volume in spec["volumes"]:
            assert not volume.keys() - {"name"} - VOLUMES, where
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"], where


def test_every_container_says_what_it_needs_and_may_have(environment: str) -> None:
    for where, container in _all_containers(environment):
        resources = container["resources"]
        for kind in ("requests", "limits"):
            assert {"cpu", "memory", "ephemeral-storage"} <= resources[kind].keys(), where
        requested, allowed = (_bytes(resources[kind]["memory"]) for kind in ("requests", "limits"))
        assert requested <= allowed, where
        gpu = "nvidia.com/gpu"
        assert resources["requests"].get(gpu) == resources["limits"].get(gpu), where


def _bytes(quantity: str) -> int:
    units = {"Mi": 2**20, "Gi": 2**30}
    return int(quantity[:-2]) * units[quantity[-2:]]


def test_volumes_fit_what_the_container_may_have(environment: str) -> None:
    for where, pod in pods(objects(environment)):
        limit = min(
            _bytes(container["resources"]["limits"]["ephemeral-storage"])
            for container in containers(pod)
        )
        sizes = [
            _bytes(volume["emptyDir"]["sizeLimit"])
            for volume in pod["spec"]["volumes"]
            if "emptyDir" in volume
        ]
        # A volume counts towards its pod's limit: one that is larger is never full, but evicted.
        assert max(sizes) <= limit, where


def test_uploads_of_every_thread_fit(environment: str) -> None:
    """What does not fit in memory is in /tmp, of each thread ten files of the largest size."""
    for where, pod in pods(of_kind(objects(environment), "Deployment")):
        container = pod["spec"]["containers"][0]
        if container["name"] != "web":
            continue
        env = {one["name"]: one.get("value") for one in container["env"]}
        threads = int(env["WEB_WORKERS"]) * int(env["WEB_THREADS"])
        [tmp] = [one for one in pod["spec"]["volumes"] if one["name"] == "tmp"]
        needed = threads * 10 * _default_of("MAX_UPLOAD_MB") * 2**20
        assert needed < _bytes(tmp["emptyDir"]["sizeLimit"]), where


def test_a_gpu_is_asked_for_only_where_one_is_tolerated(environment: str) -> None:
    for where, pod in pods(objects(environment)):
        asks = any("nvidia.com/gpu" in one["resources"]["limits"] for one in containers(pod))
        tolerates = any(
            toleration["key"] == "nvidia.com/gpu"
            for toleration in pod["spec"].get("tolerations", [])
        )
        assert asks == tolerates, where
        assert asks == ("trainer" in containers(pod)[0]["image"]), where


def test_workers_end_softly_before_they_are_killed(environment: str) -> None:
    hard_limit = _default_of("TASK_HARD_LIMIT")
    checked = set()
    for where, pod in pods(of_kind(objects(environment), "Deployment")):
        container = pod["spec"]["containers"][0]
        env = {one["name"]: one.get("value") for one in container["env"]}
        if "worker" not in container["command"]:
            continue
        checked.add(container["name"])
        soft = int(env["SOFT_SHUTDOWN_SECONDS"])
        assert env["REMAP_SIGTERM"] == "SIGQUIT", where
        assert soft + 10 < pod["spec"]["terminationGracePeriodSeconds"], where
        if container["name"] != "training":
            assert soft > hard_limit, f"{where}: a task could be cut off"
    assert {"inference-cpu", "general"} <= checked


def test_the_web_drains_before_it_ends(environment: str) -> None:
    pod = next(pod for where, pod in pods(objects(environment)) if where.endswith("-web"))
    container = pod["spec"]["containers"][0]
    drain = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    command = container["command"]
    requests = int(command[command.index("--graceful-timeout") + 1])
    readiness = container["readinessProbe"]
    assert drain >= readiness["periodSeconds"]
    assert drain + requests < pod["spec"]["terminationGracePeriodSeconds"]


def test_there_is_one_beat_and_never_two(environment: str) -> None:
    beats = [one for one in objects(environment) if name_of(one) == "Deployment/tumorsite-beat"]
    assert len(beats) == 1
    assert beats[0]["spec"]["replicas"] == 1
    assert beats[0]["spec"]["strategy"] == {"type": "Recreate"}


def test_ready_means_a_loaded_network(environment: str) -> None:
    for where, pod in pods(of_kind(objects(environment), "Deployment")):
        container = pod["spec"]["containers"][0]
        if "inference" not in container["name"]:
            continue
        probe = ["python", "-m", "tumorsite.probe", "worker", "ready"]
        assert container["readinessProbe"]["exec"]["command"] == probe, where
        assert container["startupProbe"]["exec"]["command"] == probe, where


def test_every_selector_finds_its_pods(environment: str) -> None:
    manifests = objects(environment)
    labels = _pod_labels(manifests)
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["kind"] == "Deployment":
            own = spec["template"]["metadata"]["labels"]
            assert matches(spec["selector"], own), name_of(manifest)
            same = [one for one in labels if matches(spec["selector"], one)]
            assert len(same) == 1, f"{name_of(manifest)} would take other pods"
        selectors = {
            "PodDisruptionBudget": lambda s: s["selector"],
            "PodMonitor": lambda s: s["selector"],
            "NetworkPolicy": lambda s: s["podSelector"],
            "Service": lambda s: {"matchLabels": s["selector"]},
        }
        if manifest["kind"] in selectors:
            selector = selectors[manifest["kind"]](spec)
            assert any(matches(selector, one) for one in labels), name_of(manifest)


def test_every_scaler_has_its_deployment(environment: str) -> None:
    manifests = objects(environment)
    deployments = {one["metadata"]["name"]: one for one in of_kind(manifests, "Deployment")}
    scaled = set()
    for scaler in of_kind(manifests, "ScaledObject", "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]["name"]
        assert target in deployments, name_of(scaler)
        assert target not in scaled, f"{target} is scaled twice"
        scaled.add(target)
    for name, deployment in deployments.items():
        # Either an autoscaler holds the number, or the chart does; never both.
        assert (name in scaled) != ("replicas" in deployment["spec"]), name


def test_no_budget_keeps_a_node_from_being_emptied(environment: str) -> None:
    budgets = of_kind(objects(environment), "PodDisruptionBudget")
    assert budgets
    for budget in budgets:
        assert budget["spec"]["maxUnavailable"] == 1
        assert "minAvailable" not in budget["spec"]


def test_the_network_refuses_all_but_what_is_named(environment: str) -> None:
    manifests = objects(environment)
    policies = of_kind(manifests, "NetworkPolicy")
    denial = next(one for one in policies if name_of(one).endswith("-deny-all"))
    assert denial["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for where, pod in pods(manifests):
        own = [
            one
            for one in policies
            if one is not denial and matches(one["spec"]["podSelector"], pod["metadata"]["labels"])
        ]
        assert len(own) == 1, where
        for rule in [*own[0]["spec"].get("ingress", []), *own[0]["spec"]["egress"]]:
            assert rule["ports"], where
            peers = rule.get("from") or rule.get("to")
            assert peers, f"{where}: a rule without a peer opens the port to everyone"
            for peer in peers:
                _check_peer(where, peer)


def _check_peer(where: str, peer: Manifest) -> None:
    if block := peer.get("ipBlock"):
        network = ip_network(block["cidr"])
        for hole in block.get("except", []):
            assert ip_network(hole).subnet_of(network), where  # type: ignore[arg-type]  # one family
        if network.prefixlen == 0:
            assert "169.254.0.0/16" in block["except"], f"{where} reaches the cloud's own secrets"
        return
    name = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    assert name in NEIGHBOURS, f"{where}: namespace {name}"


def _settings_table() -> dict[str, str]:
    text = (PROJECT / "docs/settings.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([A-Z0-9_]+)`(?: ●)? \| (\S+)", text, re.MULTILINE))


def _default_of(name: str) -> int:
    return int(_settings_table()[name].strip("`"))


def test_every_variable_is_a_documented_setting(environment: str) -> None:
    known = _settings_table().keys() | OTHERS
    given: set[str] = set()
    for _, container in _all_containers(environment):
        given |= {one["name"] for one in container["env"]}
    for config in of_kind(objects(environment), "ConfigMap"):
        if not config["metadata"]["name"].endswith("-dashboards"):
            given |= config["data"].keys()
    assert {"DATABASE_URL", "S3_BUCKET", "SITE_URL"} <= given
    assert sorted(given - known) == []


def test_no_setting_is_given_twice_and_no_secret_in_the_open(environment: str) -> None:
    text = (PROJECT / "docs/settings.md").read_text(encoding="utf-8")
    secret = set(re.findall(r"^\| `([A-Z0-9_]+)` ●", text, re.MULTILINE))
    assert "DATABASE_URL" in secret
    configs = {
        one["metadata"]["name"]: one["data"] for one in of_kind(objects(environment), "ConfigMap")
    }
    for where, container in _all_containers(environment):
        names = [one["name"] for one in container["env"]]
        assert len(names) == len(set(names)), where
        config = configs[container["envFrom"][0]["configMapRef"]["name"]]
        assert not secret & config.keys(), where
        for one in container["env"]:
            assert one["name"] not in secret or "valueFrom" in one, where


def test_every_reference_has_what_it_refers_to(environment: str) -> None:
    manifests = objects(environment)
    by_kind: dict[str, set[str]] = {}
    for manifest in manifests:
        by_kind.setdefault(manifest["kind"], set()).add(manifest["metadata"]["name"])
    secrets = {
        one["spec"]["target"]["name"]: {entry["secretKey"] for entry in one["spec"]["data"]}
        for one in of_kind(manifests, "ExternalSecret")
    }
    for where, pod in pods(manifests):
        assert pod["spec"]["serviceAccountName"] in by_kind["ServiceAccount"], where
        for container in containers(pod):
            assert container["envFrom"][0]["configMapRef"]["name"] in by_kind["ConfigMap"], where
            mounts = {one["name"] for one in container["volumeMounts"]}
            assert mounts <= {one["name"] for one in pod["spec"]["volumes"]}, where
            for one in container["env"]:
                if reference := one.get("valueFrom", {}).get("secretKeyRef"):
                    assert reference["key"] in secrets[reference["name"]], where
    # And nobody knows more than its variables need.
    for name, keys in secrets.items():
        used = {
            one["name"]
            for _, pod in pods(manifests)
            for container in containers(pod)
            for one in container["env"]
            if one.get("valueFrom", {}).get("secretKeyRef", {}).get("name") == name
        }
        assert keys == used, name


def test_hooks_find_their_needs_before_they_start(environment: str) -> None:
    """Before the first install nothing of the release exists but what is an earlier hook."""
    hooks: dict[str, dict[str, Any]] = {}
    for manifest in objects(environment):
        notes = manifest["metadata"].get("annotations", {})
        if "helm.sh/hook" in notes:
            hooks[name_of(manifest)] = notes
    for job in ("migrate", "register"):
        own = hooks[f"Job/tumorsite-{job}"]
        for kind in ("ServiceAccount", "ConfigMap", "ExternalSecret", "NetworkPolicy"):
            need = hooks[f"{kind}/tumorsite-{job}"]
            assert need["helm.sh/hook"] == own["helm.sh/hook"]
            assert int(need["helm.sh/hook-weight"]) < int(own["helm.sh/hook-weight"])
    assert int(hooks["Job/tumorsite-migrate"]["helm.sh/hook-weight"]) < int(
        hooks["Job/tumorsite-register"]["helm.sh/hook-weight"]
    )


@pytest.mark.parametrize("bundled", ["first", "follow"])
def test_argo_cd_is_told_what_helm_is_told(environment: str, bundled: str) -> None:
    """Each after its needs; and none waits for pods that themselves wait for it.

    Argo CD goes from one wave to the next only when all of it is healthy, and no inference worker
    is before `register` has run: on a first sync, a job with or after the pods would never run.
    """
    found = 0
    for manifest in objects(environment, "--set", f"site.bundledModel={bundled}"):
        notes = manifest["metadata"].get("annotations", {})
        assert ("helm.sh/hook" in notes) == ("argocd.argoproj.io/hook" in notes)
        if "helm.sh/hook" not in notes:
            # With all other pods, in the phase and the wave that come if nothing is said.
            assert "argocd.argoproj.io/sync-wave" not in notes, name_of(manifest)
            continue
        found += 1
        assert notes["argocd.argoproj.io/hook"] == "PreSync", name_of(manifest)
        assert notes["argocd.argoproj.io/sync-wave"] == notes["helm.sh/hook-weight"]
        policies = notes["argocd.argoproj.io/hook-delete-policy"].split(",")
        words = [re.sub(r"(?<!^)(?=[A-Z])", "-", one).lower() for one in policies]
        assert words == notes["helm.sh/hook-delete-policy"].split(",")
    assert found == 10


def test_jobs_end(environment: str) -> None:
    for job in of_kind(objects(environment), "Job"):
        assert job["spec"]["activeDeadlineSeconds"] > 0
        assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_the_two_principals_are_kept_apart(environment: str) -> None:
    values = yaml.safe_load((CHART / f"values-{environment}.yaml").read_text(encoding="utf-8"))
    roles = values["s3"].get("roles", {})
    for where, pod in pods(objects(environment)):
        part = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        expected = roles.get("training" if part.startswith("training") else "site")
        env = {one["name"]: one.get("value") for one in pod["spec"]["containers"][0]["env"]}
        assert env.get("AWS_ROLE_ARN") == (None if part in {"beat", "migrate"} else expected), where


def test_values_hold_nothing_that_looks_like_a_secret(environment: str) -> None:
    text = (CHART / f"values-{environment}.yaml").read_text(encoding="utf-8")
    assert not re.search(
        r"(password|secret_key|AKIA[0-9A-Z]{16}|-----BEGIN|://[^/\s]*:[^/\s]*@)",
        text,
        re.IGNORECASE,
    )
    assert (
        json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))[
            "additionalProperties"
        ]
        is False
    )
