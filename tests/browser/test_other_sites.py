"""Pages of other sites can neither act in the name of somebody who is logged in, nor show the event log in a frame."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.waiting import wait_until


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def elsewhere(tmp_path):
    """A folder, and the address at which another site serves it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield tmp_path, f"http://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_form_of_another_site_changes_nothing(served, open_page, log_in, elsewhere):
    folder, url = elsewhere
    fields = '<input name="listener" value="extension-announce.announce@/events/announce">'
    (folder / "index.html").write_text(
        f'<form method="post" action="{served.event_log}/receivers/pause">{fields}<button>Win</button></form>'
    )
    with open_page(served.event_log, may_complain=True) as page:
        log_in(page)
        page.get_by_role("heading", name="Overview").wait_for()
        page.goto(url)
        with page.expect_navigation() as navigation:
            page.get_by_role("button", name="Win").click()
        assert navigation.value.status in (401, 403)
        page.goto(f"{served.event_log}/receivers")
        page.get_by_role("heading", name="Receivers").wait_for()
        assert page.locator(".status.paused").count() == 0


def test_a_form_without_its_token_changes_nothing(served, open_page, log_in):
    with open_page(f"{served.event_log}/receivers", may_complain=True) as page:
        log_in(page)
        page.get_by_role("heading", name="Receivers").wait_for()
        page.evaluate("document.querySelectorAll('main input[name=csrf]').forEach(field => field.remove())")
        with page.expect_navigation() as navigation:
            page.get_by_role("button", name="Pause extension-announce").click()
        assert navigation.value.status == 403
        page.goto(f"{served.event_log}/receivers")
        assert page.locator(".status.paused").count() == 0


def test_another_site_shows_it_in_no_frame(served, open_page, log_in, elsewhere):
    folder, url = elsewhere
    (folder / "index.html").write_text(f'<iframe name="framed" src="{served.event_log}/receivers"></iframe>')
    with open_page(served.event_log, may_complain=True) as page:
        log_in(page)
        page.get_by_role("heading", name="Overview").wait_for()
        page.goto(url)

        def is_refused():
            page.wait_for_timeout(50)  # in which news of the browser is taken in
            return [frame.url for frame in page.frames[1:]] == ["chrome-error://chromewebdata/"]

        wait_until(is_refused)
