"""What can be seen without running a playbook: style, secrets, the vault's template."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.deploy.ansible_host import ANSIBLE, PASSWORD, TOOLS

pytestmark = pytest.mark.timeout(900)


def run(*command: str | Path, cwd: Path = ANSIBLE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}", "NO_COLOR": "1"},
    )  # fmt: skip


def test_ansible_lint_finds_what_was_planted_and_nothing_else(tmp_path: Path) -> None:
    """One run for both, as most of it goes to starting: a play full of faults beside ours."""
    # A copy, as the tool looks for a repository around it and leaves a cache behind.
    folder = shutil.copytree(ANSIBLE, tmp_path / "ansible")
    (folder / "planted.yml").write_text(
        "---\n- hosts: all\n  tasks:\n    - shell: echo hello\n", encoding="utf-8"
    )
    found = run(TOOLS / "ansible-lint", "--offline", "--nocolor", "--format=pep8", cwd=folder)
    said = found.stdout + found.stderr
    assert found.returncode != 0, said
    findings = [line for line in found.stdout.splitlines() if re.match(r"\S+:\d+", line)]
    assert all(line.startswith("planted.yml:") for line in findings), said
    for rule in ("name[play]", "fqcn[action-core]", "no-changed-when"):
        assert any(rule in line for line in findings), said
    # Ours were read, by the strictest of its profiles.
    assert re.search(r"in \d{2,} files processed", said), said
    assert "Profile 'production' was required" in said


def test_yamllint_finds_nothing_and_can_find_something(tmp_path: Path) -> None:
    found = run(TOOLS / "yamllint", "--strict", ".")
    assert (found.returncode, found.stdout) == (0, "")
    (tmp_path / "twice.yml").write_text("---\na: 1\na: 2\n")
    found = run(TOOLS / "yamllint", "--strict", "-c", ".yamllint", tmp_path)
    assert found.returncode != 0
    assert "key-duplicates" in found.stdout


def test_the_documented_archive_is_the_whole_project(tmp_path: Path) -> None:
    """The guide has gone into `ansible/` by then, and git packs the folder that it is called in."""
    text = (ANSIBLE.parent / "docs/ansible.md").read_text()
    [line] = re.findall(r"^    (git .*archive .*)$", text, re.MULTILINE)
    target = tmp_path / "release.tar.gz"
    line = re.sub(r"--output=\S+ COMMIT", f"--output={target} HEAD", line)
    packed = run(*line.split())
    assert packed.returncode == 0, packed.stderr
    with tarfile.open(target) as archive:
        assert {"manage.py", "requirements/worker.txt", "ansible/site.yml"} <= {*archive.getnames()}


def test_the_example_names_every_secret_and_holds_none(tmp_path: Path) -> None:
    example = ANSIBLE / "inventories/example"
    template = yaml.safe_load((example / "vault.example.yml").read_text())
    assert set(template.values()) == {""}
    used = (example / "group_vars/all/main.yml").read_text()
    assert all(used.count(f"{{{{ {name} }}}}") or f" {name} " in used for name in template)
    for settings in ("tumorsite_site_settings", "tumorsite_trainer_settings"):
        names = yaml.safe_load(used)[settings]
        assert not [name for name in names if "SECRET" in name or "KEY" in name]

    vault, password = tmp_path / "vault.yml", tmp_path / "password"
    shutil.copy(example / "vault.example.yml", vault)
    password.write_text(PASSWORD)
    options = ("--vault-password-file", password, vault)
    assert run(TOOLS / "ansible-vault", "encrypt", *options).returncode == 0
    assert "vault_secret_key" not in vault.read_text()
    shown = run(TOOLS / "ansible-vault", "view", *options)
    assert yaml.safe_load(shown.stdout) == template


@pytest.mark.parametrize("playbook", sorted(path.name for path in ANSIBLE.glob("*.yml")))
def test_every_playbook_has_its_place_in_the_manual(playbook: str) -> None:
    if playbook != "requirements.yml":
        assert f"`{playbook}`" in (ANSIBLE.parent / "docs/ansible.md").read_text()
