"""The inbox takes events, all of them or none, keeps them in their order, and tells the worker."""

import os
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from extension_kit.deliveries.inbox import Accepted, Inbox
from extension_kit.deliveries.inbox_rows import Unfiled, add_group, all_groups, oldest_groups, remove_groups
from extension_kit.errors import StoreError, StoreFull, StoreUnavailable
from extension_kit.store import database as database_module
from extension_kit.store.database import Database
from tests.support.databases import opened
from tests.support.disks import small_disk
from tests.support.recording import rows

TRACE = f"00-{'ab' * 16}-{'cd' * 8}-01 vendor=7"
LARGE = 400_000  # bytes: two such bodies go into a row, and three do not


@pytest.fixture
def sqlite_inbox(sqlite):
    inbox = Inbox(sqlite)
    inbox.prepare()
    yield inbox
    inbox.close()


def accepted(body="{}", *listeners, step=None):
    return Accepted(body.encode(), listeners or ("oncall",), step)


def groups_of(inbox):
    """The groups of events that are in the inbox."""
    with inbox.database.read() as connection:
        return list(all_groups(connection))


def bodies_of(inbox):
    """The bodies that are in the inbox, by group."""
    return [[body.decode() for body, *_ in group.events] for group in groups_of(inbox)]


def fill(inbox, most=1000):
    """Append events until no more are taken, and return their number."""
    for number in range(most):
        try:
            inbox.append([accepted("x" * LARGE)])
        except StoreFull:
            return number
    return most


def change(inbox, *statements):
    with inbox.database.transaction() as connection:
        for statement in statements:
            connection.execute(text(statement))


def refuse_rows(inbox, table):
    """Have every new row of a table refused."""
    if inbox.has_own_file:
        change(inbox, f"CREATE TRIGGER strict BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'not today'); END")
        return
    change(
        inbox,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$",
        f"CREATE TRIGGER strict BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()",
    )


class TestAppending:
    def test_an_event_is_kept_as_it_was_sent_with_its_listeners_and_the_time(self, database, inbox):
        before = datetime.now(UTC)
        inbox.append([Accepted('{"ä": 1}'.encode(), ("one", "two")), Accepted(b"", ())])
        after = datetime.now(UTC)
        (group,) = groups_of(inbox)
        assert group.events == [('{"ä": 1}'.encode(), ["one", "two"], None), (b"", [], None)]
        assert before <= group.received_at <= after
        assert inbox.unfiled() == Unfiled(2, group.received_at)
        assert rows(database, "events", "deliveries") == [0, 0]

    @pytest.mark.parametrize("size", [1, LARGE])
    def test_trace_contexts_are_kept_where_they_are_wanted(self, database, inbox, size):
        keeping = Inbox(database, keeps_traces=True)
        body = b"x" * size
        items = [Accepted(body, ("one",), None, TRACE), Accepted(body, ("one",)), Accepted(body, ("one",), None, TRACE)]
        with closing(keeping):
            keeping.append(items)
        inbox.append(items)
        kept = [event.trace_context for group in groups_of(inbox) for event in group.events]
        assert kept == [TRACE, None, TRACE, None, None, None]

    def test_events_stay_in_their_order(self, inbox):
        inbox.append([accepted("1"), accepted("2")])
        inbox.append([accepted("3")])
        inbox.append([accepted("4"), accepted("5")])
        assert bodies_of(inbox) == [["1", "2"], ["3"], ["4", "5"]]

    def test_large_bodies_are_divided_among_rows(self, inbox):
        letters = ["a", "b", "c", "d", "e"]
        sizes = [LARGE, LARGE, LARGE, 5 * LARGE, 1]
        bodies = [letter * size for letter, size in zip(letters, sizes, strict=True)]
        inbox.append(list(map(accepted, bodies)))
        assert bodies_of(inbox) == [bodies[:2], bodies[2:3], bodies[3:4], bodies[4:]]
        assert inbox.unfiled().events == 5

    def test_all_of_them_or_none(self, inbox):
        inbox.append([accepted("before")])
        refuse_rows(inbox, "inbox_steps")
        with pytest.raises(StoreError, match="not today"):
            inbox.append([accepted("x" * LARGE), accepted("y" * LARGE), accepted("z" * LARGE, step=("t/1", "s"))])
        assert bodies_of(inbox) == [["before"]]

    def test_what_is_removed_is_not_counted_and_its_ref_is_not_given_again(self, inbox):
        inbox.append([accepted("1")])
        (first,) = groups_of(inbox)
        with inbox.database.transaction() as connection:
            remove_groups(connection, [first])
        assert inbox.unfiled() == Unfiled(0, None)
        inbox.append([accepted("2")])
        (second,) = groups_of(inbox)
        assert second.ref > first.ref

    def test_a_forked_process_and_its_parent_append(self, inbox):
        inbox.append([accepted("parent")])
        child = os.fork()
        if not child:
            status = 1
            try:
                inbox.append([accepted("child")])
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        inbox.append([accepted("parent again")])
        assert bodies_of(inbox) == [["parent"], ["child"], ["parent again"]]

    def test_processes_make_its_file_and_append_at_once(self, database):
        program = (
            "import sys\n"
            "from extension_kit.deliveries.inbox import Accepted, Inbox\n"
            "from extension_kit.store.database import Database\n"
            "inbox = Inbox(Database(sys.argv[1]))\n"
            "print('ready', flush=True)\n"
            "sys.stdin.readline()\n"
            "inbox.prepare()\n"
            "for number in range(20):\n"
            "    inbox.append([Accepted(f'{sys.argv[2]}{number}'.encode(), ())])\n"
        )
        url = database.url.render_as_string(hide_password=False)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        processes = [
            subprocess.Popen([sys.executable, "-c", program, url, letter], text=True, **pipes) for letter in "abc"
        ]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            process.communicate(timeout=60)
        assert [process.returncode for process in processes] == [0] * 3
        inbox = Inbox(database)
        found = [body for (body,) in bodies_of(inbox)]
        inbox.close()
        for letter in "abc":
            assert [body for body in found if body.startswith(letter)] == [f"{letter}{n}" for n in range(20)]


