"""Who gets in, and who may do something: by a password, by a proxy, or because the event log is open."""

import logging

import pytest
from flask import g

from extension_kit.event_log.access import Viewer
from tests.support.event_log import OPEN, PASSWORD, PROXY, Browser, basic


def viewer_of(app, **request):
    """The viewer that a request of the API finds, which a route of this test tells."""
    found = []
    app.add_url_rule("/api/viewer", "viewer", lambda: found.append(g.viewer) or "seen", methods=["GET", "POST"])
    browser = Browser(app, request.pop("address", "192.0.2.1"))
    answer = browser.send(request.pop("method", "GET"), "/api/viewer", **request)
    return found[0] if found else answer.status_code


class TestLogin:
    def test_a_page_leads_to_the_login_and_back(self, browser):
        asked = browser.get("/?status=dead&listener=a%26b")
        assert (asked.status_code, asked.location) == (303, "/login?next=%2F%3Fstatus%3Ddead%26listener%3Da%2526b")
        form = browser.get(asked.location)
        assert form.status_code == 200
        assert 'type="password"' in form.text
        assert 'value="/?status=dead&amp;listener=a%26b"' in form.text
        come_in = browser.log_in(data={"next": "/?status=dead&listener=a%26b"})
        assert (come_in.status_code, come_in.location) == (303, "/?status=dead&listener=a%26b")
        assert browser.get(come_in.location).status_code == 200

    def test_somebody_who_is_in_needs_no_form(self, browser):
        browser.log_in()
        again = browser.get("/login?next=/x")
        assert (again.status_code, again.location) == (303, "/x")

    @pytest.mark.parametrize("path", ["/", "/nothing-there", "/deliveries/7"])
    def test_nothing_is_told_without_it(self, browser, path):
        assert browser.get(path).status_code == 303

    def test_a_wrong_password_is_refused(self, browser):
        refused = browser.log_in("wrong horse")
        assert refused.status_code == 403
        assert "The password is wrong." in refused.text
        assert "Set-Cookie" not in refused.headers
        assert browser.get("/").status_code == 303

    @pytest.mark.parametrize(
        "elsewhere",
        ["https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil.example", "evil", "", "/" + 2000 * "x"],
    )
    def test_it_leads_to_no_other_site(self, browser, elsewhere):
        assert browser.log_in(data={"next": elsewhere}).location == "/"

    def test_logout_ends_the_session_for_everybody_who_has_the_cookie(self, browser):
        browser.log_in()
        cookie = browser.cookie()
        assert browser.get("/").status_code == 200
        out = browser.post("/logout", data={"csrf": browser.token("/")})
        assert (out.status_code, out.location) == (303, "/login")
        assert browser.get("/").status_code == 303
        browser.take_cookie("event-log-8082", cookie)
        assert browser.get("/").status_code == 303

    def test_each_try_is_logged_without_the_password(self, browser, caplog):
        caplog.set_level(logging.INFO)
        browser.log_in("wrong horse")
        browser.log_in()
        said = [
            (each.levelname, each.getMessage(), each.fields)
            for each in caplog.records
            if each.name == "extension_kit.event_log"
        ]
        assert said == [
            ("WARNING", "Event log: wrong password", {"address": "192.0.2.1"}),
            ("INFO", "Event log: login", {"address": "192.0.2.1"}),
        ]
        assert "horse" not in caplog.text

    def test_without_a_password_there_is_no_form(self, app_of):
        page = Browser(app_of(**PROXY)).get("/login")
        assert page.status_code == 200
        assert "<form" not in page.text
        assert "proxy" in page.text


class TestWrongPasswords:
    def tries(self, browser, number):
        return [browser.log_in("wrong horse").status_code for _ in range(number)]

    def test_are_slowed_down(self, browser):
        assert self.tries(browser, 7) == 5 * [403] + 2 * [429]
        refused = browser.log_in()  # the right one has to wait, too
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "1"
        assert "wait for 1 s" in refused.text

    def test_of_another_address_slow_down_nobody_else(self, app_of):
        app = app_of()
        assert self.tries(Browser(app, "192.0.2.1"), 6)[-1] == 429
        assert Browser(app, "192.0.2.2").log_in().status_code == 303

    def test_behind_a_proxy_are_those_of_its_client(self, app_of):
        app = app_of(event_log_password=PASSWORD, **PROXY)

        def log_in(password, forwarded):
            headers = {"X-Forwarded-For": forwarded}
            return Browser(app, "10.0.0.1").log_in(password, headers=headers).status_code

        # The first of the addresses is the client's own claim.
        assert [log_in("wrong horse", f"198.51.100.{each}, 192.0.2.1, 10.0.0.2") for each in range(6)][-1] == 429
        assert log_in(PASSWORD, "192.0.2.2") == 303

    def test_the_word_of_somebody_else_about_the_client_does_not_count(self, app_of):
        app = app_of(event_log_password=PASSWORD, **PROXY)
        answers = [
            Browser(app).log_in("wrong horse", headers={"X-Forwarded-For": f"198.51.100.{each}"}).status_code
            for each in range(6)
        ]
        assert answers[-1] == 429

    def test_of_scripts_are_slowed_down_too(self, app_of):
        app = app_of()
        answers = [Browser(app).get("/api/x", headers=basic("a", "wrong")) for _ in range(6)]
        assert [answer.status_code for answer in answers] == 5 * [401] + [429]
        assert answers[-1].headers["Retry-After"] == "1"
        assert answers[-1].json["title"] == "Too many wrong passwords"


