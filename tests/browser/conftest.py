"""A browser, pages that note everything they ask for and complain of, and the event log beside a server."""

from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.support.browsing import CHROMIUM, PASSWORD, arguments, serve_with_event_log


@pytest.fixture(scope="package")
def chromium():
    """Debian's Chromium, driven by Playwright, whose event loop must not run while other tests do."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make browser")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=arguments())
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Open pages: ``with open_page(url, javascript=False, width=360) as page``.

    At the end it is checked that a page has asked this machine only, and that no script or style was refused.
    """

    @contextmanager
    def open_page(url, *, javascript=True, width=1280, dark=False, headers=None, may_complain=False):
        context = chromium.new_context(
            java_script_enabled=javascript,
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            extra_http_headers=headers,
        )
        context.set_default_timeout(30_000)
        page = context.new_page()
        asked, complaints = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        try:
            page.goto(url)
            yield page
        finally:
            context.close()
        assert {urlsplit(each).hostname for each in asked} <= {"127.0.0.1", "localhost"}
        assert may_complain or complaints == []

    return open_page


@pytest.fixture
def log_in():
    """Log in to an event log: ``log_in(page)``."""

    def log_in(page, password=PASSWORD):
        page.get_by_label("Password").fill(password)
        with page.expect_navigation():
            page.get_by_role("button", name="Log in").click()

    return log_in


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The folder of the pager's reports. Without it, each report is a dead letter."""
    return tmp_path_factory.mktemp("pager") / "reports"


@pytest.fixture(scope="module")
def served(tmp_path_factory, reports):
    """The two examples, with the event log beside them: its address is in ``event_log``."""
    with serve_with_event_log(tmp_path_factory.mktemp("served") / "log", reports) as server:
        yield server
