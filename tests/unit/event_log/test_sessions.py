"""Sessions: twelve hours at most, for as long as the password is the same, and for nobody who made them up."""

import time

import pytest
import time_machine

from extension_kit.event_log import sessions
from extension_kit.event_log.sessions import Sessions
from tests.support.event_log import PASSWORD, PROXY, Browser

HOUR = 3600


@pytest.fixture(scope="module")
def made():
    return Sessions(PASSWORD)


def test_a_login_lasts_twelve_hours(made):
    with time_machine.travel(time.time(), tick=False) as clock:
        cookie = made.log_in().cookie
        clock.shift(12 * HOUR)
        assert made.logged_in(cookie).is_logged_in
        clock.shift(1)
        assert made.logged_in(cookie) is None


def test_a_restart_keeps_it_and_another_password_ends_it(made):
    cookie = made.log_in().cookie
    assert Sessions(PASSWORD).logged_in(cookie).is_logged_in
    assert Sessions("another horse").logged_in(cookie) is None
    assert Sessions("").logged_in(cookie) is None


def test_each_login_has_an_id_of_its_own(made):
    assert len({made.log_in().id for _ in range(10)}) == 10


def test_a_changed_cookie_is_none(made):
    cookie = made.log_in().cookie
    for place in range(len(cookie)):
        changed = cookie[:place] + ("A" if cookie[place] != "A" else "B") + cookie[place + 1 :]
        # The last character of base64 has bits that mean nothing.
        assert made.logged_in(changed) is None or place == len(cookie) - 1


@pytest.mark.parametrize("cookie", ["", "x", "a.b.c", 33 * "a", "ä" * 32, '"' * 32, 100_000 * "a"])
def test_what_is_no_cookie_makes_a_new_session(made, cookie):
    assert made.logged_in(cookie) is None
    session = made.anonymous(cookie)
    assert session.is_new
    assert not session.is_logged_in
    assert made.anonymous(session.cookie) == session._replace(is_new=False)


def test_a_session_without_a_login_is_not_signed(made):
    """A signature would let strangers try passwords elsewhere."""
    session = made.anonymous("")
    assert session.cookie == session.id


def test_logouts_are_remembered_within_a_bound(made, monkeypatch):
    monkeypatch.setattr(sessions, "_MOST_ENDED", 3)
    several = [made.log_in() for _ in range(4)]
    for session in several:
        made.log_out(session)
    assert [made.logged_in(session.cookie) is None for session in several] == [False, True, True, True]


def test_strangers_have_no_logouts_forgotten(made, monkeypatch):
    monkeypatch.setattr(sessions, "_MOST_ENDED", 3)
    session = made.log_in()
    made.log_out(session)
    for _ in range(3):
        made.log_out(made.anonymous(""))
    assert made.logged_in(session.cookie) is None


def cookies(answer):
    return [header.partition("; ")[::2] for header in answer.headers.getlist("Set-Cookie")]


def test_no_script_and_no_other_site_gets_the_cookie(browser):
    ((form, flags),) = cookies(browser.get("/login"))
    assert form.startswith("event-log-anonymous-8082=")
    assert set(flags.split("; ")) == {"HttpOnly", "Path=/", "SameSite=Strict"}
    ((login, flags),) = cookies(browser.log_in())
    assert login.startswith("event-log-8082=")
    assert set(flags.split("; ")) == {"HttpOnly", "Path=/", "SameSite=Strict"}
    assert cookies(browser.get("/")) == []


@pytest.mark.parametrize(
    ("settings", "request_"),
    [
        ({}, {"base_url": "https://127.0.0.1:8082"}),
        (
            PROXY,
            {"environ_base": {"REMOTE_ADDR": "10.0.0.1"}, "headers": {"X-Forwarded-Proto": "https"}},
        ),
    ],
)
def test_under_tls_it_goes_through_no_plain_connection(app_of, settings, request_):
    browser = Browser(app_of(event_log_password=PASSWORD, **settings))
    ((cookie, flags),) = cookies(browser.get("/login", **request_))
    assert cookie.startswith("__Host-event-log-anonymous-8082=")
    assert set(flags.split("; ")) == {"Secure", "HttpOnly", "Path=/", "SameSite=Strict"}
    data = {"csrf": browser.token(**request_), "password": PASSWORD}
    ((cookie, flags),) = cookies(browser.post("/login", data=data, **request_))
    assert cookie.startswith("__Host-event-log-8082=")
    assert "Secure" in flags


def test_somebody_else_cannot_claim_tls(app_of):
    browser = Browser(app_of(event_log_password=PASSWORD, **PROXY))
    ((cookie, _),) = cookies(browser.get("/login", headers={"X-Forwarded-Proto": "https"}))
    assert not cookie.startswith("__Host-")


def test_a_link_of_another_site_keeps_the_login(app_of):
    app = app_of()
    browser = Browser(app)
    browser.log_in()
    cookie = browser.cookie()
    stranger = Browser(app)  # strict cookies are not sent
    arrival = stranger.get("/deliveries?status=dead", headers={"Sec-Fetch-Site": "cross-site"})
    assert arrival.status_code == 200
    assert '<meta http-equiv="refresh" content="0; url=/login?next=%2Fdeliveries%3Fstatus%3Ddead">' in arrival.text
    assert cookies(arrival) == []
    going_on = browser.get("/login?next=%2Fdeliveries%3Fstatus%3Ddead", headers={"Sec-Fetch-Site": "same-origin"})
    assert going_on.location == "/deliveries?status=dead"
    assert browser.cookie() == cookie
