"""The demonstration of the extension audit: it runs for real."""

import re

from tests.support.demos import run_demo


def test_the_demonstration_keeps_each_event_once(tmp_path):
    output = run_demo("audit", tmp_path)
    assert re.search(r"^24 .*/audit/2026-03-02\.jsonl$", output, re.MULTILINE)
