"""Facts of a release: that all places name its version, and its part of the changelog.

Usage: release.py check|notes v0.2.0
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECTS = ("pyproject.toml", "clients/apscheduler/pyproject.toml")
"""A distribution each."""


def versions() -> dict[str, str]:
    """Return the version in each file that names it."""
    chart = (ROOT / "helm/extension/Chart.yaml").read_text()
    projects = {path: tomllib.loads((ROOT / path).read_text())["project"]["version"] for path in PROJECTS}
    return projects | {
        "version of helm/extension/Chart.yaml": _value(chart, r"^version: (\S+)$"),
        "appVersion of helm/extension/Chart.yaml": _value(chart, r'^appVersion: "(\S+)"$'),
    }


def notes(version: str, changelog: str) -> str:
    """Return the part of the changelog about a version, without its heading; "" if there is none."""
    found = re.search(rf"^## {re.escape(version)}(?: [^\n]*)?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return found[1].strip() + "\n" if found else ""


def problems(tag: str) -> list[str]:
    """Return the reasons for which a tag cannot be released."""
    version = tag.removeprefix("v")
    found = [f"{place} says {named}, the tag {version}" for place, named in versions().items() if named != version]
    if not notes(version, (ROOT / "CHANGELOG.md").read_text()):
        found.append(f"CHANGELOG.md has nothing under a heading '## {version}'")
    return found


def _value(text: str, pattern: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else "nothing"


def main(command: str, tag: str) -> None:
    """Run a command."""
    if command == "notes":
        print(notes(tag.removeprefix("v"), (ROOT / "CHANGELOG.md").read_text()), end="")
    elif command == "check":
        if found := problems(tag):
            raise SystemExit("; ".join(found))
    else:
        raise SystemExit(f"release.py: {command} is neither check nor notes")


if __name__ == "__main__":
    main(*sys.argv[1:])
