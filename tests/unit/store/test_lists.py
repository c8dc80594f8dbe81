import pytest
from sqlalchemy import Column, Integer, MetaData, Table, select

from extension_kit.store.lists import IsAnyOf
from extension_kit.store.prepared import PreparedStatement

metadata = MetaData()
numbers = Table(
    "numbers", metadata, Column("id", Integer, primary_key=True), Column("number", Integer, index=True, nullable=False)
)
SOME = PreparedStatement(select(numbers.c.number).where(IsAnyOf(numbers.c.number, "wanted")).order_by(numbers.c.number))


@pytest.fixture
def filled(database):
    with database.transaction() as connection:
        metadata.create_all(connection)
        connection.execute(numbers.insert(), [{"number": number} for number in range(100)])
    yield database
    with database.transaction() as connection:
        metadata.drop_all(connection)


@pytest.mark.parametrize("wanted", [[], [7], [3, 5, 1000]])
def test_rows_with_one_of_the_values_are_found(filled, wanted):
    with filled.read() as connection:
        assert [number for (number,) in SOME.all(connection, wanted=wanted)] == [each for each in wanted if each < 100]


def test_an_index_of_the_column_is_used(filled):
    with filled.read() as connection:
        driver = connection.connection.driver_connection
        SOME.all(connection, wanted=[1])
        compiled = SOME._by_dialect[connection.dialect.name]
        explain = "EXPLAIN QUERY PLAN " if filled.is_sqlite else "EXPLAIN "
        values = ["[1]"] if filled.is_sqlite else {"wanted": [1]}
        plan = "\n".join(str(row) for row in driver.execute(explain + compiled.text, values))
    assert ("SEARCH numbers" if filled.is_sqlite else "Index Cond") in plan
