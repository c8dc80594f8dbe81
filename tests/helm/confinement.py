"""Processes in a root directory of their own, as in a container, by the namespaces of Linux and without Docker.

The machine's own /usr and Python stand in for the base image. Everything is read-only but the volumes. As root,
processes run as the user 10000, or another one, without capabilities; anybody else's run as themselves.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.support.leftovers import RUN

IS_ROOT = os.geteuid() == 0
USER = 10000
PYTHON = Path(sys.base_prefix)
PATH = f"{PYTHON}/bin:/usr/local/bin:/usr/bin:/bin"
_SYSTEM = (
    "usr",
    "bin",
    "sbin",
    "lib",
    "lib32",
    "lib64",
    "proc",
    "dev",
    "etc/hosts",
    "etc/resolv.conf",
    "etc/nsswitch.conf",
    "etc/passwd",
    "etc/group",
    "etc/ld.so.cache",
    "etc/alternatives",
    "etc/ssl",
    "etc/pki",
    "etc/ca-certificates",
    "etc/pip.conf",
)
_UNSHARE = ["unshare", *(() if IS_ROOT else ("--user", "--map-root-user")), "--mount", "--propagation", "private"]


class Volume(NamedTuple):
    source: Path
    read_only: bool = False


class Identity(NamedTuple):
    """As whom processes run, where those who start them are root."""

    user: int
    group: int
    more_groups: tuple[int, ...] = ()


IMAGES_USER = Identity(USER, USER)


@cache
def missing() -> str:
    """Why this machine cannot do it, empty where it can."""
    try:
        subprocess.run([*_UNSHARE, "mount", "--bind", "/usr", "/usr"], check=True, capture_output=True, timeout=30)
    except FileNotFoundError:
        return "unshare and mount are needed (util-linux)"
    except subprocess.CalledProcessError as error:
        return f"namespaces are needed, for which one must be root here: {error.stderr.decode().strip()}"
    return ""


def give(path: Path, user: int) -> None:
    """Give a file, or a directory and everything in it, to a user, where that can be done."""
    if IS_ROOT:
        subprocess.run(["chown", "--recursive", "--no-dereference", f"{user}:{user}", path], check=True, timeout=60)


def confined(
    root: Path,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    directory: str = "/",
    volumes: Mapping[str, Volume] | None = None,
    writable: bool = False,
    identity: Identity = IMAGES_USER,
) -> list[str]:
    """The command that runs a command in a root directory. It becomes that process: its signals are its own.

    Args:
        root: the root directory, without what the machine lends it.
        command: what to run in it.
        environment: all of its environment.
        directory: where to run it.
        volumes: by the path of a directory or file inside.
        writable: leave the root directory writable, to build in it.
        identity: as whom.
    """
    lines = ["set -e", "PATH=$PATH:/usr/sbin:/sbin", f"mount --bind {_quoted(root)} {_quoted(root)}"]
    for name in _SYSTEM:
        source, target = Path("/", name), root / name
        if source.is_symlink() and not name.startswith("etc/"):
            if not target.is_symlink():
                target.symlink_to(source.readlink())
        elif source.exists():
            lines.append(_bind("--rbind", source, target))
    if not PYTHON.is_relative_to("/usr"):
        lines.append(_bind("--bind", PYTHON, root / PYTHON.relative_to("/")))
    for path, volume in (volumes or {}).items():
        target = root / path.lstrip("/")
        lines.append(_bind("--bind", volume.source, target))
        if volume.read_only:
            lines.append(f"mount -o remount,bind,ro {_quoted(target)}")
    if not writable:
        lines.append(f"mount -o remount,bind,ro {_quoted(root)}")
    known = {name: os.environ[name] for name in [RUN] if name in os.environ}
    variables = [f"{name}={value}" for name, value in ({"PATH": PATH} | dict(environment) | known).items()]
    groups = f"--groups={','.join(map(str, identity.more_groups))}" if identity.more_groups else "--clear-groups"
    become = [f"--reuid={identity.user}", f"--regid={identity.group}", groups] if IS_ROOT else []
    inside = [
        "chroot", str(root), "/usr/bin/setpriv", *become, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all",
        "/usr/bin/env", "--ignore-environment", f"--chdir={directory}", *variables, *command,
    ]  # fmt: skip
    lines.append(f"exec {shlex.join(inside)}")
    return [*_UNSHARE, "sh", "-c", "\n".join(lines)]


def _bind(how: str, source: Path, target: Path) -> str:
    place = _quoted(target)
    make = f"mkdir -p {place}" if source.is_dir() else f"mkdir -p {_quoted(target.parent)} && touch {place}"
    return f"[ -e {place} ] || {{ {make}; }}; mount {how} {_quoted(source)} {place}"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
