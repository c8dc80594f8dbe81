"""Does what a Dockerfile says, without Docker: its stages become directories, its commands run in them, confined."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from string import Template

from tests.helm.confinement import PATH, USER, confined, give

_TIMEOUT = 240.0
# Makes a user and gives it /data. Here the user is there, or is who runs the tests, and /data is mounted.
ROOT_ONLY = "useradd "
# How this machine reaches a package index.
_INHERITED = re.compile(r"PIP_|SSL_|REQUESTS_|(https?|no|all)_proxy$", re.IGNORECASE)


@dataclass
class Image:
    """A stage of a Dockerfile, done; the last one is the image."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    directory: str = "/"
    user: str = ""
    command: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    ports: list[int] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def inside(self, path: str) -> Path:
        """Where the machine has a path of the image."""
        return self.root / str(Path(self.directory, path)).lstrip("/")


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Each instruction and what follows it, its lines joined; comments are left out."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def build(dockerfile: Path, scratch: Path, base: Image | None = None) -> Image:
    """Do what a Dockerfile says, in a directory; its own is the context.

    ``base`` is what the FROM of a single stage stands for; otherwise the machine itself stands for all of them.
    """
    context = dockerfile.parent
    stages: dict[str, Image] = {}
    image = Image(scratch)
    for name, rest in instructions(dockerfile.read_text(encoding="utf-8")):
        match name:
            case "FROM":
                if base is not None:
                    shutil.copytree(base.root, scratch / "0", symlinks=True, copy_function=os.link)
                    image = replace(base, root=scratch / "0", environment=dict(base.environment))
                else:
                    image = Image(scratch / str(len(stages)))
                    image.root.mkdir(mode=0o755)
                give(image.root, USER)
                stages[rest.partition(" AS ")[2] or "last"] = image
            case "ARG":
                variable, _, default = rest.partition("=")
                image.environment.setdefault(variable, default)
            case "ENV" | "LABEL":
                pairs = dict(part.split("=", 1) for part in shlex.split(Template(rest).substitute(image.environment)))
                (image.environment if name == "ENV" else image.labels).update(pairs)
            case "WORKDIR":
                image.directory = rest
                image.inside(".").mkdir(parents=True, exist_ok=True)
                give(image.inside("."), USER)
            case "COPY":
                _copy(rest, context, stages, image)
            case "RUN" if rest.startswith(ROOT_ONLY):
                image.skipped.append(rest)
            case "RUN":
                _run(rest, image)
            case "USER":
                image.user = rest
            case "VOLUME":
                image.volumes = json.loads(rest)
            case "EXPOSE":
                image.ports = [int(port) for port in rest.split()]
            case "CMD":
                image.command = json.loads(rest)
            case _:
                raise ValueError(f"the tests do not know how to do {name}")
    return image


def _copy(rest: str, context: Path, stages: dict[str, Image], image: Image) -> None:
    *sources, destination = rest.split()
    source_root, is_left_out = context, _ignored(context)
    if sources[0].startswith("--from="):
        source_root, is_left_out = stages[sources.pop(0).removeprefix("--from=")].root, lambda path: False
    for source in sources:
        path = source_root / source.lstrip("/")
        target = image.inside(destination)
        if path.is_file():
            assert not is_left_out(path), f"{source} is left out by .dockerignore"
            if destination.endswith(("/", ".")):
                target /= path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        else:
            shutil.copytree(
                path,
                target,
                copy_function=shutil.copy2 if source_root is context else os.link,  # thousands of files
                symlinks=True,
                dirs_exist_ok=True,
                ignore=lambda folder, names: [name for name in names if is_left_out(Path(folder, name))],
            )
        give(target, USER)


def _ignored(context: Path) -> Callable[[Path], bool]:
    """Whether .dockerignore leaves a file out: the last pattern that fits it, or a directory it is in, decides."""
    file = context / ".dockerignore"
    patterns = [line for line in (file.read_text().splitlines() if file.exists() else []) if line and line[0] != "#"]

    def is_left_out(path: Path) -> bool:
        parts = path.relative_to(context).parts
        left_out = False
        for pattern in patterns:
            wanted = pattern.lstrip("!")
            anywhere = wanted.startswith("**/")
            candidates = parts if anywhere else parts[:1]
            if any(fnmatchcase(part, wanted.removeprefix("**/")) for part in candidates):
                left_out = not pattern.startswith("!")
        return left_out

    return is_left_out


def _run(command: str, image: Image) -> None:
    inherited = {name: value for name, value in os.environ.items() if _INHERITED.match(name)}
    temporary = image.root / "tmp"
    temporary.mkdir(exist_ok=True)
    give(temporary, USER)
    result = subprocess.run(
        confined(
            image.root,
            ["/bin/sh", "-c", command],
            {"HOME": "/tmp"} | inherited | image.environment,
            directory=image.directory,
            writable=True,
        ),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
    )
    assert result.returncode == 0, f"RUN {command}\n{result.stdout}{result.stderr}"
