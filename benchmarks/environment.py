"""The peers' virtual environment, and what a reader must know of versions and machine."""

import os
import platform
import re
import subprocess
import sys
import venv
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path

from benchmarks.servers import ROOT, SCRATCH

_REQUIREMENTS = Path(__file__).with_name("peers.txt")
_SHOWN = (
    "extension-kit",
    "gunicorn",
    "uvicorn",
    "uvicorn-worker",
    "uvloop",
    "httptools",
    "Flask",
    "Werkzeug",
    "marshmallow",
    "orjson",
    "jsonschema_rs",
)


_OTHER_VERSIONS = {"cloudevents"}  # of libraries that peers need, and only extensions that take no part here


def peers_python() -> str:
    """Return the interpreter that has the peers and the kit; install them first where that was not done yet.

    Raises:
        subprocess.CalledProcessError: pip could not; it has said why.
    """
    folder = SCRATCH / "peers"
    python = folder / "bin" / "python"
    installed = folder / "installed"
    pinned = {_normal(name) for name in re.findall(r"^([\w-]+)==", _REQUIREMENTS.read_text(), re.M)}
    ours = sorted(
        f"{name}=={distribution.version}"
        for distribution in distributions()
        if (name := _normal(distribution.metadata["Name"])) not in {*pinned, *_OTHER_VERSIONS, "extension-kit", "pip"}
    )
    wanted = sha256("\n".join([sys.version, _REQUIREMENTS.read_text(), *ours]).encode()).hexdigest()
    if installed.exists() and installed.read_text() == wanted:
        return str(python)
    venv.create(folder, clear=True, with_pip=True)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(ours))
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*install, "--constraint", str(constraints), "--requirement", str(_REQUIREMENTS), "--editable", str(ROOT)],
        check=True,
    )
    installed.write_text(wanted)
    return str(python)


def versions() -> dict[str, str]:
    """The versions of what takes part, the peers' from their file."""
    found = {_normal(each.metadata["Name"]): each.version for each in distributions()}
    peers = dict(re.findall(r"^([\w-]+)==(\S+)", _REQUIREMENTS.read_text(), re.M))
    kit = {name: found[_normal(name)] for name in _SHOWN if _normal(name) in found}
    return {"Python": platform.python_version(), **kit, **peers}


def machine() -> str:
    """One line about the machine."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    name = model[1].strip() if model else platform.machine()
    return f"{os.cpu_count()} CPUs ({name}), {memory:.0f} GiB, {platform.system()} {platform.release()}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