class TestSteps:
    def test_a_step_is_found_while_its_event_is_not_filed(self, inbox):
        inbox.append([accepted("other"), accepted("step", step=("t/1", "s"))])
        assert inbox.find_step("t/1", "s") == b"step"
        assert inbox.find_step("t/1", "other") is None
        assert inbox.find_step("t/2", "s") is None
        with inbox.database.transaction() as connection:
            remove_groups(connection, list(all_groups(connection)))
        assert inbox.find_step("t/1", "s") is None

    def test_the_last_event_of_a_step_counts_as_long_as_it_is_there(self, inbox):
        inbox.append([accepted("first", step=("t/1", "s"))])
        inbox.append([accepted("second", step=("t/1", "s"))])
        assert inbox.find_step("t/1", "s") == b"second"
        with inbox.database.transaction() as connection:
            remove_groups(connection, list(all_groups(connection))[:1])
        assert inbox.find_step("t/1", "s") == b"second"

    def test_ids_of_any_length_stay_different(self, inbox):
        ids = ["ä" * 300 + "a", "ä" * 300 + "b", "with\x00nul", "with\ufffdnul"]
        inbox.append([accepted(f"{number}", step=(each, each)) for number, each in enumerate(ids)])
        assert [inbox.find_step(each, each) for each in ids] == [b"0", b"1", b"2", b"3"]


