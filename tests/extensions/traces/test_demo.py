import re

from tests.support.demos import run_demo


def test_each_run_is_drawn_as_one_trace(tmp_path):
    output = run_demo("traces", tmp_path)
    traces = re.findall(r"^Trace ([0-9a-f]{32})$", output, re.MULTILINE)
    assert len(traces) == len(set(traces)) == 2
    assert re.search(
        r"^RUN Rolling restart loses no request .* 83\.3 s  ERROR A check did not hold$", output, re.MULTILINE
    )
    assert re.search(r"^  Rollout Restart .*\n    gateway ", output, re.MULTILINE)
