"""The demonstration of the extension datadog: it runs for real."""

from tests.support.demos import run_demo


def test_the_demonstration_prints_what_the_stand_in_gets(tmp_path):
    lines = [line for line in run_demo("datadog", tmp_path).splitlines() if line.startswith("Datadog: {")]
    assert len(lines) > 1