class TestWritable:
    def test_nothing_stays_of_the_check(self, inbox):
        inbox.append([accepted("1")])
        for _ in range(3):
            inbox.check_writable()
        assert bodies_of(inbox) == [["1"]]
        assert inbox.unfiled().events == 1

    @pytest.mark.parametrize("spoil", ["gone", "refuses"])
    def test_a_table_that_takes_no_rows_is_an_error_with_its_reason(self, inbox, spoil):
        if spoil == "gone":
            change(inbox, "ALTER TABLE inbox RENAME TO elsewhere")
        else:
            refuse_rows(inbox, "inbox")
        said = "lacks tables" if spoil == "gone" else r"refuses to store an event \(not today\)"
        with pytest.raises(StoreError, match=said):
            inbox.check_writable()
        with pytest.raises(StoreError, match=said):
            inbox.append([accepted()])

    def test_a_database_that_a_later_release_has_upgraded_takes_nothing(self, used_postgresql_url):
        with opened(used_postgresql_url, upgraded=False) as database:
            inbox = Inbox(database)
            inbox.check_writable()
            change(inbox, "UPDATE extension_kit_version SET version_num = '9999'")
            with pytest.raises(StoreError, match="has version 9999"):
                inbox.check_writable()

    def test_a_file_that_is_missing_takes_nothing_and_has_nothing(self, sqlite):
        inbox = Inbox(sqlite)
        assert not inbox.exists
        assert inbox.unfiled() == Unfiled(0, None)
        with pytest.raises(StoreUnavailable, match="cannot be opened"):
            inbox.append([accepted()])
        with pytest.raises(StoreUnavailable, match="cannot be opened"):
            inbox.check_writable()
        assert not inbox.exists
        inbox.prepare()
        inbox.append([accepted()])
        assert inbox.exists
        assert inbox.unfiled().events == 1
        inbox.close()

    def test_a_file_that_was_removed_meanwhile_takes_nothing(self, sqlite_inbox):
        sqlite_inbox.append([accepted()])
        Path(sqlite_inbox.database.path).unlink()
        with pytest.raises(StoreUnavailable, match="was removed while it was in use"):
            sqlite_inbox.append([accepted()])

    @pytest.mark.parametrize("known", [0.0, 3600.0], ids=["room asked for", "room known"])
    def test_a_folder_that_was_renamed_meanwhile_takes_nothing(self, tmp_path, monkeypatch, known):
        monkeypatch.setattr(database_module, "_ROOM_KNOWN", known)
        folder = tmp_path / "folder"
        with opened(f"sqlite:///{folder}/extension.db") as database, closing(Inbox(database)) as inbox:
            inbox.prepare()
            inbox.append([accepted("before")])
            folder.rename(tmp_path / "renamed")
            for call in (partial(inbox.append, [accepted()]), inbox.check_writable):
                with pytest.raises(StoreUnavailable, match="was removed while it was in use"):
                    call()
            (tmp_path / "renamed").rename(folder)
            inbox.append([accepted("after")])
            assert [bodies_of(inbox)[0], bodies_of(inbox)[-1]] == [["before"], ["after"]]

    def test_a_folder_that_is_renamed_within_a_transaction_is_an_error_with_its_reason(self, tmp_path):
        folder = tmp_path / "folder"
        with opened(f"sqlite:///{folder}/extension.db") as database, closing(Inbox(database)) as inbox:
            inbox.prepare()
            with inbox.database.transaction() as connection:
                folder.rename(tmp_path / "renamed")
                with pytest.raises(StoreUnavailable, match=r"is gone \(No such file or directory\)"):
                    inbox.database.check_room(connection)
                (tmp_path / "renamed").rename(folder)

    def test_the_database_itself_may_be_locked_or_missing(self, sqlite, sqlite_inbox):
        with sqlite.transaction() as connection:
            connection.execute(text("DELETE FROM series"))
            sqlite_inbox.append([accepted("locked")])
            sqlite_inbox.check_writable()
        sqlite.dispose()
        sqlite.path.unlink()
        sqlite_inbox.append([accepted("missing")])
        sqlite_inbox.check_writable()
        assert bodies_of(sqlite_inbox) == [["locked"], ["missing"]]

    def test_on_a_disk_that_is_almost_full_it_takes_no_more_and_has_what_it_has_taken(self, tmp_path):
        with small_disk(tmp_path / "disk", "20m") as disk, opened(f"sqlite:///{disk}/extension.db") as database:
            inbox = Inbox(database)
            inbox.prepare()
            (disk / "other").write_bytes(b"x" * 10_000_000)
            number = fill(inbox)
            with pytest.raises(StoreFull, match="its disk is almost full"):
                inbox.check_writable()
            assert 0 < inbox.unfiled().events == number
            (disk / "other").unlink()
            inbox.check_writable()
            inbox.append([accepted()])
            inbox.close()


