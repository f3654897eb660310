"""Alert rules and dashboards: Prometheus' own tool takes them, and each alert is seen to fire."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.manifests import CHART, objects, of_kind
from tests.deploy.tools import PROJECT, run

SERIES = Path(__file__).parent / "alerts.yaml"
# What the product reports, and what node exporter's text files hold from the backup.
METRICS = {
    "tumorsite_predictions",
    "tumorsite_oldest_active_job_seconds",
    "tumorsite_queue_length",
    "tumorsite_model_info",
    "tumorsite_prediction_seconds",
    "tumorsite_engine_seconds",
    "tumorsite_pass_seconds",
    "tumorsite_http_request_seconds",
    "tumorsite_predictions_total",
    "tumorsite_attempts_exhausted_total",
    "tumorsite_drift_score",
    "tumorsite_gpu_memory_bytes",
    "tumorsite_training_runs",
    "tumorsite_last_sweep_timestamp_seconds",
    "tumorsite_backup_timestamp_seconds",
}
# Of kube-state-metrics and the kubelet, by the labels that are used here.
STANDARD = {
    "kube_deployment_status_replicas_available",
    "kube_horizontalpodautoscaler_status_current_replicas",
    "kube_horizontalpodautoscaler_spec_max_replicas",
    "kube_horizontalpodautoscaler_spec_min_replicas",
    "kube_pod_container_status_restarts_total",
    "kube_pod_container_resource_limits",
    "kube_job_status_failed",
    "container_memory_working_set_bytes",
    "container_cpu_usage_seconds_total",
}
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))


def _rules() -> dict[str, Any]:
    (rule,) = of_kind(objects("production"), "PrometheusRule")
    spec: dict[str, Any] = rule["spec"]
    return spec


def _alerts() -> list[dict[str, Any]]:
    return [rule for group in _rules()["groups"] for rule in group["rules"]]


def _expressions() -> list[str]:
    found = [rule["expr"] for rule in _alerts()]
    for scaler in of_kind(objects("production"), "ScaledObject"):
        found += [trigger["metadata"]["query"] for trigger in scaler["spec"]["triggers"]]
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            found += [target["expr"] for target in panel["targets"]]
    return found


def _names(expression: str) -> set[str]:
    """The metrics of an expression, without the endings that histograms add."""
    found = re.findall(r"\b(?:tumorsite|kube|container)_[a-z0-9_]+(?=[{\[\s)]|$)", expression)
    return {re.sub(r"(?<=seconds)_(bucket|sum|count)$", "", name) for name in found}


@pytest.fixture
def rule_file(tmp_path: Path) -> Path:
    """The rules as the cluster gets them, in a file as Prometheus reads it."""
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(_rules()), encoding="utf-8")
    return path


def _tested(promtool: Path, folder: Path, *alerts: str) -> tuple[int, str]:
    """Promtool's verdict; of those series only that are about certain alerts, if some are named."""
    series = yaml.safe_load(SERIES.read_text(encoding="utf-8"))
    short: list[dict[str, Any]] = []
    long: list[dict[str, Any]] = []
    for test in series["tests"]:
        checks = test["alert_rule_test"]
        if not alerts or {check["alertname"] for check in checks} & {*alerts}:
            hours = any(check["eval_time"].endswith("h") for check in checks)
            (long if hours else short).append(test)
    # Every rule is evaluated at every step: for series of a day, a minute is needlessly short.
    for name, tests, step in (("short", short, "1m"), ("long", long, "10m")):
        part = {**series, "tests": tests, "evaluation_interval": step}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(part), encoding="utf-8")
    said = run(promtool, "test", "rules", folder / "short.yaml", folder / "long.yaml")
    return said.returncode, said.stdout + said.stderr


def test_prometheus_takes_the_rules(promtool: Path, rule_file: Path) -> None:
    said = run(promtool, "check", "rules", rule_file)
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"{len(_alerts())} rules found" in said.stdout


def test_prometheus_refuses_a_planted_fault(promtool: Path, rule_file: Path) -> None:
    text = rule_file.read_text(encoding="utf-8").replace("absent(", "absnt(")
    rule_file.write_text(text, encoding="utf-8")
    assert run(promtool, "check", "rules", rule_file).returncode != 0


def test_every_query_is_one_that_prometheus_understands(promtool: Path, tmp_path: Path) -> None:
    rules = [
        {"record": f"test:query:{number}", "expr": expression.replace("$namespace", "tumorsite")}
        for number, expression in enumerate(_expressions())
    ]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}), encoding="utf-8")
    said = run(promtool, "check", "rules", path)
    assert said.returncode == 0, said.stdout + said.stderr


def test_alerts_fire_when_they_should_and_not_before(promtool: Path, rule_file: Path) -> None:
    code, said = _tested(promtool, rule_file.parent)
    assert code == 0, said


