"""The demonstration of the extension notify: it runs for real."""

from tests.support.demos import run_demo


def test_the_demonstration_shows_a_message_for_each_run(tmp_path):
    output = run_demo("notify", tmp_path)
    titles = sorted(line for line in output.splitlines() if line.startswith("["))
    assert titles == [
        "[failure] Rolling restart loses no request: failed",
        "[success] Checkout survives a busy neighbour: completed",
    ]
    assert "\nhttps://platform.steadybit.com/experiments/edit/PLAT-30/executions/60297\n" in output
