"""How fast CronEye's events are accepted, beside Steadybit's: both committed before the answer.

With a CronEye event the state of its job and run and an entry in the log are committed. Events that arrive together are
committed together, CronEye's as Steadybit's. The method is that of ``durable``.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.load import DUE, ID, RUN, TIME, Request
from benchmarks.measure import CONNECTIONS, Sample, sample
from benchmarks.report import Report, Settings, times
from benchmarks.servers import ROOT, Server, app_file, kit, kit_command
from benchmarks.stores import WITHOUT_POSTGRESQL, Store, stores
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from extensions.croneye.tables import TABLES

_PATIENCE = 300.0  # seconds
_TOKEN = "benchmark"

# One job for each "run" of the load generator, which is 20 events: ten runs of the job, each submitted and executed.
_JOB = {"alias": "benchmark", "jobstore": "benchmark", "job_id": RUN, "scheduled_run_time": DUE, "time": TIME}
_SUBMITTED = json.dumps({"event_code": 32768, "next_scheduled_run_time": DUE, "id": ID, **_JOB})
_EXECUTED = json.dumps({"event_code": 4096, "return_value": {"id": ID, "text": "x" * 600}, **_JOB})


class _CronEyeServer(Server):
    """The kit with this extension, which is sent an event of its own."""

    def request(self, port: int, body: str) -> Request:
        return Request(port, self.path, _SUBMITTED, self.headers, _EXECUTED)


@dataclass(frozen=True)
class _Case:
    """A server, and the store which a database is made in for every try."""

    server: Server
    store: Store

    def sample(self, seconds: float, warm_up: float, patient_until: float) -> Sample:
        with _database(self.store) as url:
            environment = self.server.environment | {"EXTENSION_DATABASE_URL": url}
            return sample(replace(self.server, environment=environment), seconds, warm_up, patient_until)


@contextmanager
def _database(store: Store) -> Iterator[str]:
    with store.database() as url:
        database = Database(url)
        upgrade(database, [TABLES])
        database.dispose()
        yield url


def run(settings: Settings) -> list[Report]:
    """Measure both on each store, interleaved."""
    rounds, seconds, warm_up = (1, 1.0, 0.5) if settings.quick else (3, 3.0, 1.0)
    patient_until = time.monotonic() + (0 if settings.quick else _PATIENCE)
    with stores() as found:
        cases = [case for store in found for case in _cases(store)]
        samples: list[list[Sample]] = []
        with settings.progress("croneye", rounds * len(cases)) as begin:
            for number in range(rounds):
                samples.append([])
                for case in cases:
                    begin(f"round {number + 1}, {case.server.name}")
                    samples[-1].append(case.sample(seconds, warm_up, patient_until))
    rows = []
    for place, case in enumerate(cases):
        rates = [each[place].load.per_second for each in samples]
        pairs = [(each[place], each[place // 2 * 2]) for each in samples]  # with Steadybit's of the same store
        ratio = median(ours.load.per_second / theirs.load.per_second for ours, theirs in pairs)
        cpu = median(ours.server_cpu_us / theirs.server_cpu_us for ours, theirs in pairs)
        rows.append(
            [
                case.server.name,
                f"{median(rates):,.0f}",
                f"{min(rates):,.0f} - {max(rates):,.0f}",
                f"{median(each[place].server_cpu_us for each in samples):.0f}",
                f"{median(each[place].load.p50_ms for each in samples):.2f}",
                f"{median(each[place].load.p99_ms for each in samples):.1f}",
                *((times(ratio), times(cpu)) if place % 2 else ("", "")),
            ]
        )
    return [
        Report(
            f"Accepting events of 0.3 and 0.8 KB for a durable listener: one process, --no-worker, {CONNECTIONS} "
            f"connections kept alive, {rounds} interleaved rounds of {seconds:g} s",
            ["extension-kit serve", "req/s", "range", "CPU us/req", "p50 ms", "p99 ms", "of Steadybit's", "CPU of its"],
            rows,
            [WITHOUT_POSTGRESQL] if len(found) < 2 else [],
            [{"round": number, **each.as_dict()} for number, every in enumerate(samples) for each in every],
        )
    ]


def _cases(store: Store) -> list[_Case]:
    helpers = store.server_processes()
    steadybit = kit(f"Steadybit, {store.name}", "kit_durable", workers=1, deliver=False, helpers=helpers)
    croneye = _CronEyeServer(
        f"CronEye, {store.name}",
        kit_command("serve", "--no-worker", str(ROOT / "extensions/croneye"), app_file("croneye_durable")),
        steadybit.environment | {"EXTENSION_CRONEYE_TOKEN": _TOKEN},
        path="/event",
        headers={"Authorization": f"Token {_TOKEN}"},
        validates=False,  # what is not CronEye's is answered with success, and dropped
        helpers=helpers,
    )
    return [_Case(steadybit, store), _Case(croneye, store)]
