import re

from tests.support.demos import run_demo


def test_the_numbers_are_the_same_after_the_restart(tmp_path):
    output = run_demo("statistics", tmp_path)
    before, after = output.split("# After a restart the numbers go on.")
    runs = re.findall(r"^experiment_runs_total.*$", before, re.MULTILINE)
    assert sum(float(line.split()[-1]) for line in runs) == 20
    assert re.findall(r"^experiment_runs_total.*$", after, re.MULTILINE) == runs
