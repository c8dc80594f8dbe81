"""What the chart renders really runs: in the image that the Dockerfile makes, confined as its manifests say."""

import json
import subprocess
import tempfile
from pathlib import Path
from urllib.request import urlopen

import pytest
import trustme
import yaml

from tests.helm.chart import NAMESPACE, RELEASE, find, manifests
from tests.helm.confinement import IS_ROOT
from tests.helm.image import build
from tests.helm.kubelet import CHOSEN_USER, Node
from tests.helm.snapshots import values
from tests.support.paths import BIN
from tests.support.postgresql import PostgresqlServer
from tests.support.servers import free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)  # the first of them builds the image

ROOT = Path(__file__).parents[2]
SERVICE = f"{RELEASE}-extension.{NAMESPACE}.svc"
LEDGER = (Path(__file__).parent / "ledger.py").read_text(encoding="utf-8")
TOKEN = "a-secret-of-the-ledger"
WITH_LEDGER = {
    "handlers": {"inline": {"ledger.py": LEDGER}},
    "secrets": {"LEDGER_TOKEN": {"value": TOKEN}},
    "settings": {"EXTENSION_STALLED_AFTER": 1},
    "gracePeriodSeconds": 1,
    "extraVolumes": [{"name": "ledger", "persistentVolumeClaim": {"claimName": "ledger"}}],
    "extraVolumeMounts": [{"name": "ledger", "mountPath": "/ledger"}],
}


@pytest.fixture
def ports():
    return {"port": free_port(), "healthPort": free_port()}


@pytest.fixture
def node(scratch, image):
    """Make a node for a release; whatever runs on it is ended."""
    nodes = []

    def make(documents, secrets=None, of=image):
        directory = Path(tempfile.mkdtemp(dir=scratch))
        directory.chmod(0o755)
        nodes.append(Node(of, directory, documents, secrets, (SERVICE,)))
        return nodes[-1]

    yield make
    for made in nodes:
        made.kill_all()


@pytest.fixture
def agent(tmp_path):
    """Send events as an agent does; all have to be accepted."""

    def send(url, events, *options):
        file = tmp_path / "events.json"
        file.write_text(json.dumps(events))
        command = [BIN / "extension-kit", "agent", url, "--replay", file, "--fast", *options]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stdout + result.stderr

    return send


class Ledger:
    """What the functions have written down, and what they are told."""

    def __init__(self, node: Node) -> None:
        self._directory = node.claim("ledger")

    def tell(self, word: str) -> None:
        (self._directory / word).touch()

    def untell(self, word: str) -> None:
        (self._directory / word).unlink()

    def of(self, word: str) -> set[str]:
        """The events of which it says this."""
        file = self._directory / "ledger"
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        assert all(token == TOKEN for _, _, token in lines)
        return {event for event, what, _ in lines if what == word}


def pod(documents, ending=""):
    return find(documents, "Deployment", ending)["spec"]["template"]["spec"]


def ids(events):
    return {event["id"] for event in events}


def test_one_pod_with_sqlite_loses_nothing(node, agent, event, ports):
    documents = manifests(WITH_LEDGER | ports)
    cluster, spec, url = node(documents), pod(documents), f"http://127.0.0.1:{ports['port']}"
    ledger = Ledger(cluster)
    runs = [[event("experiment.execution.completed") for _ in range(20)] for _ in range(2)]
    alarm = event("killswitch.engaged")

    first = cluster.run(spec)
    first.wait_until_ready()
    check = cluster.run(find(documents, "Pod", "-test")["spec"])
    assert check.wait() == 0, check.log
    assert "POST /events/write experiment.execution." in check.log

    with urlopen(f"http://127.0.0.1:{ports['healthPort']}/metrics", timeout=10) as metrics:
        assert b"extension_events_received_total" in metrics.read()

    ledger.tell("hold")
    agent(url, [*runs[0], alarm])
    wait_until(lambda: ledger.of("begun"))
    assert first.stop() == 143, first.log  # with functions under way, which do not end within the grace period

    second = cluster.run(spec)
    second.wait_until_ready()
    agent(url, runs[1])
    second.kill()
    assert ledger.of("done") == set()

    ledger.untell("hold")
    third = cluster.run(spec)
    third.wait_until_ready()
    wait_until(lambda: ledger.of("done") == ids(runs[0] + runs[1]))

    assert "nowhere to report it" in cluster.execute(spec, "extension-kit", "deliveries", "list", "--status", "dead")
    ledger.tell("repaired")
    assert "Replayed 1 dead letter." in cluster.execute(spec, "extension-kit", "deliveries", "replay", "--all")
    wait_until(lambda: ledger.of("reported") == {alarm["id"]})
    assert third.stop() == 143, third.log
    assert "Traceback" not in first.log + second.log + third.log


@pytest.fixture
def postgresql():
    """A server that other users' processes reach, which is more than its socket allows."""
    server = PostgresqlServer()
    try:
        server.start()
        yield server.url
    finally:
        server.remove()


