"""The README says what is so, and its quickstart and its examples run as they are written."""

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.support.databases import postgresql_database, postgresql_schema, postgresql_server
from tests.support.paths import BIN
from tests.support.receivers import reply
from tests.support.servers import free_port, run_server
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
README = (ROOT / "extensions/eventhos/README.md").read_text(encoding="utf-8")
SYSTEMS, BANK = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
COMMANDS = [re.sub("(?m)^    ", "", block) for block in re.findall(r"(?:^    .*\n)+", README, re.MULTILINE)]
CRM, BEGIN, FOLLOW = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
VARIABLES = {
    "EXTENSION_EVENTHOS_ADMIN_USER": "admin",
    "EXTENSION_EVENTHOS_ADMIN_PASSWORD": "change me",
    "EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
}


def commands(beginning):
    """The only block of commands that begins so."""
    (found,) = (block for block in COMMANDS if block.startswith(beginning))
    return found


def run(commands, folder, **variables):
    """Run commands in a folder, with those of this environment, and return their output."""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **variables}
    command = ["sh", "-ec", commands]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def crm(folder, port):
    """Run the system of the README that is called, and have what it has printed."""
    (folder / "crm.py").write_text(CRM.replace("9000", str(port)))
    with (folder / "called").open("w") as output:
        process = subprocess.Popen([sys.executable, "crm.py"], cwd=folder, stdout=output, stderr=subprocess.DEVNULL)
        try:
            yield lambda: (folder / "called").read_text()
        finally:
            process.terminate()
            process.wait(30)


def begin(server, folder, port):
    """Run begin.py and the command that it prints, and return the answer to the event."""
    (folder / "begin.py").write_text(BEGIN.replace("http://localhost:8080", server.url).replace("9000", str(port)))
    return run(run("python3 begin.py", folder), folder)


def test_the_quickstart_and_the_example_work_as_they_stand(tmp_path):
    for name, value in VARIABLES.items():
        assert any(f"{name}={quoted}" in README for quoted in (value, f"'{value}'"))
    (tmp_path / "follow.py").write_text(FOLLOW)
    served = [str(BIN / "extension-kit"), "serve", str(ROOT / "extensions/eventhos"), "follow.py"]
    port = free_port()
    with run_server(served, tmp_path / "log", cwd=tmp_path, **VARIABLES) as server, crm(tmp_path, port) as called:
        wait_until(lambda: server.health("readiness") == 200)
        sent = begin(server, tmp_path, port)
        assert sent == '{"code":200000,"message":"success"}'
        assert sent in README
        wait_until(called)
        assert called() == '/contacts/7 {"name":"Ada","source":"HR, employee 7"}\n'
        assert called().strip() in README
        wait_until(lambda: re.search(r"new-employee-\w{10}: {'id': 7, 'name': 'Ada'}", server.log))


def test_the_examples_of_files_work_as_they_stand(tmp_path, receiver):
    (tmp_path / "extensions").symlink_to(ROOT / "extensions")
    port = free_port()
    (tmp_path / "systems.yaml").write_text(SYSTEMS.replace("9000", str(port)))
    served = [str(BIN / "extension-kit"), "serve", "extensions/eventhos"]
    variables = {**VARIABLES, "EXTENSION_DATABASE_URL": f"sqlite:///{tmp_path}/extension.db"}
    with run_server(served, tmp_path / "log", cwd=tmp_path, **variables) as server, crm(tmp_path, port) as called:
        wait_until(lambda: server.health("readiness") == 200)
        make_client = commands("LOGIN=").replace("http://localhost:8080", server.url)
        key = json.loads(run(make_client, tmp_path))["content"]["access_token"]
        again = run(make_client, tmp_path)
        assert again.count('"identifier":"shop"') == 1
        assert "access_token" not in again
        bank = receiver(answer=lambda request: reply(200, b'{"access_token": "a-token"}'))
        (tmp_path / "bank.yaml").write_text(BANK.replace("https://bank.example.com", bank.url("", "127.0.0.1")))
        for beginning, first in (("export BILLING_KEY=", 5), ("export BANK_SECRET=", 3)):
            command = f"{commands(beginning).rstrip()} --yes"
            for last in (f"{first} made, 0 changed, 0 as before.", "Nothing to change."):
                assert run(command, tmp_path, **variables).splitlines()[-1] == last
        order = {"id": 7, "customer": "Ada"}
        sent = server.post("/event/send?event-identifier=order-paid", order, {"access-key": key})
        assert sent.json["code"] == 200000
        wait_until(called)
        assert called() == '/invoices/7 {"customer":"Ada"}\n'
        wait_until(lambda: len(bank.requests) == 2)
        assert "client_secret=the+secret+that+the+bank+gave+to+eventhos" in bank.requests[0].body.decode()
        assert bank.requests[1].headers["authorization"] == "Bearer a-token"


def test_the_commands_for_postgresql_work_as_they_stand(tmp_path):
    (tmp_path / "extensions").symlink_to(ROOT / "extensions")
    prepare = commands("export EXTENSION_DATABASE_URL=")
    work = commands("extension-kit worker")
    port = free_port()
    with postgresql_server() as there, postgresql_database(there) as empty, postgresql_schema(empty) as url:
        environment = {**VARIABLES, "PATH": f"{BIN}:{os.environ['PATH']}"}
        prepare = prepare.replace("postgresql://eventhos:PASSWORD@localhost/eventhos", url)
        assert url in prepare
        served = run_server(["sh", "-ec", prepare], tmp_path / "log", cwd=tmp_path, **environment)
        with served as server, crm(tmp_path, port) as called:
            wait_until(lambda: server.health("readiness") == 200)
            secrets = [(tmp_path / name).read_text() for name in ("crypto-key", "jwt-secret")]
            assert begin(server, tmp_path, port) == '{"code":200000,"message":"success"}'
            exports = prepare.partition("extension-kit db upgrade")[0]
            worker = run_server(["sh", "-ec", exports + work], tmp_path / "worker-log", cwd=tmp_path, **environment)
            with worker:
                wait_until(called)
            assert called() == '/contacts/7 {"name":"Ada","source":"HR, employee 7"}\n'
            assert [(tmp_path / name).read_text() for name in ("crypto-key", "jwt-secret")] == secrets