class TestPortions:
    """A portion of the oldest events is limited in every respect, and is never empty while there are some."""

    def oldest(self, inbox, now=None):
        with inbox.database.read() as connection:
            return [len(group.events) for group in oldest_groups(connection, now or datetime.now(UTC))]

    def test_by_the_number_of_events(self, inbox):
        inbox.append([accepted()] * 500)
        inbox.append([accepted()] * 12)
        inbox.append([accepted()])
        assert self.oldest(inbox) == [500, 12]

    def test_by_the_number_of_groups(self, inbox):
        for _ in range(65):
            inbox.append([accepted()])
        assert self.oldest(inbox) == [1] * 64

    def test_by_their_size(self, inbox):
        for _ in range(3):
            inbox.append([accepted("x" * 1_500_000)])
        assert self.oldest(inbox) == [1, 1]

    def test_one_group_however_large(self, inbox):
        inbox.append([accepted("x" * 6_000_000)])
        inbox.append([accepted()] * 600)
        assert self.oldest(inbox) == [1]
        with inbox.database.transaction() as connection:
            remove_groups(connection, groups_of(inbox)[:1])
        assert self.oldest(inbox) == [600]

    def test_by_their_times(self, inbox):
        """They are filed with the time of the first."""
        (first,) = self.received(inbox, datetime(2026, 1, 1, tzinfo=UTC))
        self.received(inbox, datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC))
        self.received(inbox, datetime(2026, 1, 1, 0, 0, 1, 1, tzinfo=UTC))
        assert self.oldest(inbox) == [1, 1]
        with inbox.database.transaction() as connection:
            remove_groups(connection, [first])
        assert self.oldest(inbox) == [1, 1]

    def received(self, inbox, at):
        """Add an event that was received at a time, and return the groups that there are."""
        inbox.append([accepted()])
        added = groups_of(inbox)[-1]
        with inbox.database.transaction() as connection:
            remove_groups(connection, [added])
            add_group(connection, added._replace(received_at=at))
        return groups_of(inbox)

    def test_what_was_set_aside_comes_after_a_minute(self, inbox):
        inbox.append([accepted(), accepted()])
        inbox.append([accepted()])
        (failed, _) = groups_of(inbox)
        aside = datetime(2026, 1, 1, tzinfo=UTC)
        with inbox.database.transaction() as connection:
            remove_groups(connection, [failed])
            add_group(connection, failed, set_aside_at=aside)
        assert self.oldest(inbox, datetime(2026, 1, 1, 0, 0, 59, tzinfo=UTC)) == [1]
        assert sorted(self.oldest(inbox, datetime(2026, 1, 1, 0, 1, 1, tzinfo=UTC))) == [1, 2]
        assert inbox.unfiled() == Unfiled(3, failed.received_at)

    def test_there_are_none(self, inbox):
        assert self.oldest(inbox) == []


class TestItsFile:
    def test_it_is_beside_that_of_the_database_and_settings_are_the_same(self, tmp_path):
        database = Database(f"sqlite:///{tmp_path}/some dir/extension.db", flush=False, timeout=7.0)
        inbox = Inbox(database)
        assert inbox.database.path == tmp_path / "some dir" / "extension.db-inbox"
        assert (inbox.database.flush, inbox.database.timeout) == (False, 7.0)

    def test_it_is_removed_with_all_that_belongs_to_it(self, sqlite, tmp_path):
        inbox = Inbox(sqlite)
        inbox.prepare()
        before = set(tmp_path.glob("extension.db-inbox*"))
        assert before
        inbox.remove_file()
        assert list(tmp_path.glob("extension.db-inbox*")) == []
        assert sqlite.path.exists()

    def test_nobody_else_may_read_it(self, sqlite_inbox):
        assert sqlite_inbox.database.path.stat().st_mode & 0o077 == 0

    def test_postgresql_needs_none(self, used_postgresql_url):
        with opened(used_postgresql_url, upgraded=False) as database:
            inbox = Inbox(database)
            assert (inbox.database, inbox.exists, inbox.bell) == (database, True, None)
            inbox.prepare()
            inbox.remove_file()
            inbox.append([accepted()])
            assert inbox.unfiled().events == 1
