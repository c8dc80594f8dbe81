"""A database that refuses the events of a name."""

from contextlib import contextmanager

from sqlalchemy import text


@contextmanager
def refusing(database, name):
    """Have a database refuse the events of a name."""
    if database.is_sqlite:
        make = [
            f"CREATE TRIGGER strict BEFORE INSERT ON events WHEN NEW.name = '{name}'"
            " BEGIN SELECT RAISE(ABORT, 'not today'); END"
        ]
        undo = ["DROP TRIGGER strict"]
    else:
        make = [
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$",
            f"CREATE TRIGGER strict BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.name = '{name}')"
            " EXECUTE FUNCTION refuse()",
        ]
        undo = ["DROP TRIGGER strict ON events", "DROP FUNCTION refuse"]
    _change(database, make)
    yield
    _change(database, undo)


def _change(database, statements):
    with database.transaction() as connection:
        for statement in statements:
            connection.execute(text(statement))
