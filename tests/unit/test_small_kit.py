"""The small kit stays small: who has no durable listener loads nothing of databases, workers and senders."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"sqlalchemy", "alembic", "psycopg", "kombu", "urllib3", "standardwebhooks"}

# The registration document is made at each request, so it can say what its process has loaded so far.
EXTENSION = """
import sys
from extension_kit import Extension

extension = Extension("extension-small")
extension.extend_index(lambda: {"loaded": sorted(set(module.partition(".")[0] for module in sys.modules))})

@extension.listen_to("*"%s)
def handle(event):
    print(event.id)
"""


def heavy(modules) -> set[str]:
    return HEAVY & set(modules)


def test_importing_the_kit_loads_no_heavy_module():
    code = "import sys, extension_kit; print(*{module.partition('.')[0] for module in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    modules = loaded.stdout.split()
    assert "extension_kit" in modules
    assert heavy(modules) == set()


def test_help_texts_load_nothing_that_commands_need():
    code = (
        "import sys; from extension_kit.cli import commands; commands(['--help'], standalone_mode=False); "
        "print('loaded', *{module.partition('.')[0] for module in sys.modules})"
    )
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert "extensions/: announce, audit, croneye, datadog, eventhos" in " ".join(loaded.stdout.split())
    modules = loaded.stdout.splitlines()[-1].split()
    assert modules[0] == "loaded"
    assert "click" in modules
    assert not {"announce", "extensions"} & set(modules)
    assert (HEAVY | {"flask", "gunicorn", "rich"}) & set(modules) == set()


def test_a_worker_loads_no_web_framework():
    code = "import sys, extension_kit.worker, extension_kit.engine.worker; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    modules = loaded.stdout.split()
    assert "extension_kit.engine.worker" in modules
    assert not {"flask", "werkzeug", "gunicorn", "uvicorn"} & set(modules)


def modules_after_an_event(tmp_path, served, event, edge, options) -> list[str]:
    (tmp_path / "small.py").write_text(EXTENSION % options)
    with served(str(tmp_path / "small"), edge=edge) as server:
        assert server.post("/events/handle", event("experiment.execution.failed")).status == 200
        return server.request("GET", "/").json["loaded"]


@pytest.mark.parametrize("edge", ["asgi", "flask"])
def test_serving_immediate_listeners_loads_no_heavy_module(tmp_path, served, event, edge):
    modules = modules_after_an_event(tmp_path, served, event, edge, ", immediate=True")
    assert "extension_kit" in modules
    assert heavy(modules) == set()
    assert not list(tmp_path.glob("*.db"))


def test_accepting_for_durable_listeners_loads_a_database_and_no_sender(tmp_path, served, event):
    modules = modules_after_an_event(tmp_path, served, event, "asgi", "")
    assert {"sqlalchemy", "psycopg"} <= heavy(modules)
    assert heavy(modules) & {"kombu", "urllib3", "standardwebhooks"} == set()
