"""The demonstration of the extension jetstream: it runs for real."""

import shutil

import pytest

from tests.support.demos import run_demo
from tests.support.paths import BIN


@pytest.mark.skipif(
    not (shutil.which("nats-server", path=str(BIN)) or shutil.which("nats-server")), reason="there is no nats-server"
)
def test_the_demonstration_shows_each_order_once_and_in_order(tmp_path):
    output = run_demo("jetstream", tmp_path)
    shown = [line for line in output.splitlines() if line.startswith("com.example.order.")]
    for shop in ("berlin", "zurich"):
        assert [line for line in shown if f"/shops/{shop}:" in line] == [
            f"com.example.order.created 1 of /shops/{shop}: 10",
            f"com.example.order.changed 2 of /shops/{shop}: 20",
            f"com.example.order.changed 3 of /shops/{shop}: 30",
        ]
    assert "cannot be taken: it is not JSON, and has no header ce-specversion. It goes to rejected" in output
    assert "All messages are acknowledged." in output
