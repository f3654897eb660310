"""The scripts that workflows run, on real files and real git repositories."""

from __future__ import annotations

import json
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
    """A repository with main, a branch and an empty branch `deploy`."""
    bare, work = tmp_path / "remote.git", tmp_path / "work"
    subprocess.run(["git", "init", "-q", "--bare", bare], check=True)
    subprocess.run(["git", "init", "-q", "-b", "deploy", work], check=True)
    git(work, "commit", "-q", "--allow-empty", "-m", "empty")
    git(work, "push", "-q", str(bare), "deploy")
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


def push(
    remote: Path, branch: str, *step: str, before: str = ""
) -> subprocess.CompletedProcess[str]:
    work = remote.parent / "work"
    env = {"BRANCH": branch, "BEFORE": before, "DEPLOY_REMOTE": str(remote)}
    env["GITHUB_SHA"] = git(work, "rev-parse", "HEAD")
    return tools.run("sh", PUSH, *step, cwd=work, env=env)


def read(remote: Path, path: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(git(remote, "show", f"deploy:{path}"))
    return found


def test_main_goes_to_staging_and_a_tag_to_production(remote: Path) -> None:
    assert push(remote, "main").returncode == 0
    staging = read(remote, "environments/staging/release.json")
    assert staging["commit"] == git(remote.parent / "work", "rev-parse", "HEAD")
    assert push(remote, "main", "production").returncode == 0
    assert read(remote, "environments/production/release.json")["images"] == staging["images"]
    assert "Nothing to change" in push(remote, "main", "production").stdout


def test_a_branch_has_a_preview_that_trains_only_for_other_training(remote: Path) -> None:
    work = remote.parent / "work"
    place = "previews/mine/preview.json"
    git(work, "switch", "-q", "-c", "mine")
    (work / "page.html").write_text("p")
    git(work, "add", "page.html")
    git(work, "commit", "-q", "-m", "page")
    assert push(remote, "mine", before="0" * 40).returncode == 0
    assert read(remote, place)["candidate"] == ""
    before = git(work, "rev-parse", "HEAD")
    (work / "recipes/a.toml").write_text("b")
    git(work, "commit", "-q", "-am", "recipe")
    assert push(remote, "mine", before=before).returncode == 0
    trained = read(remote, place)["candidate"]
    assert trained == git(work, "rev-parse", "HEAD")
    (work / "page.html").write_text("q")
    git(work, "commit", "-q", "-am", "page again")
    assert push(remote, "mine", before=trained).returncode == 0
    assert read(remote, place)["candidate"] == trained != read(remote, place)["commit"]
    assert push(remote, "mine", "train").returncode == 0
    assert read(remote, place)["candidate"] == read(remote, place)["commit"]
    assert push(remote, "mine", "retire").returncode == 0
    assert place not in git(remote, "ls-tree", "-r", "--name-only", "deploy")


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
        "sh", "scripts/publish.sh", remote, "both", "sh", "-c",
        '[ -e "$0" ] || { touch "$0"; '
        'sh scripts/publish.sh "$1" other sh -c \'echo 1 > "$CHECKOUT/other"\'; }'
        '; echo 1 > "$CHECKOUT/ours"',
        remote.parent / "done", remote,
    )  # fmt: skip
    assert other.returncode == 0, other.stderr
    assert git(remote, "ls-tree", "--name-only", "deploy").split() == ["other", "ours"]
