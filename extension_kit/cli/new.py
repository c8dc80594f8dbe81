"""Command ``new``: a new extension, written as a folder of small files that works as it stands."""

import keyword
import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from string import Template

import click

from extension_kit.errors import ConfigurationError

_PREFIX = "extension-"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_NAME = 53  # of a Helm release
_WHEELS = "wheels"
_ABOUT_WHEEL = f"""
`{_WHEELS}/` holds extension-kit itself, in the version that made this extension: keep it with the rest. For a later
version, put its wheel there and name it in `requirements.txt`; extras follow it, as in `....whl[metrics]`.
"""


@click.command()
@click.argument("name")
@click.option("--directory", type=click.Path(path_type=Path), help="Directory to write to (default: ./NAME).")
def new(name: str, directory: Path | None) -> None:
    """Write a small, complete extension: handlers, test, README, Dockerfile, values for Helm."""
    click.echo(write_extension(name, directory or Path(name)), nl=False)


def write_extension(name: str, directory: Path) -> str:
    """Write the extension ``name`` into a directory that is empty or does not exist.

    If this kit was not installed from an index, but from a checkout for example, it is put beside the extension as a
    wheel: pip could not install it by name.

    ``oncall`` and ``extension-oncall`` are the same: the module is oncall.py, the extension is called extension-oncall.

    Returns:
        Message for the user: the written files and the next commands.

    Raises:
        ConfigurationError: the name is not allowed, the directory is not empty, or it cannot be written.
    """
    from importlib.metadata import distribution
    from importlib.resources import files

    from extension_kit.cli.own_wheel import is_from_index, wheel_name, write_wheel

    short = name.removeprefix(_PREFIX)
    module = short.replace("-", "_")
    if not _NAME.fullmatch(short):
        raise ConfigurationError(
            f"{name!r} is not a name for an extension: expected lower-case letters, digits, dashes"
        )
    if len(_PREFIX + short) > _LONGEST_NAME:
        raise ConfigurationError(f"{name!r} is too long: {_PREFIX}... may have {_LONGEST_NAME} characters")
    if keyword.iskeyword(module) or find_spec(module):
        raise ConfigurationError(f"{name!r} would hide the Python module {module}: choose another name")
    kit = distribution("extension-kit")
    brings_kit = not is_from_index(kit)
    placeholders = {
        "name": _PREFIX + short,
        "module": module,
        "kit": f"./{_WHEELS}/{wheel_name(kit)}" if brings_kit else f"extension-kit=={kit.version}",
        "about_kit": _ABOUT_WHEEL if brings_kit else "",
        "copied": f"COPY requirements.txt .\nCOPY {_WHEELS} {_WHEELS}" if brings_kit else "COPY requirements.txt .",
    }
    written = {}
    for template in (files("extension_kit") / "templates/extension").iterdir():
        file = template.name.removesuffix(".tmpl").replace("MODULE", module)
        written[file] = Template(template.read_text("utf-8")).substitute(placeholders)
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise ConfigurationError(f"{directory} exists already and is not an empty directory: choose another")
        directory.mkdir(parents=True, exist_ok=True)
        for file, text in written.items():
            (directory / file).write_text(text, encoding="utf-8")
        if brings_kit:
            (directory / _WHEELS).mkdir()
            write_wheel(directory / _WHEELS)
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be written: {error}") from None
    files_written = ", ".join(sorted([*written, *([f"{_WHEELS}/"] if brings_kit else [])]))
    steps = [
        f"cd {shlex.quote(str(directory))}",
        *_installation(),
        "python -m pytest",
        f"extension-kit serve {module}.py",
        "extension-kit agent http://localhost:8080 --generate 10 --fast   # in another terminal",
    ]
    return "\n  ".join([f"Wrote {files_written} to {directory}. Next:\n", *steps]) + "\n"


def _installation() -> list[str]:
    """Return the commands that install the kit and pytest, as far as ``python`` does not have them yet."""
    python = which("python")
    is_active = python is not None and Path(python).parent == Path(sys.prefix, "bin")
    if sys.prefix == sys.base_prefix or not is_active:
        return ["python3 -m venv .venv && . .venv/bin/activate", "pip install --requirement requirements.txt pytest"]
    return [] if find_spec("pytest") else ["pip install pytest"]
