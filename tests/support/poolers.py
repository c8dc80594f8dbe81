"""PgBouncer, started for a test before the PostgreSQL that the test uses."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from tests.support.servers import free_port
from tests.support.waiting import wait_until


@contextmanager
def pgbouncer(url: str, pool_mode: str, processes: int = 1, **settings: object) -> Iterator[str]:
    """The URL by which a database is reached through PgBouncer, with settings of ``pgbouncer.ini``.

    Several processes listen at the same port.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed")
    server = make_url(url)
    if not server.host:
        pytest.skip("the server is reached by a socket that only its owner may use: set TEST_POSTGRESQL_URL")
    port, user = free_port(), server.username or "postgres"
    options = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "admin_users": user,
        "so_reuseport": int(processes > 1),
        "pool_mode": pool_mode,
        **settings,
    }
    password = f" password={server.password}" if server.password else ""
    target = f"* = host={server.host} port={server.port or 5432} user={user}{password}"
    pooled = server.set(host="127.0.0.1", port=port, username=user).render_as_string(hide_password=False)
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        path = Path(directory, "pgbouncer.ini")
        lines = ["[databases]", target, "[pgbouncer]", *(f"{name} = {value}" for name, value in options.items())]
        path.write_text("\n".join(lines))
        Path(directory).chmod(0o755)
        other_user: Any = {"user": "nobody"} if os.geteuid() == 0 else {}  # it refuses to be run by root
        log = Path(directory, "log")
        with log.open("w") as written, ExitStack() as stack:
            for _ in range(processes):
                process = subprocess.Popen([program, str(path)], stdout=written, stderr=written, **other_user)
                stack.enter_context(process)
                stack.callback(process.terminate)
            wait_until(lambda: log.read_text().count("process up") == processes)
            yield pooled
