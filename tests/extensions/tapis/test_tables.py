"""Tables of the extension."""

from extensions.tapis.tables import metadata
from tests.support.migrations import differences


def test_the_revisions_make_the_tables_that_are_used(database):
    assert differences(database, metadata) == []
