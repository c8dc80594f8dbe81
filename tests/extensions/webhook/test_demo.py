"""The demonstration of the webhook extension: it runs for real."""

from tests.support.demos import run_demo


def test_the_demonstration_shows_signed_events(tmp_path):
    lines = [line for line in run_demo("webhook", tmp_path).splitlines() if line.endswith(": signature valid")]
    assert len(lines) == 22
    assert any(line.startswith("experiment.execution.failed PLAT-30/60297 of /steadybit/exmpl") for line in lines)
