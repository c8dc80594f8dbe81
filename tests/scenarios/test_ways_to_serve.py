"""Other ways to serve than the command line, and what each says of settings that do nothing there."""

import sys
from http.client import IncompleteRead

import pytest

from tests.support.paths import BIN
from tests.support.servers import SERVE, run_server
from tests.support.waiting import wait_until

EXTENSION = """
from extension_kit import Extension

extension = Extension("extension-oncall")

@extension.listen_to("*"{options})
def page(event): ...

if __name__ == "__main__":
    extension.serve()
"""
FLASK = [sys.executable, "-m", "flask", "--app", "extension_kit.wsgi:create_app('{target}')", "run", "-p", "{port}"]
GUNICORN = [
    str(BIN / "gunicorn"), "--bind", "127.0.0.1:{port}", "--no-control-socket",
    "extension_kit.wsgi:create_app('{target}')",
]  # fmt: skip


def answers(server, status=200) -> bool:
    assert server.process.poll() is None, server.log
    try:
        return server.request("GET", "/").status == status
    except (ConnectionError, IncompleteRead):  # a reloader ends the server in the middle of an answer
        return False


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "our extensions"
    package = folder / "company"
    package.mkdir(parents=True)
    (folder / "oncall.py").write_text(EXTENSION.format(options=", immediate=True"))
    (folder / "durable.py").write_text(EXTENSION.format(options=""))
    (package / "__init__.py").touch()
    (package / "pages.py").write_text("from .names import NAME" + EXTENSION.format(options=", name=NAME"))
    (package / "names.py").write_text("NAME = 'page'")
    return folder


class TestAScript:
    @pytest.mark.parametrize(
        ("arguments", "place"),
        [(["oncall.py"], "."), (["our extensions/oncall.py"], ".."), (["-m", "company.pages"], ".")],
    )
    def test_serves_until_a_signal(self, folder, tmp_path, arguments, place):
        with run_server([sys.executable, *arguments], tmp_path / "log", cwd=folder / place) as server:
            wait_until(lambda: answers(server) and server.health("readiness") == 200)
            assert b"/events/page" in server.request("GET", "/").body
            assert server.stop() == 143
            assert "Traceback" not in server.log

    def test_has_to_call_it_where_it_is_not_imported(self, folder, tmp_path):
        (folder / "eager.py").write_text(
            EXTENSION.replace("if __name__", "if extension or __name__").format(options="")
        )
        with run_server([*SERVE, "eager.py"], tmp_path / "log", cwd=folder) as server:
            assert server.process.wait(30) == 2
            assert "extension.serve() is for scripts: call it below  if __name__ == '__main__':" in server.log


class TestSettingsThatDoNothing:
    LINE = "STEADYBIT_EXTENSION_PORT, STEADYBIT_EXTENSION_HEALTH_PORT and STEADYBIT_LOG_LEVEL do nothing under WSGI: "

    def log_of(self, command, folder, tmp_path, until) -> str:
        environment = {"STEADYBIT_LOG_LEVEL": "debug", "EXTENSION_WORKER_THREADS": 2}
        with run_server(command, tmp_path / "log", cwd=folder, **environment) as server:
            wait_until(lambda: until in server.log or server.process.poll() is not None)
            return server.log

    @pytest.mark.parametrize("command", [FLASK, GUNICORN], ids=["flask", "gunicorn"])
    def test_are_named_under_wsgi(self, folder, tmp_path, command):
        command = [part.replace("{target}", "durable.py") for part in command]
        log = self.log_of(command, folder, tmp_path, "WSGI server\n")
        assert log.count("nothing") == 1, log
        assert self.LINE in log

    def test_are_not_there_for_a_server_with_its_worker(self, folder, tmp_path):
        log = self.log_of([*SERVE, "durable.py"], folder, tmp_path, "Delivery worker started")
        assert "Delivery worker started" in log
        assert "nothing" not in log

    @pytest.mark.parametrize(
        ("command", "sentence"),
        [
            (["serve", "--no-worker"], "EXTENSION_WORKER_THREADS does nothing in a server without a worker"),
            (["worker"], "STEADYBIT_EXTENSION_PORT does nothing in a worker"),
        ],
    )
    def test_are_no_warning_where_server_and_worker_share_them(self, folder, tmp_path, command, sentence):
        log = self.log_of([SERVE[0], *command, "durable.py"], folder, tmp_path, sentence)
        assert f" DBG {sentence}" in log
        assert " WRN " not in log


@pytest.mark.parametrize("command", [FLASK, GUNICORN], ids=["flask", "gunicorn"])
def test_a_wsgi_server_says_in_one_line_that_a_file_is_missing(folder, tmp_path, command):
    command = [part.replace("{target}", "oncal.py") for part in command]
    with run_server(command, tmp_path / "log", cwd=folder) as server:
        assert server.process.wait(30) == 4, server.log
        lines = server.log.splitlines()
        assert lines.count("Cannot start: oncal.py: there is no such file or folder") == 1, server.log
        assert "Traceback" not in server.log


def test_the_reloader_of_flask_waits_for_a_mistake_to_be_mended(folder, tmp_path):
    command = [part.replace("{target}", "oncall.py") for part in FLASK]
    with run_server([*command, "--reload"], tmp_path / "log", cwd=folder) as server:
        wait_until(lambda: answers(server))
        (folder / "oncall.py").write_text("import nowhere")
        wait_until(lambda: answers(server, 500))
        assert "HandlerFileError: oncall.py: ModuleNotFoundError" in server.log
        (folder / "oncall.py").write_text(EXTENSION.format(options=", immediate=True"))
        wait_until(lambda: answers(server))
