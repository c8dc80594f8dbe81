"""The demonstration of the extension grafana: it runs for real."""

from tests.support.demos import run_demo


def test_the_demonstration_prints_what_the_stand_in_gets(tmp_path):
    lines = [line for line in run_demo("grafana", tmp_path).splitlines() if line.startswith("Grafana: {")]
    assert len(lines) > 1
