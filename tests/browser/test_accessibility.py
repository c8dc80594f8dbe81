"""axe-core finds nothing on any page, light and dark, wide and narrow; no page is wider than its window or large."""

import pytest

axe_module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed: make browser")

MOST_BYTES = 60_000  # of the first page, with everything that it loads


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (360, False), (360, True)])
def test_nothing_is_found(served, open_page, log_in, event, reports, width, dark):
    failed = event("experiment.execution.failed")
    for path in ("/events/announce", "/events/report"):
        assert served.post(path, failed).status == 200
    with open_page(served.event_log, width=width, dark=dark, may_complain=True) as page:
        found = [violations(page, "/login")]
        log_in(page)
        page.get_by_role("heading", name="Overview").wait_for()

        def look(path):
            page.goto(f"{served.event_log}{path}")
            found.append(violations(page, path))
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path

        for path in ("/", "/events", "/deliveries", "/receivers", "/runs", "/actions"):
            look(path)
        for path in ("/events", "/deliveries", "/runs"):
            page.goto(f"{served.event_log}{path}")
            look(page.locator("tbody th a").first.get_attribute("href"))
        look("/nothing-here")
        look("/events?event=a..b")
        page.goto(f"{served.event_log}/deliveries?status=dead")
        if page.locator("tbody input[name=ref]").count():
            page.locator("tbody input[name=ref]").first.check()
            page.get_by_role("button", name="Replay selected").click()
            page.get_by_role("heading", name="Replay").wait_for()
            found.append(violations(page, "confirmation"))
    assert [each for each in found if each] == []


def violations(page, path):
    results = axe_module.Axe().run(page)
    return [
        (path, each["id"], [node["html"][:200] for node in each["nodes"]]) for each in results.response["violations"]
    ]


def test_the_first_page_is_small(served, chromium):
    context = chromium.new_context()
    page = context.new_page()
    sizes = []
    page.on("requestfinished", lambda request: sizes.append(request.sizes()))
    page.goto(f"{served.event_log}/login", wait_until="networkidle")
    context.close()
    assert 0 < sum(each["responseBodySize"] + each["responseHeadersSize"] for each in sizes) < MOST_BYTES
