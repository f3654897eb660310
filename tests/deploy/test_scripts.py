"""The scripts that workflows run, on real files and real git repositories."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from scripts import changelog, deliver
from tests.deploy import tools

TEXT = (
    "# Changelog\n\n## Unreleased\n\n- new\n\n## 1.1.0 (2026-01-02)\n\n### Added\n\n- one\n\n"
    "## 1.0.0\n\n"
)
PUSH = tools.PROJECT / "scripts/deliver_push.sh"


def test_notes_are_the_section_and_nothing_else() -> None:
    assert changelog.notes(TEXT, "v1.1.0") == "### Added\n\n- one"


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("v1.2.0", "no section of 1.2.0"),
        ("v1.0.0", "says nothing"),
        ("Unreleased", "not a version"),
        ("v1.1", "not a version"),
    ],
)
def test_a_tag_without_notes_is_refused(tag: str, words: str) -> None:
    with pytest.raises(changelog.NotesError, match=words):
        changelog.notes(TEXT, tag)


def test_two_sections_of_a_version_are_refused() -> None:
    with pytest.raises(changelog.NotesError, match="2 sections"):
        changelog.notes(TEXT + "## 1.1.0\n\n- two\n", "v1.1.0")


def test_slugs_are_names_and_never_shared() -> None:
    branches = ["main", "feature/x", "feature-x", "Feature-X", "feature_x", "ä", "x" * 80, "x" * 81]
    slugs = [deliver.slug(one) for one in branches]
    assert slugs[0] == "main"
    assert len(set(slugs)) == len(branches)
    for one in slugs:
        assert len(one) <= 30
        assert one.replace("-", "").isalnum()
        assert one.isascii()
        assert not one.startswith("-")
        assert not one.endswith("-")


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@t.example")
    done = subprocess.run(
        ["git", "-C", folder, *who, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A repository with main, a branch and the empty branches that Argo CD reads."""
    bare, work = tmp_path / "remote.git", tmp_path / "work"
    subprocess.run(["git", "init", "-q", "--bare", bare], check=True)
    subprocess.run(["git", "init", "-q", "-b", "deploy", work], check=True)
    git(work, "commit", "-q", "--allow-empty", "-m", "empty")
    git(work, "push", "-q", str(bare), "deploy", "deploy:deploy-production")
    git(work, "switch", "-q", "--orphan", "main")
    (work / "recipes").mkdir()
    (work / "recipes/a.toml").write_text("a")
    git(work, "add", ".")
    git(work, "commit", "-q", "-m", "first")
    git(work, "remote", "add", "origin", str(bare))
    git(work, "push", "-q", "origin", "main")
    digests = work / "digests"
    digests.mkdir()
    for image in deliver.IMAGES:
        (digests / image).write_text("sha256:" + "a" * 64 + "\n")
    return bare


def push(remote: Path, branch: str, *step: str) -> subprocess.CompletedProcess[str]:
    work = remote.parent / "work"
    env = {"BRANCH": branch, "DEPLOY_REMOTE": str(remote)}
    env["GITHUB_SHA"] = git(work, "rev-parse", "HEAD")
    return tools.run("sh", PUSH, *step, cwd=work, env=env)


def read(remote: Path, path: str, branch: str = "deploy") -> dict[str, str]:
    found: dict[str, str] = json.loads(git(remote, "show", f"{branch}:{path}"))
    return found


def begin(work: Path, branch: str) -> None:
    git(work, "switch", "-q", "-c", branch)
    git(work, "push", "-q", "origin", branch)


def commit(work: Path, name: str, text: str) -> str:
    (work / name).write_text(text)
    git(work, "add", name)
    git(work, "commit", "-q", "-m", name)
    return git(work, "rev-parse", "HEAD")


def test_main_goes_to_staging_and_a_tag_to_production(remote: Path) -> None:
    assert push(remote, "main").returncode == 0
    staging = read(remote, "environments/staging/release.json")
    assert staging["commit"] == git(remote.parent / "work", "rev-parse", "HEAD")
    assert push(remote, "main", "production").returncode == 0
    place = "environments/production/release.json"
    assert read(remote, place, "deploy-production")["images"] == staging["images"]
    assert "Nothing to change" in push(remote, "main", "production").stdout
    # Neither is ever written where the other is read.
    assert place not in git(remote, "ls-tree", "-r", "--name-only", "deploy")
    assert git(remote, "ls-tree", "-r", "--name-only", "deploy-production") == place


# The last argument is what runs at GitHub; this one runs it here.
SSH = """#!/bin/sh
for word; do
    case $word in -i) next=yes ;; *) [ "${next:-}" ] && key=$word; next= ;; esac
    last=$word
done
echo "$@" >> "$SAW/arguments"
stat --format=%a "$key" >> "$SAW/mode"
cp "$key" "$SAW/key"
eval "${last%% *} '$REMOTE'"
"""


