"""Releases: all places name one version, and its page has its part of the changelog."""

import pytest

from tools import release

CHANGELOG = """# Changelog

## Unreleased

- Later.

## 0.2.0 (2026-12-01)

- Now.
- Too.

## 0.1.0

- Before.
"""


@pytest.mark.parametrize(
    ("version", "notes"), [("0.2.0", "- Now.\n- Too.\n"), ("0.1.0", "- Before.\n"), ("0.2", ""), ("0.3.0", "")]
)
def test_notes_are_the_part_of_the_changelog(version, notes):
    assert release.notes(version, CHANGELOG) == notes


def test_all_places_name_one_version():
    assert len(set(release.versions().values())) == 1


def test_a_tag_of_another_version_is_refused():
    (version,) = set(release.versions().values())
    assert not [problem for problem in release.problems(f"v{version}") if "says" in problem]
    assert len([problem for problem in release.problems("v99.0.0") if "says 0" in problem]) == 4


@pytest.mark.parametrize("project", [path for path in release.PROJECTS if "/" in path])
def test_distributions_have_the_license_of_the_kit(project):
    assert (release.ROOT / project).with_name("LICENSE").read_bytes() == (release.ROOT / "LICENSE").read_bytes()
