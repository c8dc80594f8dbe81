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
_WITHOUT_IMAGE = """ To do without an image of your own, name extension-kit's in `image`, remove `handlers`, and add
# --set-file 'handlers.inline.{0}\\.py={0}.py' to helm install."""


@click.command()
@click.argument("name")
@click.option("--directory", type=click.Path(path_type=Path), help="Directory to write to (default: ./NAME).")
@click.option(
    "--like",
    metavar="EXTENSION",
    help="Begin with a copy of an extension: the name of a folder in extensions/, or a file, folder or module.",
)
def new(name: str, directory: Path | None, like: str | None) -> None:
    """Write a small, complete extension: handlers, test, README, Dockerfile, values for Helm."""
    click.echo(write_extension(name, directory or Path(name), like), nl=False)


def write_extension(name: str, directory: Path, like: str | None = None) -> str:
    """Write the extension ``name`` into a directory that is empty or does not exist.

    If this kit was not installed from an index, but from a checkout for example, it is put beside the extension as a
    wheel: pip could not install it by name.

    ``oncall`` and ``extension-oncall`` are the same: the module is oncall.py, the extension is called extension-oncall.

    Args:
        name: the name.
        directory: to write to.
        like: the extension to copy into a folder of the new module's name, see ``copy_extension``; None for oncall.py.

    Returns:
        Message for the user: the written files and the next commands.

    Raises:
        ConfigurationError: the name is not allowed, the directory is not empty, it cannot be written, or there is
            nothing to copy.
    """
    from importlib.metadata import distribution
    from importlib.resources import files

    from extension_kit.cli.like import copy_extension
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
    copy = copy_extension(like, _PREFIX + short, module) if like is not None else None
    kit = distribution("extension-kit")
    brings_kit = not is_from_index(kit)
    extra = f"[{copy.extra}]" if copy and copy.extra else ""
    placeholders = {
        "name": _PREFIX + short,
        "module": module,
        "served": module if copy else f"{module}.py",
        "place": module if copy else ".",
        "kit": f"./{_WHEELS}/{wheel_name(kit)}{extra}" if brings_kit else f"extension-kit{extra}=={kit.version}",
        "about_kit": _ABOUT_WHEEL if brings_kit else "",
        "copied": f"COPY requirements.txt .\nCOPY {_WHEELS} {_WHEELS}" if brings_kit else "COPY requirements.txt .",
        "without_image": "" if copy else _WITHOUT_IMAGE.format(module),
    }
    written = {}
    for template in (files("extension_kit") / "scaffold").iterdir():
        file = template.name.removesuffix(".tmpl").replace("MODULE", module)
        written[file] = Template(template.read_text("utf-8")).substitute(placeholders)
    if copy:
        del written[f"{module}.py"], written[f"test_{module}.py"]
        run_it = "".join(written["README.md"].partition("## Run it")[1:])
        written["README.md"] = f"{copy.readme.strip()}\n\n{run_it}"
        written |= {f"{module}/{file}": text for file, text in copy.files.items()}
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise ConfigurationError(f"{directory} exists already and is not an empty directory: choose another")
        directory.mkdir(parents=True, exist_ok=True)
        for file, text in written.items():
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
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
        f"extension-kit serve {placeholders['served']}",
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
