"""Both search languages, paging and select, on both stores."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select
from werkzeug.datastructures import MultiDict

from extensions.tapis.envelope import ApiError
from extensions.tapis.paging import ALL, ATTRIBUTES, SUMMARY, Page, selected, single_values
from extensions.tapis.search import condition, parse_search
from extensions.tapis.selector import parse_selector
from extensions.tapis.tables import subscriptions

DAY = datetime(2024, 4, 1, 12, tzinfo=UTC)


def row(number, **changes):
    values = {
        "tenant": "dev",
        "owner": "anna",
        "name": f"name{number}",
        "description": None,
        "enabled": True,
        "type_filter": "jobs.job.complete",
        "subject_filter": "*",
        "delivery_targets": [],
        "ttl_minutes": 60 * number,
        "uuid": f"00000000-0000-4000-8000-00000000000{number}",
        "expiry": None,
        "ends_at": None,
        "created": DAY + timedelta(days=number),
        "updated": DAY,
    }
    return {**values, **changes}


ROWS = [
    row(1, name="alpha", description="50% of (it), ~ or so"),
    row(2, name="Alpha", enabled=False, description="50 percent"),
    row(3, name="beta_1", owner="berta", expiry=DAY),
    row(4, name="beta-1", owner="berta", subject_filter="it's [a] *star*", expiry=DAY + timedelta(seconds=1)),
    row(5, name="gamma~x~1", owner="carla", type_filter="files.*.*", description="back\\slash"),
]
ALL_NAMES = [each["name"] for each in ROWS]


@pytest.fixture(scope="module")
def rows(database):
    """The rows, in a transaction that is rolled back."""
    with database.engine.connect() as connection, connection.begin() as transaction:
        connection.execute(insert(subscriptions), ROWS)
        yield connection
        transaction.rollback()


@pytest.fixture
def names(rows, database):
    """The names of those that meet conditions, in the order in which they were made."""

    def names(*conditions):
        query = select(subscriptions.c.name).where(subscriptions.c.tenant == "dev", *conditions)
        return rows.execute(query.order_by(subscriptions.c.ref)).scalars().all()

    names.is_sqlite = database.is_sqlite
    return names


@pytest.mark.parametrize(
    ("search", "selector", "found"),
    [
        ("name.eq.alpha", "name = 'alpha'", ["alpha"]),
        ("(name.eq.alpha)", "(name = 'alpha')", ["alpha"]),
        ("name.EQ.alpha", "name='alpha'", ["alpha"]),
        ("name.neq.alpha", "name <> 'alpha'", ALL_NAMES[1:]),
        ("(name.neq.alpha)~(name.neq.Alpha)", "name != 'alpha' and name!='Alpha'", ALL_NAMES[2:]),
        ("name.gt.beta_1", "name > 'beta_1'", ["gamma~x~1"]),
        ("name.gte.beta_1", "name >= 'beta_1'", ["beta_1", "gamma~x~1"]),
        ("name.lt.alpha", "name < 'alpha'", ["Alpha"]),
        ("name.lte.alpha", "name <= 'alpha'", ["alpha", "Alpha"]),
        ("name.in.alpha,beta-1,other", "name IN ('alpha', 'beta-1', 'other')", ["alpha", "beta-1"]),
        ("name.nin.alpha,beta-1", "name NOT IN ('alpha','beta-1')", ["Alpha", "beta_1", "gamma~x~1"]),
        ("name.like.al*", "name LIKE 'al%'", ["alpha"]),
        ("name.nlike.*al*", "name NOT LIKE '%al%'", ["Alpha", "beta_1", "beta-1", "gamma~x~1"]),
        ("name.like.beta!1", "name LIKE 'beta_1'", ["beta_1", "beta-1"]),
        ("name.like.beta_*", "name LIKE 'beta!_%' ESCAPE '!'", ["beta_1"]),
        ("name.like.gamma\\~x\\~1*", "name LIKE 'gamma~x~1%'", ["gamma~x~1"]),
        ("name.like.*****a", "name LIKE '%%%a'", ["alpha", "Alpha"]),
        ("name.between.a,b", "name BETWEEN 'a' AND 'b'", ["alpha"]),
        ("name.nbetween.a,b", "name NOT BETWEEN 'a' AND 'b'", ["Alpha", "beta_1", "beta-1", "gamma~x~1"]),
        ("description.eq.50% of \\(it\\)\\, \\~ or so", "description = '50% of (it), ~ or so'", ["alpha"]),
        ("description.like.50%*", "description LIKE '50!%%' ESCAPE '!'", ["alpha"]),
        ("description.eq.back\\slash", "description = 'back\\slash'", ["gamma~x~1"]),
        ("name.eq.\\", "name = '\\'", []),
        ("description.like.back\\\\s*", "description LIKE 'back\\s%'", ["gamma~x~1"]),
        ("subjectFilter.eq.it's [a] \\*star\\*", "subjectFilter = 'it''s [a] *star*'", ["beta-1"]),
        ("subject_filter.like.it's [a] \\*s*", "subject_filter LIKE 'it''s [a] *s%'", ["beta-1"]),
        ("subject_filter.like.\\*", "subject_filter LIKE '*'", ["alpha", "Alpha", "beta_1", "gamma~x~1"]),
        ("typeFilter.like.files.*", "type_filter LIKE 'files.%'", ["gamma~x~1"]),
        ("enabled.eq.false", "enabled = 'false'", ["Alpha"]),
        ("enabled.eq.FALSE", "enabled = false", ["Alpha"]),
        ("enabled.neq.true", "enabled <> TRUE", ["Alpha"]),
        ("ttlMinutes.gt.180", "ttlMinutes > 180", ["beta-1", "gamma~x~1"]),
        ("ttl_minutes.between.120,180", "ttl_minutes BETWEEN 120 AND 180", ["Alpha", "beta_1"]),
        ("ttl_minutes.eq.-5", "ttl_minutes = -5", []),
        ("ttl_minutes.lt.999999999999999999", "ttl_minutes < 999999999999999999", ALL_NAMES),
        ("created.gt.2024-04-04", "created > '2024-04-04'", ["beta_1", "beta-1", "gamma~x~1"]),
        ("created.lt.2024", "created < '2024'", []),
        ("created.gte.2024-04", "created >= '2024-04'", ALL_NAMES),
        ("expiry.eq.2024-04-01T12:00:00Z", "expiry = '2024-04-01T12:00:00Z'", ["beta_1"]),
        ("expiry.eq.2024-04-01T14:00:01.000+02:00", "expiry = '2024-04-01 10:00:01-02'", ["beta-1"]),
        (
            "expiry.between.2024-04-01T12,2024-04-01T12:00",
            "expiry BETWEEN '2024-04-01 12' AND '2024-04-01T12'",
            ["beta_1"],
        ),
        ("uuid.like.*5", "uuid LIKE '%5'", ["gamma~x~1"]),
        (
            "(owner.eq.berta)~(name.like.*-*)~(enabled.eq.true)",
            "owner = 'berta' AND name LIKE '%-%' AND enabled = 'true'",
            ["beta-1"],
        ),
    ],
)
def test_both_languages(names, search, selector, found):
    assert names(*parse_search(search, is_sqlite=names.is_sqlite)) == found
    assert names(parse_selector(selector, is_sqlite=names.is_sqlite)) == found


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("name = 'alpha' OR name = 'Alpha' AND enabled = 'true'", ["alpha"]),
        ("(name = 'alpha' OR name = 'Alpha') AND enabled = 'false'", ["Alpha"]),
        ("name = 'alpha' AND (enabled = 'false' OR owner LIKE 'a%')", ["alpha"]),
        ("NOT (owner = 'anna' OR owner = 'berta')", ["gamma~x~1"]),
        ("not not owner = 'carla'", ["gamma~x~1"]),
        ("expiry IS NULL", ["alpha", "Alpha", "gamma~x~1"]),
        ("expiry is not null", ["beta_1", "beta-1"]),
        ("  owner='anna'  and(enabled=true)", ["alpha"]),
        ("name = 'x'' OR ''1'' = ''1'", []),
        ("name = 'x''; DROP TABLE tapis_subscriptions; --'", []),
    ],
)
def test_what_only_the_language_of_bodies_can_say(names, selector, found):
    assert names(parse_selector(selector, is_sqlite=names.is_sqlite)) == found


def test_query_parameters(names):
    def search(key, value):
        return names(condition(key, value, is_sqlite=names.is_sqlite))

    assert search("name.like", "al*") == ["alpha"]
    assert search("description.eq", "50% of (it), ~ or so") == ["alpha"]
    assert search("subject_filter.eq", "*") == ["alpha", "Alpha", "beta_1", "gamma~x~1"]


@pytest.mark.parametrize(
    "search",
    [
        "",
        "name",
        "name.eq",
        "name.eq.",
        ".eq.a",
        "name..a",
        "other.eq.a",
        "name.is.a",
        "ref.eq.1",
        "targets.eq.a",
        "ends_at.eq.2024",
        "deliveryTargets.eq.a",
        "name.eq.a~",
        "~name.eq.a",
        "(name.eq.a",
        "name.eq.a)",
        "()",
        "(~)",
        "(name.eq.a)(name.eq.b)",
        "(name.eq.a)~",
        "(name.eq.a)~~(name.eq.b)",
        "((name.eq.a))",
        "name.eq.a~name.eq.b",
        "enabled.eq.maybe",
        "enabled.gt.true",
        "enabled.like.t*",
        "enabled.in.true",
        "ttlMinutes.eq.many",
        "ttlMinutes.eq.1.5",
        "ttlMinutes.like.1*",
        "ttlMinutes.eq.1234567890123456789",
        "created.like.2024*",
        "created.eq.soon",
        "created.eq.2024-13",
        "created.eq.2024-02-30",
        "created.eq.20240401",
        "created.eq.0000",
        "created.eq.0001-01-01T00:00+01",
        "name.between.a",
        "name.between.a,b,c",
        "name.eq.a\x00b",
        "name.like.a\x00*",
        "created.eq.\u0662\u0660\u0662\u0664",
        "ttlMinutes.eq.\u0667",
        "name.in." + ",".join("a" * 1001),
        "~".join(["(name.eq.a)"] * 101),
        "name.eq." + "a" * 20_001,
    ],
)
def test_searches_that_are_refused(search):
    with pytest.raises(ApiError) as caught:
        parse_search(search, is_sqlite=True)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "selector",
    [
        "",
        "name",
        "name =",
        "= 'a'",
        "name 'a'",
        "name = a",
        "'a' = name",
        "name == 'a'",
        "name = 'a",
        'name = "a"',
        "other = 'a'",
        "ref = 1",
        "name = 'a' AND",
        "name = 'a' XOR name = 'b'",
        "(name = 'a'",
        "name = 'a')",
        "()",
        "name = 'a' name = 'b'",
        "name LIKE 1",
        "name LIKE",
        "name LIKE 'a' ESCAPE 'ab'",
        "name IN 'a'",
        "name IN ()",
        "name IN ('a'",
        "name IN ('a',)",
        "name BETWEEN 'a'",
        "name BETWEEN 'a' OR 'b'",
        "name NOT 'a'",
        "NOT",
        "name IS",
        "name IS 'a'",
        "name IS NOT 'a'",
        "other IS NULL",
        "enabled",
        "enabled = 1",
        "enabled > true",
        "enabled LIKE 't%'",
        "ttlMinutes = 1.5",
        "ttlMinutes LIKE '1%'",
        "created > 'soon'",
        "name = 'a'; DROP TABLE x",
        "1 = 1",
        "name = :a",
        "name = 'a\x00b'",
        "name LIKE 'a\x00%'",
        "SELECT",
        "name = (SELECT 1)",
        "name = lower('a')",
        "AND",
        "TRUE",
        "(" * 21 + "name = 'a'" + ")" * 21,
        "NOT " * 22 + "name = 'a'",
        "(" * 5000,
        " OR ".join(["name = 'a'"] * 101),
        "name = '" + "a" * 20_001 + "'",
    ],
)
def test_selectors_that_are_refused(selector):
    with pytest.raises(ApiError) as caught:
        parse_selector(selector, is_sqlite=True)
    assert caught.value.status == 400


PIECES = st.sampled_from(
    ["name", "enabled", "created", "ttlMinutes", "other", ".", "eq", "like", "in", "between", "a", "*", "!", "\\", "~",
     "(", ")", ",", "'", "%", "_", "=", "<", " ", "AND", "OR", "NOT", "LIKE", "IN", "IS", "NULL", "true", "1", "2024",
     "\x00", "\ud7ff", "é", "[", "]", "^", "-", "escape", ";"]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(st.one_of(st.lists(PIECES, max_size=20).map("".join), st.lists(PIECES, max_size=20).map(" ".join), st.text()))
def test_any_text_is_a_search_or_refused(names, text):
    for parse in (parse_search, lambda text, **more: [parse_selector(text, **more)]):
        conditions = []
        with suppress(ApiError):
            conditions = parse(text, is_sqlite=names.is_sqlite)
        assert set(names(*conditions)) <= set(ALL_NAMES)


def page(**parameters):
    return Page.of(parameters)


def paged(rows, **parameters):
    wanted = page(**parameters)
    query = select(subscriptions.c.name).where(subscriptions.c.tenant == "dev").order_by(*wanted.order)
    query = query.where(wanted.behind) if wanted.behind is not None else query
    return rows.execute(query.offset(wanted.skip).limit(wanted.limit if wanted.limit >= 0 else None)).scalars().all()


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({}, ALL_NAMES),
        ({"limit": "2"}, ALL_NAMES[:2]),
        ({"limit": "0"}, []),
        ({"limit": "-1"}, ALL_NAMES),
        ({"limit": "2", "skip": "1"}, ALL_NAMES[1:3]),
        ({"orderBy": "name"}, ["Alpha", "alpha", "beta-1", "beta_1", "gamma~x~1"]),
        ({"orderBy": "name(DESC)", "limit": "1"}, ["gamma~x~1"]),
        ({"orderBy": "owner(desc),name(asc)"}, ["gamma~x~1", "beta-1", "beta_1", "Alpha", "alpha"]),
        ({"orderBy": "name(asc)", "startAfter": "alpha", "limit": "2"}, ["beta-1", "beta_1"]),
        ({"orderBy": "name(desc)", "startAfter": "alpha"}, ["Alpha"]),
        ({"orderBy": "created", "startAfter": "2024-04-05T12:00:00Z"}, ["gamma~x~1"]),
        ({"orderBy": "ttl_minutes", "startAfter": "240"}, ["gamma~x~1"]),
    ],
)
def test_pages(rows, parameters, found):
    assert paged(rows, **parameters) == found


@pytest.mark.parametrize(
    "parameters",
    [
        *({"limit": text} for text in ("many", "1.5", "-2", "99999999999", "1 ")),
        *({"skip": text} for text in ("many", "-1", "99999999999")),
        *({"orderBy": text} for text in ("other", "name(up)", "name desc", "name,", ",", "ref", "targets", "name;")),
        {"orderBy": ",".join(["name"] * 11)},
        {"startAfter": "a"},
        {"startAfter": "a", "orderBy": "name", "skip": "1"},
        {"startAfter": "soon", "orderBy": "created"},
    ],
)
def test_pages_that_are_refused(parameters):
    with pytest.raises(ApiError) as caught:
        page(**parameters)
    assert caught.value.status == 400


def test_a_parameter_comes_once():
    assert dict(single_values(MultiDict([("limit", "1"), ("skip", "2")]))) == {"limit": "1", "skip": "2"}
    with pytest.raises(ApiError, match="limit"):
        single_values(MultiDict([("limit", "1"), ("limit", "1")]))


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        (None, {"owner", "name", "typeFilter", "subjectFilter"}),
        ("", {"owner", "name", "typeFilter", "subjectFilter"}),
        ("allAttributes", set(ATTRIBUTES)),
        ("uuid", {"name", "uuid"}),
        ("uuid, expiry,deliveryTargets,enabled", {"name", "uuid", "expiry", "deliveryTargets", "enabled"}),
        ("uuid,summaryAttributes", {"owner", "name", "typeFilter", "subjectFilter", "uuid"}),
        ("other", {"name"}),
        ("ref,targets", {"name"}),
    ],
)
def test_select(text, attributes):
    assert selected({} if text is None else {"select": text}, SUMMARY) == attributes


def test_select_of_one():
    assert selected({}, ALL) == set(ATTRIBUTES)
