"""The limit is looked at when it is passed, not once an hour; a full disk is cleaned first."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from extension_kit.deliveries.kept_room import KeptRoom
from extension_kit.deliveries.outbox import Outbox
from extension_kit.errors import StoreFull
from tests.support.databases import opened
from tests.support.disks import small_disk
from tests.support.recording import entry, rows

LIMIT = 10  # megabytes


@pytest.fixture
def disk(tmp_path: Path):
    with small_disk(tmp_path / "disk", "30m") as disk:
        yield disk


def fill(outbox, size=200_000, most=1000):
    """Record events until no more are taken, and say how many were."""
    for number in range(most):
        try:
            outbox.record([entry(f"{datetime.now(UTC).isoformat()}-{number}", body=os.urandom(size))])
        except StoreFull:
            return number
    return most


def deliver(database):
    with database.transaction() as connection:
        connection.execute(text("UPDATE deliveries SET status = 'delivered', stage = NULL, ended_at = created_at"))


def test_accepting_stops_while_there_is_room_to_clean(disk):
    with opened(f"sqlite:///{disk}/extension.db") as database:
        outbox = Outbox(database)
        for _ in range(3):
            assert fill(outbox) > 30
            with pytest.raises(StoreFull, match="its disk is almost full, and the rest is reserved for cleaning up"):
                outbox.check_writable()
            deliver(database)
            KeptRoom(database, LIMIT).look()
            outbox.check_writable()


def test_what_has_to_be_delivered_stays(disk):
    with opened(f"sqlite:///{disk}/extension.db") as database:
        outbox = Outbox(database)
        number = fill(outbox)
        KeptRoom(database, LIMIT).look()
        assert rows(database, "events") == [number]


def test_others_have_left_no_room_at_all(disk):
    """Not even what is kept for cleaning up."""
    with opened(f"sqlite:///{disk}/extension.db") as database:
        outbox = Outbox(database)
        fill(outbox)
        deliver(database)
        database.shrink_log()
        (disk / "other").write_bytes(b"x" * (disk_free(disk) - 200_000))
        KeptRoom(database, LIMIT).look()
        outbox.check_writable()
        assert fill(outbox) > 10


def disk_free(disk):
    found = subprocess.run(["stat", "-f", "-c", "%a %S", disk], capture_output=True, text=True, check=True)
    blocks, size = map(int, found.stdout.split())
    return blocks * size


def test_the_limit_is_kept_where_there_is_room(database):
    outbox = Outbox(database)
    assert fill(outbox, 20_000, most=750) == 750  # 15 MB
    room = KeptRoom(database, LIMIT)
    room.look()
    assert rows(database, "events") == [750]
    deliver(database)
    KeptRoom(database, LIMIT).look()
    (left,) = rows(database, "events")
    assert 300 < left < 600
    KeptRoom(database, LIMIT).look()
    assert rows(database, "events") == [left]
