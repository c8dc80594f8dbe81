"""Requests that a page elsewhere makes a browser send, and pages in frames of others."""

import pytest

from extension_kit.event_log.rendering import csrf_token
from tests.support.event_log import OPEN, PASSWORD, PROXY, Browser, basic

REACHED = 404
"""The answer to a request that was let through: there is no such path in these tests."""

ACTION = "/no-such-action"
OWN = {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:8082"}


@pytest.fixture
def logged_in(browser):
    browser.log_in()
    return browser


class TestToken:
    def test_of_a_page_lets_its_form_through(self, logged_in):
        data = {"csrf": logged_in.token("/")}
        assert logged_in.post(ACTION, data=data, headers=OWN).status_code == REACHED
        assert logged_in.post(ACTION, headers={**OWN, "X-CSRF-Token": data["csrf"]}).status_code == REACHED

    @pytest.mark.parametrize("token", [None, "", "x", 64 * "0", "\u00e4"])
    def test_that_is_missing_or_made_up(self, logged_in, token):
        refused = logged_in.post(ACTION, data={} if token is None else {"csrf": token}, headers=OWN)
        assert refused.status_code == 403
        assert "load it again" in refused.text

    def test_of_another_session(self, app_of):
        app = app_of()
        one, other = Browser(app), Browser(app)
        one.log_in()
        other.log_in()
        assert one.post(ACTION, data={"csrf": other.token("/")}, headers=OWN).status_code == 403

    def test_of_before_the_login(self, browser):
        before = browser.token()
        browser.log_in()
        assert browser.post(ACTION, data={"csrf": before}, headers=OWN).status_code == 403

    def test_in_the_address_does_not_count(self, logged_in):
        assert logged_in.post(f"{ACTION}?csrf={logged_in.token('/')}", headers=OWN).status_code == 403

    def test_is_needed_for_the_login_and_logout(self, browser):
        assert browser.post("/login", data={"password": PASSWORD}, headers=OWN).status_code == 403
        browser.log_in()
        assert browser.post("/logout", headers=OWN).status_code == 403

    def test_is_needed_by_scripts_with_a_cookie(self, logged_in):
        assert logged_in.post("/api/x").status_code == 403
        assert logged_in.post("/api/x", headers={"X-CSRF-Token": logged_in.token("/")}).status_code == REACHED

    def test_is_not_needed_by_scripts_without_a_browser(self, app_of):
        assert Browser(app_of()).post("/api/x", headers=basic("a", PASSWORD)).status_code == REACHED
        assert Browser(app_of(**OPEN)).post("/api/x").status_code == REACHED
        named = {"X-Forwarded-User": "a"}
        assert Browser(app_of(**PROXY), "10.0.0.1").post("/api/x", headers=named).status_code == REACHED

    def test_is_needed_where_a_browser_remembers_the_credentials(self, app_of):
        assert Browser(app_of()).post("/api/x", headers={**OWN, **basic("a", PASSWORD)}).status_code == 403
        assert Browser(app_of(**OPEN)).post("/api/x", headers=OWN).status_code == 403
        browser = Browser(app_of(**PROXY), "10.0.0.1")
        browser.take_cookie("of-the-proxy", "1")
        assert browser.post("/api/x", headers={"X-Forwarded-User": "a"}).status_code == 403

    @pytest.mark.parametrize(("settings", "address"), [(OPEN, "127.0.0.1"), (PROXY, "10.0.0.1")])
    def test_without_a_login_belongs_to_a_browser_too(self, app_of, settings, address):
        app = app_of(**settings)
        app.add_url_rule("/form", "form", lambda: f'name="csrf" value="{csrf_token()}"')
        named = {"X-Forwarded-User": "a"} if settings is PROXY else {}
        one, other = Browser(app, address), Browser(app, address)
        token = one.token("/form", headers=named)
        assert one.post(ACTION, data={"csrf": token}, headers={**OWN, **named}).status_code == REACHED
        assert other.post(ACTION, data={"csrf": token}, headers={**OWN, **named}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "something-new"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:8082"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8083"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "127.0.0.1:8082"},
    ],
)
@pytest.mark.parametrize("path", [ACTION, "/login", "/logout", "/api/x"])
def test_a_request_from_elsewhere_is_refused_even_with_the_token(logged_in, path, headers):
    token = logged_in.token("/")
    data = {"csrf": token, "password": PASSWORD}
    refused = logged_in.post(path, data=data, headers={**headers, "X-CSRF-Token": token})
    assert refused.status_code == 403
    assert "another origin" in refused.text


@pytest.mark.parametrize(
    "headers", [{}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-origin", "Origin": "null"}]
)
def test_browsers_that_say_less_need_the_token_only(logged_in, headers):
    data = {"csrf": logged_in.token("/")}
    assert logged_in.post(ACTION, data=data, headers=headers).status_code == REACHED


@pytest.mark.parametrize("path", ["/", "/login", "/api/x", "/nothing", "/health", "/static/nothing"])
@pytest.mark.parametrize("is_in", [False, True])
def test_no_page_is_shown_in_a_frame_or_loads_from_elsewhere(browser, path, is_in):
    if is_in:
        browser.log_in()
    headers = browser.get(path).headers
    policy = {part.partition(" ")[::2] for part in headers["Content-Security-Policy"].split("; ")}
    assert policy == {
        ("default-src", "'none'"),
        ("script-src", "'self'"),
        ("style-src", "'self'"),
        ("img-src", "'self'"),
        ("connect-src", "'self'"),
        ("form-action", "'self'"),
        ("frame-ancestors", "'none'"),
        ("base-uri", "'none'"),
    }
    assert {name: headers[name] for name, _ in headers if name.startswith(("X-", "Cross-", "Referrer"))} == {
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    assert headers["Cache-Control"] == "no-store"
