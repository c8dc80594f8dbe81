"""A database of release 0.1 is upgraded in place: every row is there, and subscriptions want what they wanted."""

from sqlalchemy import select, text

from extension_kit.deliveries import subscription_groups, subscriptions
from extension_kit.deliveries.entries import Entry
from extension_kit.deliveries.subscription_matching import matching
from extension_kit.deliveries.tables import deliveries
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from extensions.tapis.tables import TABLES
from tests.support.release_0_1 import ROWS, write_database


def entry(name, subject):
    return Entry("tapis", "new", name, subject, None, b"{}", None, (), scope="dev")


def test_rows_are_carried_over(url):
    write_database(url)
    database = Database(url)
    upgrade(database, [TABLES])
    with database.read() as connection:
        for table, rows in ROWS.items():
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == len(rows)
        found = connection.execute(select(deliveries.c.ref, deliveries.c.status, deliveries.c.lock)).all()
        assert sorted(map(tuple, found)) == [(row["ref"], row["status"], row["lock"]) for row in ROWS["deliveries"]]
        (hook, mail), (other,) = (
            subscription_groups.get_group(connection, "tapis", f"{row['uuid']}/{row['name']}")
            for row in ROWS["tapis_subscriptions"]
        )
        assert [each.patterns for each in (hook, mail, other)] == [("jobs.*.*",), ("jobs.*.*",), ("jobs.job.done",)]
        assert [each.enabled for each in (hook, mail, other)] == [True, True, False]
        assert [each.name for each in (hook, mail, other)] == [row["name"] for row in ROWS["subscriptions"]]
        wanted = [entry("jobs.job.done", "run-1"), entry("files.new.one", "run-1")]
        assert matching(connection, wanted) == [[hook.key, mail.key], []]
    with database.transaction() as connection:
        assert subscriptions.remove(connection, hook.ref)
    database.dispose()
