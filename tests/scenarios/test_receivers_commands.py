"""Receivers as an operator meets them on the command line: looked at, paused, resumed."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from extension_kit.deliveries import pauses
from extension_kit.deliveries.pauses import pause
from extension_kit.deliveries.tables import DEAD, actions, subscriptions
from extension_kit.store.database import Database
from tests.support.commands import extension_kit
from tests.support.queues import Deliveries, in_
from tests.support.stores import (
    database,
    postgresql,
    postgresql_url,
    sqlite_url,
    url,
    used_postgresql_url,
    used_schema,
)

__all__ = ["database", "postgresql", "postgresql_url", "sqlite_url", "url", "used_postgresql_url", "used_schema"]

PAGE = "extension-oncall.page@/events/page"
RING = "extension-oncall.ring@/events/ring"
FILE = """
from extension_kit import Event, Extension

extension = Extension("extension-oncall")

@extension.listen_to("*")
def page(event: Event) -> None: ...

@extension.listen_to("*", immediate=True)
def ring(event: Event) -> None: ...
"""


@pytest.fixture
def stored(database: Database) -> Deliveries:
    return Deliveries(database)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "oncall.py"
    path.write_text(FILE)
    return str(path)


def run(url: str, *arguments: object, code: int = 0, group: str = "receivers") -> str:
    done = extension_kit(group, *arguments, EXTENSION_DATABASE_URL=url)
    assert done.returncode == code, done
    assert (done.stderr if code == 0 else done.stdout) == ""
    return done.stdout + done.stderr


def records(url: str) -> Any:
    return json.loads(run(url, "list", "--json"))


def test_a_receiver_is_paused_and_resumed(stored: Deliveries, url: str) -> None:
    stored.add("1", "2", listener=PAGE)
    stored.add("3", listener=PAGE, status=DEAD, stage=None)
    stored.add("4", "5", "6", listener="other")
    assert run(url, "pause", PAGE).startswith(f"Paused {PAGE}. 2 deliveries wait until ")
    again = run(url, "pause", PAGE)
    assert again.startswith(f"{PAGE} is paused already, since 20")
    assert "by command line. 2 deliveries wait" in again
    first, second = records(url)
    since = first.pop("paused_since")
    assert since.endswith("+00:00")
    assert first == {"receiver": PAGE, "waiting": 2, "dead": 1, "paused_by": "command line"}
    assert second == {"receiver": "other", "waiting": 3, "dead": 0, "paused_since": None, "paused_by": None}
    head, line, other = run(url, "list").splitlines()
    assert head.split() == ["receiver", "waiting", "dead", "paused"]
    assert line.split()[:4] == [PAGE, "2", "1", "since"]
    assert line.endswith("by command line")
    assert other.split() == ["other", "3", "0"]
    assert f"nothing is attempted: {PAGE}." in run(url, "list", group="deliveries")
    assert run(url, "resume", PAGE) == f"Resumed {PAGE}. 2 deliveries wait for a worker.\n"
    assert records(url)[0]["receiver"] == "other"
    assert "attempted:" not in run(url, "list", group="deliveries")
    with stored.database.read() as connection:
        rows = connection.execute(select(actions.c.kind, actions.c.made_by, actions.c.filter)).all()
    assert [tuple(row) for row in rows] == [("pause", "command line", PAGE), ("resume", "command line", PAGE)]


def test_the_list_says_if_it_is_cut(stored: Deliveries, url: str) -> None:
    assert "There are no deliveries in" in run(url, "list")
    for name in "abc":
        stored.add(name, listener=name)
    assert run(url, "list", "--limit", 2).splitlines()[-1] == "There are more; --limit shows them."
    assert "more" not in run(url, "list", "--limit", 3)
    run(url, "pause", "c")
    assert [line.split()[0] for line in run(url, "list", "--limit", 1).splitlines()] == ["receiver", "c", "a", "There"]


def test_unknown_keys_are_refused(stored: Deliveries, url: str) -> None:
    stored.add("1", listener=PAGE)
    said = run(url, "pause", PAGE.replace("page@", "pages@"), code=1)
    assert f"(did you mean {PAGE}?)" in said
    assert "A listener that has had no event yet is known by its file" in said
    assert "Immediate listeners have no deliveries, and cannot be paused" in said
    for key in ("subscription:7", f"subscription:{2**80}"):
        assert f"there is no receiver {key}: " in run(url, "pause", key, code=1)
    assert records(url)[0]["paused_since"] is None


def test_a_subscription_is_known_without_deliveries(database: Database, url: str) -> None:
    row = {"protocol": "p", "name": "n", "sender": "http", "target": {"url": "http://x"}, "created_at": in_(0)}
    with database.transaction() as connection:
        ref = connection.execute(insert(subscriptions).values(row).returning(subscriptions.c.ref)).scalar_one()
    assert "0 deliveries wait" in run(url, "pause", f"subscription:{ref}")


def test_listeners_of_files_are_known_if_they_are_durable(database: Database, url: str, file: str) -> None:
    assert run(url, "pause", PAGE, file).startswith(f"Paused {PAGE}. 0 deliveries wait")
    said = run(url, "pause", RING, file, code=1)
    assert f"{RING} is an immediate listener, which cannot be paused: it runs before its event is answered" in said
    assert f"x is not in {file}; there are: {PAGE}" in run(url, "pause", "x", file, code=1)
    assert [each["receiver"] for each in records(url)] == [PAGE]


def test_what_is_not_paused_cannot_be_resumed(stored: Deliveries, url: str) -> None:
    stored.add("1", listener=PAGE)
    assert run(url, "resume", PAGE, code=1) == f"Error: {PAGE} is not paused; no receiver is paused\n"
    run(url, "pause", PAGE)
    assert run(url, "resume", "x", code=1) == f"Error: x is not paused; paused are: {PAGE}\n"


def test_too_many_are_refused(stored: Deliveries, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "MOST", 1)
    stored.add("1", listener=PAGE)
    with stored.database.transaction() as connection:
        pause(connection, "other", "anna")
    assert "no more can be: resume some of them first" in run(url, "pause", PAGE, code=1)
    with stored.database.read() as connection:
        assert connection.execute(select(actions)).all() == []


@pytest.mark.parametrize("arguments", [("list",), ("pause", PAGE), ("resume", PAGE)])
def test_a_database_that_is_not_there_is_said(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    said = run(f"sqlite:///{tmp_path}/none.db", *arguments, code=1)
    assert "There is no database" in said


def test_help_names_the_commands() -> None:
    done: subprocess.CompletedProcess[str] = extension_kit("receivers", "--help")
    assert [name for name in ("list", "pause", "resume") if name not in done.stdout] == []