class TestBasicAuthentication:
    def test_any_user_name_is_taken_and_remembered(self, app_of):
        assert viewer_of(app_of(), headers=basic("nightly", PASSWORD)) == Viewer("nightly (by password)", True, False)
        assert viewer_of(app_of(), headers=basic("", PASSWORD)) == Viewer("password", True, False)

    def test_a_name_is_bounded_and_printable(self, app_of):
        name = "a\0\u202e" + 300 * "b"
        assert viewer_of(app_of(), headers=basic(name, PASSWORD)).name == (
            "a\ufffd\ufffd" + 197 * "b" + " (by password)"
        )

    def test_a_wrong_one_is_told_how(self, app_of):
        refused = Browser(app_of()).get("/api/x", headers=basic("a", "wrong horse"))
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == 'Basic realm="event log", charset="UTF-8"'
        assert refused.json["title"] == "Wrong or missing password"

    @pytest.mark.parametrize("header", ["Sec-Fetch-Site", "Cookie", "HX-Request"])
    def test_no_browser_opens_its_own_dialog(self, browser, header):
        if header == "Cookie":
            browser.take_cookie("of-the-proxy", "1")
        refused = browser.get("/api/x", headers={header: "x"})
        assert refused.status_code == 401
        assert not refused.headers["WWW-Authenticate"].startswith("Basic")

    def test_is_for_the_api_only(self, browser):
        assert browser.get("/", headers=basic("a", PASSWORD)).status_code == 303

    @pytest.mark.parametrize("value", ["Basic", "Basic !", "Basic YQ==", "Bearer x", "Basic " + "/w==", "Digest a=b"])
    def test_other_credentials_are_none(self, browser, value):
        assert browser.get("/api/x", headers={"Authorization": value}).status_code == 401

    def test_sets_no_cookie(self, app_of):
        assert "Set-Cookie" not in Browser(app_of()).get("/api/x", headers=basic("a", PASSWORD)).headers


class TestTrustedHeader:
    @pytest.mark.parametrize("address", ["10.1.2.3", "fd00::1", "::ffff:10.1.2.3"])
    def test_of_a_proxy_names_the_viewer(self, app_of, address):
        headers = {"X-Forwarded-User": "J\u00f6rg <j@example.com>".encode().decode("latin-1")}
        seen = viewer_of(app_of(**PROXY), address=address, headers=headers)
        assert seen == Viewer("J\u00f6rg <j@example.com>", True, False)

    @pytest.mark.parametrize("address", ["192.0.2.1", "127.0.0.1", "::1", "11.0.0.1", "unix:"])
    def test_of_somebody_else_names_nobody(self, app_of, address):
        headers = {"X-Forwarded-User": "admin", "X-Forwarded-For": "10.0.0.1"}
        assert viewer_of(app_of(**PROXY), address=address, headers=headers) == 401

    @pytest.mark.parametrize("headers", [{}, {"X-Forwarded-User": " "}, {"Remote-User": "admin"}])
    def test_that_is_missing_names_nobody(self, app_of, headers):
        assert viewer_of(app_of(**PROXY), address="10.0.0.1", headers=headers) == 401

    def test_goes_together_with_a_password(self, app_of):
        app = app_of(event_log_password=PASSWORD, **PROXY)
        assert viewer_of(app, headers=basic("a", PASSWORD)) == Viewer("a (by password)", True, False)

    def test_is_not_heeded_unless_it_is_set(self, app_of):
        assert viewer_of(app_of(), address="10.0.0.1", headers={"X-Forwarded-User": "admin"}) == 401


class TestRights:
    def test_an_open_event_log_knows_no_names(self, app_of):
        assert viewer_of(app_of(**OPEN)) == Viewer("anonymous", True, False)

    def test_raw_bodies_are_a_right_of_its_own(self, app_of):
        assert viewer_of(app_of(**OPEN, event_log_raw=True)).may_see_raw

    def test_a_read_only_one_changes_nothing(self, app_of):
        app = app_of(event_log_read_only=True)
        browser = Browser(app)
        browser.log_in()
        token = browser.token("/")
        refused = browser.post("/deliveries/replay", data={"csrf": token})
        assert refused.status_code == 403
        assert "read-only" in refused.text
        refused = browser.post("/api/deliveries/replay", headers={"X-CSRF-Token": token})
        assert (refused.status_code, refused.json["detail"]) == (403, "The event log is read-only.")
        assert viewer_of(app_of(event_log_read_only=True), method="POST", headers=basic("a", PASSWORD)) == 403
        assert viewer_of(app_of(event_log_read_only=True), headers=basic("a", PASSWORD)) == Viewer(
            "a (by password)", False, False
        )
        assert browser.post("/logout", data={"csrf": token}).status_code == 303
