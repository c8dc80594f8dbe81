"""Takes the pictures of the event log in docs/images anew, to be looked at before they are committed."""

import subprocess
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.support import guides
from tests.support.browsing import CHROMIUM, PASSWORD, arguments, serve_with_event_log
from tests.support.durable import statuses
from tests.support.paths import KIT
from tests.support.waiting import wait_until

FOLDER = Path(__file__).parents[2] / "docs" / "images"
DEAD = "/deliveries?status=dead"
RUN_THAT_FAILED = "xpath=//tr[.//*[contains(@class, 'failed')]]//th//a"


def main():
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        log = Path(folder) / "log"
        with serve_with_event_log(log, "/srv/reports", EXTENSION_EVENT_LOG_OPEN="loopback") as server:
            subprocess.run([KIT, "agent", server.url, "--generate", "40", "--fast"], check=True, capture_output=True)
            wait_until(lambda: "waiting" not in statuses(f"sqlite:///{log}.db"))
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments())
            take_wide(browser.new_page(viewport={"width": 1280, "height": 800}), server.event_log)
            take_narrow(browser.new_page(viewport={"width": 360, "height": 740}, color_scheme="dark"), server.event_log)
            browser.close()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments())
        take_tutorial(browser.new_page(viewport={"width": 1280, "height": 840}), Path(folder))
        browser.close()


def take_wide(page, base):
    for name, path, link in (
        ("overview", "/", None),
        ("events", "/events?event=experiment.execution.failed", None),
        ("event", "/events?event=experiment.execution.failed", "tbody th a"),
        ("deliveries", DEAD, None),
        ("delivery", f"{DEAD}&listener=extension-pager.page", "tbody th a"),
        ("receivers", "/receivers", None),
        ("runs", "/runs", None),
        ("run", "/runs", RUN_THAT_FAILED),
    ):
        take(page, name, f"{base}{path}", link)
    page.goto(f"{base}{DEAD}")
    page.get_by_role("button", name="Replay all that match").click()
    page.get_by_role("heading", name="Replay").wait_for()
    take(page, "confirmation")
    page.get_by_role("main").get_by_role("button").click()
    page.get_by_role("heading", name="done").wait_for()
    take(page, "action")
    take(page, "actions", f"{base}/actions")


def take_narrow(page, base):
    take(page, "narrow", f"{base}/deliveries?status=delivered", "tbody th a")


def take_tutorial(page, folder):
    """Take the pictures of the tutorial, each after the same commands as there."""
    first, failing, last = guides.files(guides.TUTORIAL)["oncall.py"][:3]
    file = folder / "oncall.py"
    for text, runs, seed, name, path, link in (
        (first, 5, 1, "tutorial-events", "/events", None),
        (failing, 1, 7, "tutorial-dead-letter", DEAD, "tbody th a"),
        (last, 1, 4, "tutorial-run", "/runs", "tbody th a"),
    ):
        file.write_text(text)
        log = folder / "tutorial"
        with serve_with_event_log(log, "", [str(file)], cwd=folder) as server:
            subprocess.run(
                [KIT, "agent", server.url, "--generate", str(runs), "--seed", str(seed), "--fast"],
                check=True,
                capture_output=True,
            )
            wait_until(lambda log=log: statuses(f"sqlite:///{log}.db").keys().isdisjoint({"waiting", "unfiled"}))
            page.goto(server.event_log)
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Log in").click()
            page.get_by_role("button", name="Log out").wait_for()
            take(page, name, f"{server.event_log}{path}", link)
        if text == failing:
            (folder / "reports").mkdir()


def take(page, name, url=None, link=None):
    """Take the picture of a page, or of the first page that it links to by a selector."""
    if url is not None:
        page.goto(url)
    if link is not None:
        page.locator(link).first.click()
        page.locator("dl.facts").wait_for()
    page.screenshot(path=FOLDER / f"event-log-{name}.png")


if __name__ == "__main__":
    main()
