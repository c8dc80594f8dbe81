"""Tries the distributions in a folder as their users would: each in an environment of its own."""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from rich.console import Console

_SECONDS = 600
_KINDS = {"the wheel": "--only-binary", "the source distribution": "--no-binary"}

console = Console(stderr=True)


def main(folder: Path) -> None:
    """Install the wheel, then the source distribution, and make an extension with each that passes its own test."""
    for kind, option in _KINDS.items():
        with tempfile.TemporaryDirectory() as made, console.status(f"Trying {kind} ..."):
            place = Path(made)
            python = _environment(place / "env")
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--find-links", folder]
            _run(place, *install, option, "extension-kit", "extension-kit[testing]")
            kit = python.with_name("extension-kit")
            _run(place, kit, "new", "oncall")
            _run(place / "oncall", *install, "--requirement", "requirements.txt")
            _run(place / "oncall", python, "-m", "pytest", "--quiet")
            _run(place / "oncall", kit, "openapi", "oncall.py")
        console.print(f"{kind} works", style="green")


def _environment(place: Path) -> Path:
    venv.create(place, with_pip=True)
    return place / "bin/python"


def _run(cwd: Path, *command: object) -> None:
    given = [str(part) for part in command]
    done = subprocess.run(given, cwd=cwd, capture_output=True, text=True, timeout=_SECONDS)  # noqa: S603 (our own)
    if done.returncode:
        raise SystemExit(f"{' '.join(given)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
