"""Texts from outside stay texts, whatever they contain, on every page that shows them."""

import pytest

from tests.support.browsing import serve_with_event_log
from tests.support.paths import APPS

EVIL = {
    "script": '<script>document.title = "owned"</script>',
    "image": '<img src="x" onerror="document.title = \'owned\'">',
    "closed": '</pre></td></table></main><h1 id="owned">owned</h1>',
    "htmx": '" hx-get="/actions" hx-trigger="load" hx-target="body" data-x="',
    "template": "{{ 7777 * 7777 }}{% raw %}${alert(1)}",
    "bidi": "user\u202egnp.exe\u2066",
    "long": "y" * 1_000_000,
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    targets = [str(APPS / "quoting.py")]
    with serve_with_event_log(folder / "log", folder, targets, EXTENSION_EVENT_LOG_RAW="true") as server:
        yield server


@pytest.mark.parametrize("kind", EVIL)
def test_it_stays_text(served, open_page, log_in, event, kind):
    evil = EVIL[kind]
    name = f"experiment.execution.{kind}{evil}"[:100_000]
    run = {"experimentKey": evil[:200], "executionId": 7, "name": evil, "hypothesis": evil, "state": evil[:200]}
    body = {**event("experiment.execution.failed"), "eventName": name, "note": evil, "experimentExecution": run}
    body["id"] = f"{kind}-{evil[:100]}"
    assert served.post("/events/quote", body).status == 200
    with open_page(f"{served.event_log}/deliveries?status=dead") as page:
        log_in(page)
        page.get_by_role("heading", name="Deliveries").wait_for()

        def look(path):
            page.goto(f"{served.event_log}{path}")
            assert page.title().endswith(" - Event log")
            assert page.locator("#owned, main img, main script, main [onerror]").count() == 0
            assert page.locator("[hx-get]").count() <= 1  # the part that is polled
            assert page.evaluate("document.documentElement.scrollWidth") <= 1280
            shown = page.locator("main").inner_text()
            assert "60481729" not in shown
            assert "\u202e" not in shown

        look("/deliveries?status=dead")
        page.locator("tbody th a").first.click()
        delivery = page.url.removeprefix(served.event_log)
        look(delivery)
        look(f"{delivery}?raw=1")
        page.locator("dl.facts a[href^='/events/']").click()
        look(page.url.removeprefix(served.event_log))
        for path in ("/", "/events", "/receivers", "/runs", "/actions"):
            look(path)
        page.goto(f"{served.event_log}/runs")
        page.locator("tbody th a").first.click()
        look(page.url.removeprefix(served.event_log))


def test_secrets_are_not_shown(served, open_page, log_in, event):
    secrets = {"headers": {"Authorization": "Bearer hush-hush-hush"}, "url": "https://u:hush-hush@h/?token=hush-hush"}
    note = "GET https://h/?api_key=hush-hush failed; password=hush-hush"
    body = {**event("experiment.execution.failed"), "note": note, "deep": [[[secrets]]]}
    assert served.post("/events/quote", body).status == 200
    with open_page(f"{served.event_log}/deliveries?event_id={body['id']}") as page:
        log_in(page)
        page.locator("tbody th a").wait_for()
        assert "hush" not in page.content()
        page.locator("tbody th a").click()
        page.get_by_role("heading", name="Attempts").wait_for()
        assert "hush" not in page.content()
        assert "failed" in page.content()


def test_a_name_from_a_proxy_stays_text(tmp_path, open_page):
    """The header of a proxy for single sign-on, with the name of a person who pauses a receiver."""
    proxy = {
        "EXTENSION_EVENT_LOG_TRUSTED_HEADER": "X-Forwarded-User",
        "EXTENSION_EVENT_LOG_TRUSTED_PROXIES": "127.0.0.0/8",
    }
    name = '<b id="owned" hx-get="/x">eve</b>'
    with (
        serve_with_event_log(tmp_path / "log", tmp_path, [str(APPS / "quoting.py")], **proxy) as server,
        open_page(f"{server.event_log}/receivers", headers={"X-Forwarded-User": name}) as page,
    ):
        page.get_by_role("button", name="Pause quoting").click()
        page.locator(".status.paused").wait_for()
        for path in ("/receivers", "/actions"):
            page.goto(f"{server.event_log}{path}")
            assert name in page.locator("main").inner_text()
            assert page.locator("#owned").count() == 0
