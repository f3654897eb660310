"""Argo CD: what it generates is valid, renders with the chart, and is all that its project admits.

Templates are filled in by Go's own template engine (helm's), objects are checked against Argo CD's
own schemas. Not run: Argo CD itself.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import deliver
from tests.deploy import node, tools
from tests.deploy.manifests import pods

ARGO = tools.PROJECT / "k8s/argocd"
CHART = tools.PROJECT / "k8s/chart/tumorsite"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
DIGESTS = {
    name: f"sha256:{letter * 64}" for name, letter in zip(deliver.IMAGES, "abc", strict=True)
}
OBJECTS = [
    (f"{path.relative_to(ARGO)}", one)
    for path in sorted(ARGO.rglob("*.yaml"))
    for one in yaml.safe_load_all(path.read_text())
]


def of(path: str, kind: str) -> dict[str, Any]:
    return next(one for name, one in OBJECTS if name == path and one["kind"] == kind)


def delivered(folder: Path, candidate: bool) -> dict[str, Any]:
    """A preview's file, as CI writes it."""
    digests = folder / "digests"
    digests.mkdir()
    for name, digest in DIGESTS.items():
        (digests / name).write_text(digest)
    arguments = ["preview", str(folder), "feature/Gröze", "--commit", COMMIT]
    arguments += ["--digests", str(digests), *(["--train"] if candidate else [])]
    assert deliver.main(arguments) == 0
    (path,) = folder.glob("previews/*/preview.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def release(environment: str) -> dict[str, Any]:
    return {"environment": environment, "commit": COMMIT, "images": DIGESTS}


def strings(one: Any) -> list[str]:
    if isinstance(one, dict):
        return [text for part in one.values() for text in strings(part)]
    if isinstance(one, list):
        return [text for part in one for text in strings(part)]
    return [one] if isinstance(one, str) and "{{" in one else []


def filled(one: Any, by: dict[str, str]) -> Any:
    if isinstance(one, dict):
        return {key: filled(part, by) for key, part in one.items()}
    if isinstance(one, list):
        return [filled(part, by) for part in one]
    return by.get(one, one) if isinstance(one, str) else one


def generate(helm: Path, folder: Path, path: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The Application that an ApplicationSet makes of one file: each string is a Go template."""
    template = of(path, "ApplicationSet")["spec"]["template"]
    texts = strings(template)
    chart = folder / "filled"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: filled\nversion: 0.0.0\n")
    (chart / "values.yaml").write_text(json.dumps(parameters))
    lines = [f'{{{{ define "s{n}" }}}}{text}{{{{ end }}}}' for n, text in enumerate(texts)]
    lines += [f's{n}: {{{{ include "s{n}" .Values | toJson }}}}' for n in range(len(texts))]
    (chart / "templates/one.yaml").write_text("\n".join(lines))
    done = tools.run(helm, "template", "filled", chart)
    assert done.returncode == 0, done.stderr
    made = yaml.safe_load(done.stdout)
    by = {text: made[f"s{n}"] for n, text in enumerate(texts)}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", **filled(template, by)}


def render(helm: Path, folder: Path, application: dict[str, Any]) -> list[dict[str, Any]]:
    """What the Application brings to the cluster."""
    source = application["spec"]["source"]["helm"]
    values = folder / "values-of-application.yaml"
    values.write_text(source["values"])
    files = [part for name in source["valueFiles"] for part in ("--values", CHART / name)]
    done = tools.run(
        helm, "template", source["releaseName"], CHART, *files, "--values", values,
        "--namespace", application["spec"]["destination"]["namespace"],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


PLACES = [
    "staging/site",
    "staging/training",
    "production/site",
    "production/training",
    "preview",
    "preview-that-trains",
]


@pytest.fixture(scope="module", params=PLACES)
def place(
    request: pytest.FixtureRequest, helm: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """One generated Application with its project and what it renders."""
    name, tmp_path = request.param, tmp_path_factory.mktemp("place")
    if name.startswith("preview"):
        path, project = "staging/previews.yaml", "staging/previews-project.yaml"
        parameters = delivered(tmp_path, candidate=name != "preview")
    else:
        environment = name.partition("/")[0]
        path, project = f"{name}.yaml", f"{environment}/project.yaml"
        parameters = release(environment)
    application = generate(helm, tmp_path, path, parameters)
    return {
        "name": name,
        "application": application,
        "project": of(project, "AppProject"),
        "objects": render(helm, tmp_path, application),
    }


@pytest.fixture(scope="module")
def schemas() -> None:
    if node.folder() is None:
        pytest.skip("Argo CD's schemas could not be fetched: npm is missing or cannot reach it")


def test_objects_follow_argo_cds_schemas(schemas: None) -> None:
    assert {one["kind"] for _, one in OBJECTS} == {"AppProject", "Application", "ApplicationSet"}
    assert not node.check("argo", [{"name": name, "object": one} for name, one in OBJECTS])


def test_what_is_generated_follows_them_too(schemas: None, place: dict[str, Any]) -> None:
    assert not node.check("argo", [{"name": place["name"], "object": place["application"]}])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("destinations", "everywhere"),
        ("sourceRepos", [1]),
        ("clusterResourceWhitelist", [{"kind": "Namespace"}]),
    ],
)  # fmt: skip
def test_the_schemas_can_refuse(schemas: None, path: str, value: Any) -> None:
    one = of("staging/project.yaml", "AppProject")
    bad = {**one, "spec": {**one["spec"], path: value}}
    assert node.check("argo", [{"name": "bad", "object": bad}])


def admits(project: dict[str, Any], application: dict[str, Any]) -> bool:
    """Whether the project lets the application come from there and go there."""
    spec, target = project["spec"], application["spec"]["destination"]
    places = [
        one["server"] == target["server"]
        and (
            target["namespace"].startswith(one["namespace"][:-1])
            if one["namespace"].endswith("*")
            else target["namespace"] == one["namespace"]
        )
        for one in spec["destinations"]
    ]
    return (
        any(places)
        and application["spec"]["source"]["repoURL"] in spec["sourceRepos"]
        and application["spec"]["project"] == project["metadata"]["name"]
    )


def test_project_admits_its_application_and_no_other_place(place: dict[str, Any]) -> None:
    application = place["application"]
    assert admits(place["project"], application)
    for namespace in ("kube-system", "argocd", "default"):
        spec = application["spec"]
        elsewhere = {
            "spec": {**spec, "destination": {**spec["destination"], "namespace": namespace}}
        }
        assert not admits(place["project"], elsewhere)
    # A branch's code never goes where the site is.
    other = of("staging/previews-project.yaml", "AppProject")
    assert not admits(other, {"spec": {**application["spec"], "destination": {
        "server": "https://kubernetes.default.svc", "namespace": "tumorsite"}}})  # fmt: skip


def admitted(project: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["group"], one["kind"]) for one in project["spec"]["namespaceResourceWhitelist"]}


def kinds(objects: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {
        (one["apiVersion"].rpartition("/")[0], one["kind"])
        for one in objects
    }  # fmt: skip


def test_project_admits_exactly_what_the_chart_renders(place: dict[str, Any]) -> None:
    rendered, allowed = kinds(place["objects"]), admitted(place["project"])
    assert rendered <= allowed
    # Each kind is needed: by a preview that trains, or by one of the two applications.
    if place["name"] == "preview-that-trains":
        assert allowed == rendered
    assert ("", "Secret") not in allowed
    assert not any("rbac" in group for group, _ in allowed)


def test_pods_run_the_images_of_the_delivery(place: dict[str, Any]) -> None:
    text = json.dumps(place["objects"])
    trains = place["name"].endswith("/training")
    for image in ("trainer",) if trains else ("web", "worker"):
        assert f"ghcr.io/tumorsite/tumorsite-{image}@{DIGESTS[image]}" in text
    assert ":main" not in text
    assert place["application"]["spec"]["source"]["targetRevision"] == COMMIT


def test_a_preview_has_everything_for_itself(helm: Path, tmp_path: Path) -> None:
    parameters = delivered(tmp_path, candidate=True)
    application = generate(helm, tmp_path, "staging/previews.yaml", parameters)
    objects = render(helm, tmp_path, application)
    name = parameters["preview"]
    assert application["spec"]["destination"]["namespace"] == f"preview-{name}"
    assert application["metadata"]["finalizers"] == ["resources-finalizer.argocd.argoproj.io"]
    settings = next(
        one["data"] for one in objects if one["kind"] == "ConfigMap" and "S3_BUCKET" in one["data"]
    )
    assert settings["S3_BUCKET"] == f"tumorsite-preview-{name}"
    asked = json.dumps([one for one in objects if one["kind"] == "ExternalSecret"])
    assert f"tumorsite-preview-{name}-database-url" in asked
    assert "tumorsite-dev-" not in asked
    assert any(
        one["kind"] == "Deployment" and one["metadata"]["name"] == "tumorsite-training"
        for one in objects
    )


def test_what_scales_a_preview_is_measured(helm: Path, tmp_path: Path) -> None:
    """The training worker goes when its queue is empty, which somebody has to see."""
    application = generate(
        helm, tmp_path, "staging/previews.yaml", delivered(tmp_path, candidate=True)
    )
    objects = render(helm, tmp_path, application)
    (scaler,) = [one for one in objects if one["kind"] == "ScaledObject"]
    assert scaler["spec"]["minReplicaCount"] == 0
    (monitor,) = [one for one in objects if one["kind"] == "PodMonitor"]
    platform = (tools.PROJECT / "k8s/terraform/modules/platform/main.tf").read_text()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert 'podMonitorSelector          = { matchLabels = { release = "prometheus" } }' in platform
    # Prometheus reaches the web, which reports the queue.
    policy = next(
        one["spec"] for one in objects
        if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "tumorsite-web"
    )  # fmt: skip
    (rule,) = [one for one in policy["ingress"] if one["ports"][0]["port"] == 9100]
    assert "'monitoring'" in str(rule["from"])
    # Staging's rules look at every namespace: previews bring none of their own.
    assert not [one for one in objects if one["kind"] == "PrometheusRule"]


def test_without_a_candidate_nothing_trains(helm: Path, tmp_path: Path) -> None:
    application = generate(
        helm, tmp_path, "staging/previews.yaml", delivered(tmp_path, candidate=False)
    )
    names = {one["metadata"]["name"] for one in render(helm, tmp_path, application)}
    assert "tumorsite-training" not in names
    assert "tumorsite-web" in names


@pytest.mark.parametrize("missing", ["commit", "images", "preview"])
def test_a_file_that_lacks_something_generates_nothing(tmp_path: Path, missing: str) -> None:
    """`missingkey=error`, and every field that a template reads is one that CI writes."""
    text = (ARGO / "staging/previews.yaml").read_text()
    assert "goTemplateOptions: [missingkey=error]" in text
    content = delivered(tmp_path, candidate=True)
    assert missing in content
    assert f".{missing}" in text


def test_values_that_the_chart_does_not_know_are_refused(helm: Path, tmp_path: Path) -> None:
    application = generate(helm, tmp_path, "staging/site.yaml", release("staging"))
    application["spec"]["source"]["helm"]["values"] += "nobody:\n  knows: this\n"
    with pytest.raises(AssertionError, match="nobody"):
        render(helm, tmp_path, application)


def without(one: dict[str, Any], *paths: str) -> str:
    """An ApplicationSet as text, without what is meant to differ."""
    copy = json.loads(json.dumps(one))
    for path in paths:
        *folders, last = path.split("/")
        place = copy
        for folder in folders:
            place = place[folder]
        del place[last]
    return json.dumps(copy)


@pytest.mark.parametrize("environment", deliver.ENVIRONMENTS)
def test_site_and_training_move_together_and_differ_in_their_parts(environment: str) -> None:
    """One file, one commit, the same values: all but names, wave and the half that is rendered."""
    site, training = (
        of(f"{environment}/{half}.yaml", "ApplicationSet") for half in ("site", "training")
    )
    values = "spec/template/spec/source/helm/values"
    differ = ("metadata/name", "metadata/annotations", "spec/template/metadata/name", values)
    assert without(site, *differ) == without(training, *differ)
    texts = [
        one["spec"]["template"]["spec"]["source"]["helm"]["values"] for one in (site, training)
    ]
    assert texts[1] == texts[0].replace("parts: site", "parts: training") != texts[0]


@pytest.mark.parametrize("environment", deliver.ENVIRONMENTS)
def test_site_and_training_are_the_whole_and_share_nothing(
    helm: Path, tmp_path: Path, environment: str
) -> None:
    halves: list[dict[str, dict[str, Any]]] = []
    for half in ("site", "training", "all"):
        folder = tmp_path / half
        folder.mkdir()
        path = f"{environment}/{'site' if half == 'all' else half}.yaml"
        application = generate(helm, folder, path, release(environment))
        source = application["spec"]["source"]["helm"]
        if half == "all":
            source["values"] = source["values"].replace("parts: site", "parts: all")
        halves.append(
            {f"{one['kind']}/{one['metadata']['name']}": one
             for one in render(helm, folder, application)}
        )  # fmt: skip
    site, training, whole = halves
    # Two applications that own one object would take it from each other for ever.
    assert not site.keys() & training.keys()
    own = "ConfigMap/tumorsite-training-settings"
    assert training.pop(own)["data"] == whole["ConfigMap/tumorsite-settings"]["data"]
    text = json.dumps(training).replace("tumorsite-training-settings", "tumorsite-settings")
    assert {**site, **json.loads(text)} == whole
    assert "Deployment/tumorsite-training" in training
    project = of(f"{environment}/project.yaml", "AppProject")
    assert admitted(project) == kinds([*site.values(), *training.values()])


@pytest.mark.parametrize("environment", deliver.ENVIRONMENTS)
def test_pods_that_train_wait_for_the_tables(helm: Path, tmp_path: Path, environment: str) -> None:
    """Which of the two applications is synchronised first is chance, so the pods see to it."""
    application = generate(helm, tmp_path, f"{environment}/training.yaml", release(environment))
    found = list(pods(render(helm, tmp_path, application)))
    assert {name for name, _ in found} >= {"Deployment/tumorsite-training"}
    for name, pod in found:
        first, (main, *_) = pod["spec"]["initContainers"][0], pod["spec"]["containers"]
        assert first["command"] == ["python", "manage.py", "migrate", "--check"], name
        # Of the same code, and asking the same database.
        assert first["image"] == main["image"], name
        database = [one for one in main["env"] if one["name"] == "DATABASE_URL"]
        assert database, name
        assert database[0] in first["env"], name


def test_projects_come_first_then_the_site_then_its_training() -> None:
    waves = {
        name.partition("/")[2]: int(one["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])
        for name, one in OBJECTS
        if "/" in name
    }
    assert waves == {
        "project.yaml": -1, "previews-project.yaml": -1,
        "site.yaml": 0, "training.yaml": 1, "previews.yaml": 1,
    }  # fmt: skip


def test_a_deleted_branch_is_cleared_and_a_lost_file_does_not_take_the_site_down() -> None:
    previews = of("staging/previews.yaml", "ApplicationSet")["spec"]
    assert previews["syncPolicy"]["preserveResourcesOnDeletion"] is False
    for environment, half in product(deliver.ENVIRONMENTS, ("site", "training")):
        site = of(f"{environment}/{half}.yaml", "ApplicationSet")["spec"]
        assert site["syncPolicy"]["applicationsSync"] == "create-update"
        assert "finalizers" not in site["template"]["metadata"]
        # Each cluster runs its own environment only.
        (generator,) = site["generators"]
        assert generator["git"]["files"] == [{"path": f"environments/{environment}/release.json"}]
    assert not (ARGO / "production/previews.yaml").exists()