def test_web_and_worker_with_postgresql_lose_nothing(node, agent, event, ports, postgresql):
    given = WITH_LEDGER | {"database": {"existingSecret": "oncall-database"}, "worker": {"enabled": True}}
    documents = manifests(given | ports)
    with_password = postgresql.replace("postgres@", "postgres:hush-hush@")
    cluster = node(documents, {"oncall-database": {"url": f"{with_password}\n"}})
    ledger = Ledger(cluster)
    url = f"http://127.0.0.1:{ports['port']}"
    # Pods have addresses of their own; here they share one.
    worker_spec = pod(manifests(given | {"port": free_port(), "healthPort": free_port()}), "-worker")

    too_early = cluster.run(pod(documents))
    assert too_early.wait() == 2
    assert "extension-kit db upgrade" in too_early.log

    migration = cluster.run(find(documents, "Job", "-migration")["spec"]["template"]["spec"])
    assert migration.wait() == 0, migration.log

    web, worker = cluster.run(pod(documents)), cluster.run(worker_spec)
    web.wait_until_ready()
    worker.wait_until_ready()
    events = [event("experiment.execution.completed") for _ in range(20)]
    ledger.tell("hold")
    agent(url, events)
    wait_until(lambda: ledger.of("begun"))
    worker.kill()
    assert ledger.of("done") == set()
    ledger.untell("hold")
    other = cluster.run(worker_spec)
    wait_until(lambda: ledger.of("done") == ids(events))
    assert web.stop() == 143, web.log
    assert other.stop() == 143, other.log
    assert "hush-hush" not in web.log + other.log + migration.log + too_early.log


def test_an_image_of_two_lines_serves_the_users_module(node, image, scratch, event, agent, ports):
    source = Path(tempfile.mkdtemp(dir=scratch))
    (source / "ledger.py").write_text(LEDGER)
    (source / "Dockerfile").write_text("FROM extension-kit:0.1.0\nCOPY ledger.py .\n")
    target = Path(tempfile.mkdtemp(dir=scratch))
    target.chmod(0o755)
    mine = build(source / "Dockerfile", target, base=image)
    documents = manifests(WITH_LEDGER | {"handlers": {"image": ["ledger.py"]}} | ports)
    cluster = node(documents, of=mine)
    running = cluster.run(pod(documents))
    running.wait_until_ready()
    sent = event("experiment.execution.completed")
    agent(f"http://127.0.0.1:{ports['port']}", [sent])
    wait_until(lambda: Ledger(cluster).of("done") == {sent["id"]})
    assert running.stop() == 143


EXTENSIONS = sorted(path.parent.name for path in (ROOT / "extensions").glob("*/__init__.py"))


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_ready_made_extension_needs_only_its_secrets(node, extension, ports):
    needed = ROOT / "tests/extensions" / extension / "values.yaml"
    secrets = yaml.safe_load(needed.read_text()) if needed.exists() else {}
    documents = manifests({"extension": extension, **secrets} | ports)
    running = node(documents).run(pod(documents))
    running.wait_until_ready()
    assert running.stop() == 143, running.log
    assert "Traceback" not in running.log


@pytest.mark.skipif(not IS_ROOT, reason="only root can run as another user")
def test_openshift_chooses_the_user(node, agent, event, ports):
    documents = manifests(values("openshift") | WITH_LEDGER | ports)
    cluster = node(documents)
    running = cluster.run(pod(documents))
    running.wait_until_ready()
    failed = event("experiment.execution.completed")
    agent(f"http://127.0.0.1:{ports['port']}", [failed])
    wait_until(lambda: Ledger(cluster).of("done") == {failed["id"]})
    database = cluster.claim(find(documents, "PersistentVolumeClaim")["metadata"]["name"]) / "extension.db"
    assert database.stat().st_uid == CHOSEN_USER
    assert running.stop() == 143, running.log
    assert "Traceback" not in running.log


def test_agents_show_certificates_where_the_chart_says_so(node, agent, event, ports, tmp_path):
    authority, agents = trustme.CA(), trustme.CA()
    server, client = authority.issue_cert("127.0.0.1"), agents.issue_cert("agent@example.com")
    chain = b"".join(blob.bytes() for blob in server.cert_chain_pems).decode()
    secrets = {
        "oncall-tls": {"tls.crt": chain, "tls.key": server.private_key_pem.bytes().decode()},
        "agents-ca": {"ca.crt": agents.cert_pem.bytes().decode()},
    }
    documents = manifests(
        ports
        | {
            "extension": "announce",
            "tls": {
                "server": {"certificate": {"fromSecret": "oncall-tls"}},
                "client": {"certificates": {"fromSecrets": ["agents-ca"]}},
            },
        }
    )
    running = node(documents, secrets).run(pod(documents))
    running.wait_until_ready()
    client.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    url, trust = f"https://127.0.0.1:{ports['port']}", ("--ca", tmp_path / "ca.pem")
    agent(url, [event("killswitch.engaged")], *trust, "--client-cert", tmp_path / "client.pem")
    wait_until(lambda: "killswitch.engaged" in running.log)
    with pytest.raises(AssertionError, match="does not answer"):
        agent(url, [event("killswitch.engaged")], *trust)
    assert running.stop() == 143