def test_scans_that_grow_old_ask_for_no_more_workers_than_wait(
    promtool: Path, tmp_path: Path
) -> None:
    """Five minutes old, two web pods: one hangs in a worker, or three wait, or very many do."""
    scalers = {
        one["metadata"]["name"]: {
            trigger["name"]: trigger["metadata"] for trigger in one["spec"]["triggers"]
        }
        for one in of_kind(
            objects("production", "--set", "inferenceGpu.enabled=true"), "ScaledObject"
        )
    }
    # The GPU's worker follows the queue alone: an old scan is no reason to start a machine.
    assert [name for name, found in scalers.items() if "age" in found] == [
        "tumorsite-inference-cpu"
    ]
    age = scalers["tumorsite-inference-cpu"]["age"]
    tests = []
    for waiting, workers in ((0, 0), (3, 3), (9000, 60)):
        series = [
            {"series": f'{name}pod="{pod}"}}', "values": str(value)}
            for pod in "ab"
            for name, value in (
                ('tumorsite_oldest_active_job_seconds{namespace="tumorsite",', 300),
                ('tumorsite_predictions{namespace="tumorsite",status="queued",', waiting),
                ('tumorsite_predictions{namespace="tumorsite",status="running",', 1),
                ('tumorsite_predictions{namespace="other",status="queued",', 9000),
            )
        ]
        wanted = [{"labels": "{}", "value": workers * int(age["threshold"])}]
        check = {"expr": age["query"], "eval_time": "0m", "exp_samples": wanted}
        tests.append({"interval": "1m", "input_series": series, "promql_expr_test": [check]})
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"tests": tests}), encoding="utf-8")
    said = run(promtool, "test", "rules", path)
    assert said.returncode == 0, said.stdout + said.stderr


def test_a_rule_that_never_fires_is_found(promtool: Path, rule_file: Path) -> None:
    text = rule_file.read_text(encoding="utf-8")
    path = rule_file
    path.write_text(text.replace("> 120", "> 120000"), encoding="utf-8")
    code, said = _tested(promtool, path.parent, "TumorSiteJobsWait")
    assert code != 0
    assert "TumorSiteJobsWait" in said


def test_every_alert_is_seen_to_fire_and_to_be_quiet() -> None:
    seen: dict[str, set[bool]] = {rule["alert"]: set() for rule in _alerts()}
    for test in yaml.safe_load(SERIES.read_text(encoding="utf-8"))["tests"]:
        for check in test["alert_rule_test"]:
            seen[check["alertname"]].add(bool(check.get("exp_alerts")))
    assert {name: fired for name, fired in seen.items() if fired != {True, False}} == {}


def test_every_metric_is_one_that_is_reported() -> None:
    used = set().union(*map(_names, _expressions()))
    assert len(used) > 15
    assert sorted(used - METRICS - STANDARD) == []


def test_the_product_reports_these_metrics() -> None:
    """Named in the code, as a metric that nobody reports makes an alert that never fires."""
    module = PROJECT / "tumorsite/observability/metrics.py"
    if not module.exists():
        pytest.skip("the product reports no metrics yet")
    text = "".join(
        file.read_text(encoding="utf-8")
        for folder in ("tumorsite", "predictions", "training", "ansible")
        for file in (PROJECT / folder).rglob("*")
        if file.suffix in {".py", ".j2", ".yml"} and "tests" not in file.parts
    )
    assert [name for name in sorted(METRICS) if f"{name}" not in text] == []


def test_every_alert_has_its_runbook() -> None:
    headings = re.findall(
        r"^## (\w+)$", (PROJECT / "docs/runbooks.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    anchors = {heading.lower(): heading for heading in headings}
    alerts = _alerts()
    for rule in alerts:
        address, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert address.startswith("https://")
        assert address.endswith("docs/runbooks.md")
        assert anchors[anchor] == rule["alert"]
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
    assert sorted(headings) == sorted(rule["alert"] for rule in alerts)


def test_every_runbook_says_what_to_look_at_and_to_do() -> None:
    text = (PROJECT / "docs/runbooks.md").read_text(encoding="utf-8")
    for section in text.split("\n## ")[1:]:
        for word in ("**Means.**", "**Look.**", "**Do.**"):
            assert word in section, section.splitlines()[0]


def test_links_between_runbooks_lead_somewhere() -> None:
    text = (PROJECT / "docs/runbooks.md").read_text(encoding="utf-8")
    anchors = {heading.lower() for heading in re.findall(r"^## (\w+)$", text, re.MULTILINE)}
    links = re.findall(r"\]\(#(\w+)\)", text)
    assert links
    assert set(links) <= anchors


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_dashboards_are_whole(file: Path) -> None:
    board = json.loads(file.read_text(encoding="utf-8"))
    assert board["title"]
    assert board["uid"] == file.stem
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 0
    places: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["targets"]
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not places & cells, f"{panel['title']} lies over another panel"
        places |= cells


def test_dashboards_reach_grafana() -> None:
    assert len(DASHBOARDS) == 2
    (config,) = (
        one
        for one in of_kind(objects("production"), "ConfigMap")
        if one["metadata"]["name"].endswith("-dashboards")
    )
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    for file in DASHBOARDS:
        assert json.loads(config["data"][file.name]) == json.loads(file.read_text(encoding="utf-8"))
