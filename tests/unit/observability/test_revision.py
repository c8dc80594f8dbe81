"""The revision in the line with build information."""

import subprocess

import pytest

from extension_kit.observability.revision import find_revision


@pytest.fixture
def repository(tmp_path):
    """Run git in a new repository that has a committed handler file."""

    def git(*arguments):
        who = ["-c", "user.name=Anna", "-c", "user.email=anna@example.com", "-c", "init.defaultBranch=main"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    git("init", "--quiet")
    (tmp_path / "oncall.py").write_text("")
    git("add", "oncall.py")
    git("commit", "--quiet", "--message", "First")
    return git


def test_is_the_commit_of_the_working_tree(repository, tmp_path):
    assert find_revision(tmp_path) == repository("rev-parse", "--short=12", "HEAD")


def test_tells_of_changes(repository, tmp_path):
    (tmp_path / "oncall.py").write_text("changed")
    assert find_revision(tmp_path) == repository("rev-parse", "--short=12", "HEAD") + "-dirty"


def test_is_not_that_of_somebody_elses_tree(repository, tmp_path):
    folder = tmp_path / "env/lib"
    folder.mkdir(parents=True)
    (folder / "oncall.py").write_text("")
    assert find_revision(folder) == "unknown"


def test_is_unknown_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_revision(tmp_path) == "unknown"


def test_is_unknown_outside_of_a_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert find_revision(tmp_path) == "unknown"
