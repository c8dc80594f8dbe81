"""Names under which the event log answers: no page elsewhere reads it under its own name."""

import pytest

from extension_kit.event_log.hosts import Hosts
from tests.support.event_log import Browser


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LocalHost:8082", "localhost.", "127.0.0.1:8082", "127.9.9.9", "[::1]:8082", "10.1.2.3:80",
        "events.example.com", "Events.Example.com:443",
    ],
)  # fmt: skip
def test_own_names(host):
    assert Hosts("10.1.2.3", ["events.example.com"]).allow(host)


@pytest.mark.parametrize(
    "host",
    [
        "", "evil.example", "localhost.evil.example", "10.1.2.4", "x.events.example.com", "a b", "localhost:", "[::1",
        "localhost:80:80", "user@localhost", "localhost/", "[localhost]", "127.0.0.1.evil.example", "[::2]", "127.1",
        "localhost:123456", "ev\u0131l",
    ],
)  # fmt: skip
def test_names_of_others(host):
    assert not Hosts("10.1.2.3", ["events.example.com"]).allow(host)


@pytest.mark.parametrize("bound", ["0.0.0.0", "::"])
def test_every_address_of_a_machine_that_binds_all(bound):
    assert Hosts(bound, []).allow("192.0.2.7:8082")
    assert Hosts(bound, []).allow("[2001:db8::1]")
    assert not Hosts(bound, []).allow("rebound.example")


@pytest.mark.parametrize("path", ["/", "/login", "/api/x", "/static/x"])
def test_another_name_gets_nothing(browser, path):
    refused = browser.get(path, base_url="http://rebound.example:8082")
    assert refused.status_code == 400
    assert "EXTENSION_EVENT_LOG_HOSTS" in refused.text
    assert "rebound" not in refused.text
    assert "Set-Cookie" not in refused.headers


@pytest.mark.parametrize("host", ["", "a/b", "[1.2]", "user@localhost", "\xff", "localhost:99999x"])
def test_what_is_no_name_gets_nothing_either(browser, host):
    assert browser.get("/", headers={"Host": host}).status_code == 400


def test_a_login_does_not_change_that(browser):
    browser.log_in()
    assert browser.get("/", headers={"Host": "rebound.example:8082"}).status_code == 400
    assert browser.get("/").status_code == 200


def test_probes_use_any_name(browser):
    assert browser.get("/health", base_url="http://192.0.2.9:8082").text == "OK\n"


def test_names_of_the_settings(app_of):
    browser = Browser(app_of(event_log_hosts=("events.example.com",)))
    assert browser.get("/login", base_url="https://events.example.com").status_code == 200
