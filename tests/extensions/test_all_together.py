"""All ready-made extensions for Steadybit's events in one server: one vendor that hangs holds up no other.

RUNS (12) in the environment says how many experiment runs an agent plays; the test prints the seconds of each vendor.
"""

import os
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.collectors import collector
from tests.support.datadog import KEY, Datadog
from tests.support.durable import database_url, postgresql_server, postgresql_url, prepared, statuses, tables
from tests.support.grafana import TOKEN, Grafana
from tests.support.metrics import scrape
from tests.support.paths import KIT
from tests.support.ready_made import FOLDER, accepting
from tests.support.receivers import receiver, reply, silence
from tests.support.servers import run_server
from tests.support.waiting import wait_until

__all__ = ["collector", "database_url", "postgresql_server", "postgresql_url", "receiver", "tables"]  # fixtures

RUNS = int(os.environ.get("RUNS", "12"))
TIMEOUT = 60 + 5 * RUNS
NAMES = ("audit", "datadog", "grafana", "notify", "statistics", "traces", "webhook")
ENDS = ("completed", "failed", "errored", "canceled")

pytestmark = pytest.mark.timeout(120 + 10 * RUNS)


class Vendors:
    """What each extension talks to, and the number of whole runs that have arrived there."""

    def __init__(self, folder: Path, collector, receiver, *, webhook_hangs: bool):
        self.grafana, self.datadog = Grafana(), Datadog()
        self.grafana.start()
        self.datadog.start()
        self.collector = collector
        self.channel = receiver()
        self.webhook = receiver(answer=lambda request: silence if webhook_hangs else reply())
        self.folder = folder / "audit"

    def settings(self) -> dict[str, str]:
        return {
            "EXTENSION_AUDIT_TARGET": self.folder.as_uri(),
            "EXTENSION_DATADOG_API_KEY": KEY,
            "EXTENSION_DATADOG_URL": self.datadog.url,
            "EXTENSION_GRAFANA_TOKEN": TOKEN,
            "EXTENSION_GRAFANA_URL": self.grafana.url,
            "EXTENSION_NOTIFY_URLS": f"oncall=json://127.0.0.1:{self.channel.port}/",
            "EXTENSION_NOTIFY_EVENTS": ",".join(f"experiment.execution.{end}" for end in ENDS),
            "EXTENSION_WEBHOOK_URL": self.webhook.url(host="127.0.0.1"),
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.collector.endpoint,
            "OTEL_TRACES_EXPORTER": "none",  # of the kit's own traces
            "EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
        }

    def annotations(self) -> list[dict]:
        return [each for each in self.grafana.found() if each["timeEnd"] > each["time"]]

    def audited(self) -> list[bytes]:
        return [line for file in self.folder.glob("*.jsonl") for line in file.read_bytes().splitlines()]

    def roots(self) -> Counter:
        """The number of different spans of whole runs, by trace."""
        spans = self.collector.spans.values()
        return Counter(span.trace_id for span in spans if not span.parent_span_id)

    def close(self) -> None:
        self.grafana.stop()
        self.datadog.stop()


@pytest.fixture
def vendors(tmp_path, collector, receiver):
    made = []

    def make(**options):
        made.append(Vendors(tmp_path, collector, receiver, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("webhook_hangs", [False, True], ids=["all answer", "one hangs"])
def test_each_vendor_gets_every_run_once(webhook_hangs, vendors, database_url, tmp_path):
    there = vendors(webhook_hangs=webhook_hangs)
    environment = prepared(database_url, tmp_path / "ledger") | there.settings()
    command = [KIT, "serve", *(str(FOLDER / name) for name in NAMES)]
    with run_server(command, tmp_path / "server.log", **environment) as server:
        accepting(server)
        began = time.monotonic()
        agent = subprocess.run(
            [KIT, "agent", server.url, "--generate", str(RUNS), "--fast"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env={**os.environ, "TTY_COMPATIBLE": "0"},
        )
        assert agent.returncode == 0, agent.stdout + agent.stderr
        assert "refused: 0" in agent.stdout
        seconds = {"the agent": time.monotonic() - began}
        waiting = {
            "notify": lambda: len(there.channel.requests) >= RUNS,
            "grafana": lambda: len(there.annotations()) >= RUNS,
            "traces": lambda: len(there.roots()) >= RUNS,
            "statistics": lambda: sum(scrape(server.health_port, "experiment_runs_total").values()) >= RUNS,
        }
        for name, has_all in waiting.items():
            try:
                wait_until(has_all, timeout=TIMEOUT)
            except AssertionError:
                pytest.fail(f"{name} lacks runs; deliveries: {statuses(database_url)}\n{server.log[-5000:]}")
            seconds[name] = time.monotonic() - began
        assert sum(scrape(server.health_port, "experiment_runs_total").values()) == RUNS
    print({name: round(each, 1) for name, each in seconds.items()})
    assert len(there.channel.requests) == RUNS
    assert len(there.grafana.found()) == len(there.annotations()) == RUNS
    assert list(there.roots().values()) == [1] * RUNS
    assert len(set(there.audited())) == len(there.audited()) > RUNS
    assert there.datadog.requests