def test_production_is_pushed_with_the_key_of_its_environment(remote: Path, tmp_path: Path) -> None:
    work, saw = remote.parent / "work", tmp_path / "saw"
    saw.mkdir()
    (saw / "ssh").write_text(SSH)
    (saw / "ssh").chmod(0o755)
    env = {
        "PATH": f"{saw}:{os.environ['PATH']}", "TMPDIR": str(tmp_path / "temporary"),
        "SAW": str(saw), "REMOTE": str(remote), "GITHUB_SHA": git(work, "rev-parse", "HEAD"),
        "GITHUB_SERVER_URL": "https://github.invalid", "GITHUB_REPOSITORY": "owner/name",
    }  # fmt: skip
    (tmp_path / "temporary").mkdir()
    without = tools.run("sh", PUSH, "production", cwd=work, env=env)
    assert without.returncode != 0
    assert "docs/delivery.md" in without.stderr
    done = tools.run("sh", PUSH, "production", cwd=work, env={**env, "DEPLOY_KEY": "the key"})
    assert done.returncode == 0, done.stderr
    assert read(remote, "environments/production/release.json", "deploy-production")
    assert (saw / "key").read_text() == "the key\n"
    assert set((saw / "mode").read_text().split()) == {"600"}
    for line in (saw / "arguments").read_text().splitlines():
        assert "-o StrictHostKeyChecking=yes" in line
        assert "git@github.com" in line
        assert "'owner/name.git'" in line
    assert not list((tmp_path / "temporary").iterdir())
    # And it is GitHub, by its published fingerprint, to whom the key is shown.
    shown = tools.run("ssh-keygen", "-l", "-f", "scripts/known_hosts").stdout
    assert "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU github.com" in shown


def test_a_branch_has_a_preview_that_trains_only_for_other_training(remote: Path) -> None:
    work = remote.parent / "work"
    place = "previews/mine/preview.json"
    begin(work, "mine")
    commit(work, "page.html", "p")
    assert push(remote, "mine").returncode == 0
    assert read(remote, place)["candidate"] == ""
    trained = commit(work, "recipes/a.toml", "b")
    assert push(remote, "mine").returncode == 0
    assert read(remote, place)["candidate"] == trained
    commit(work, "page.html", "q")
    assert push(remote, "mine").returncode == 0
    assert read(remote, place)["candidate"] == trained != read(remote, place)["commit"]
    assert push(remote, "mine", "train").returncode == 0
    assert read(remote, place)["candidate"] == read(remote, place)["commit"]
    assert push(remote, "mine", "retire").returncode == 0
    assert place not in git(remote, "ls-tree", "-r", "--name-only", "deploy")


def test_a_recipe_whose_push_was_not_delivered_is_trained_with_the_next(remote: Path) -> None:
    """Its tests had failed, say; the push that mends them changes no recipe."""
    work = remote.parent / "work"
    begin(work, "mine")
    commit(work, "page.html", "p")
    assert push(remote, "mine").returncode == 0
    commit(work, "recipes/a.toml", "b")
    mended = commit(work, "page.html", "q")
    assert push(remote, "mine").returncode == 0
    assert read(remote, "previews/mine/preview.json")["candidate"] == mended


def test_a_new_branch_and_a_rewritten_one_count_from_main(remote: Path) -> None:
    work = remote.parent / "work"
    begin(work, "mine")
    first = commit(work, "recipes/a.toml", "b")
    assert push(remote, "mine").returncode == 0
    assert read(remote, "previews/mine/preview.json")["candidate"] == first
    git(work, "reset", "-q", "--hard", "main")
    git(work, "reflog", "expire", "--expire=now", "--all")
    git(work, "gc", "-q", "--prune=now")
    other = commit(work, "recipes/a.toml", "c")
    assert push(remote, "mine").returncode == 0
    assert read(remote, "previews/mine/preview.json")["candidate"] == other


def test_a_branch_that_is_deleted_during_its_delivery_leaves_no_preview(remote: Path) -> None:
    """Its retirement found nothing to retire; the delivery is made from what was checked out."""
    work = remote.parent / "work"
    begin(work, "mine")
    commit(work, "page.html", "p")
    git(work, "push", "-q", "origin", "--delete", "mine")
    assert "Nothing to change" in push(remote, "mine", "retire").stdout
    done = push(remote, "mine")
    assert done.returncode == 0, done.stderr
    assert not git(remote, "ls-tree", "-r", "--name-only", "deploy")


def test_a_missing_digest_delivers_nothing(remote: Path) -> None:
    (remote.parent / "work/digests/worker").unlink()
    before = git(remote, "rev-parse", "deploy")
    done = push(remote, "main")
    assert done.returncode != 0
    assert "the digest of worker" in done.stderr
    assert git(remote, "rev-parse", "deploy") == before


def test_deliveries_at_the_same_time_are_all_kept(remote: Path) -> None:
    """Somebody else pushes between our fetch and our push."""
    other = tools.run(
        "sh", "scripts/publish.sh", remote, "deploy", "both", "sh", "-c",
        '[ -e "$0" ] || { touch "$0"; '
        'sh scripts/publish.sh "$1" deploy other sh -c \'echo 1 > "$CHECKOUT/other"\'; }'
        '; echo 1 > "$CHECKOUT/ours"',
        remote.parent / "done", remote,
    )  # fmt: skip
    assert other.returncode == 0, other.stderr
    assert git(remote, "ls-tree", "--name-only", "deploy").split() == ["other", "ours"]
