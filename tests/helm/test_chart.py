"""What the chart renders: as it was looked at, valid, found by agents, and refused where it cannot work."""

import hashlib
import json
import re
from itertools import chain

import pytest
import yaml

from tests.helm.chart import CHART, RELEASE, container, environment, find, helm, manifests, pod_specs, render
from tests.helm.snapshots import CASES, FOLDER, snapshot, values

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")

LABELS = {"steadybit.com/extension": "true", "steadybit.com/discovery-disabled": "true"}
ANNOTATION = "steadybit.com/extension-auto-registration"
DIGEST = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
CUSTOM = ("monitoring.coreos.com/", "keda.sh/")  # resources of which Kubernetes has no schema
POSTGRESQL = {"database": {"existingSecret": "oncall-database"}}


@pytest.mark.parametrize("case", CASES)
def test_renders_what_was_looked_at(case):
    expected = FOLDER / f"{case}.txt"
    assert snapshot(case) == expected.read_text(encoding="utf-8"), "look at it after: python -m tests.helm.snapshots"


def test_no_snapshot_is_left_over():
    assert {file.stem for file in FOLDER.iterdir()} == set(CASES)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_kubernetes_takes_every_manifest(case, version):
    checked = set()
    for manifest in manifests(values(case)):
        if manifest["apiVersion"].startswith(CUSTOM):
            continue
        kubernetes_validate.validate(manifest, version, strict=True)
        checked.add(manifest["kind"])
    assert {"Deployment", "Service"} <= checked


@pytest.mark.parametrize("case", CASES)
def test_helm_finds_nothing_to_complain_of(case):
    report = helm.lint(CHART, values(case), strict=True)
    assert report["errors"] == []
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]


def test_the_chart_can_be_packaged(tmp_path):
    archive = helm.package(CHART, destination=tmp_path)
    with helm.Chart.load(archive) as packaged:
        assert packaged.version == yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
        assert packaged.render(name=RELEASE).keys() >= {"extension/templates/web.yaml"}


@pytest.mark.parametrize("case", CASES)
class TestEveryManifest:
    def test_has_a_name_of_its_own_and_the_labels(self, case):
        documents = manifests(values(case))
        names = [(document["kind"], document["metadata"]["name"]) for document in documents]
        assert len(set(names)) == len(names)
        for document in documents:
            assert document["metadata"]["namespace"] == "steadybit-agent"
            assert LABELS.items() <= document["metadata"]["labels"].items()

    def test_selects_the_pods_it_is_about(self, case):
        documents = manifests(values(case))
        deployments = [document for document in documents if document["kind"] == "Deployment"]
        pods = {
            document["metadata"]["labels"]["app.kubernetes.io/component"]: document["spec"]["template"]["metadata"]
            for document in deployments
        }
        for document in deployments:
            component = document["metadata"]["labels"]["app.kubernetes.io/component"]
            wanted = document["spec"]["selector"]["matchLabels"]
            assert [name for name, pod in pods.items() if wanted.items() <= pod["labels"].items()] == [component]
            assert LABELS.items() <= pods[component]["labels"].items()
        called = find(documents, "Service")["spec"]["selector"]
        assert [name for name, pod in pods.items() if called.items() <= pod["labels"].items()] == ["web"]

    def test_restricts_what_a_container_may(self, case):
        for _, spec in pod_specs(manifests(values(case))):
            assert spec["enableServiceLinks"] is False
            assert spec["automountServiceAccountToken"] is False
            assert spec["securityContext"]["runAsNonRoot"] is True
            assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            rights = container(spec)["securityContext"]
            assert rights["readOnlyRootFilesystem"] is True
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}

    def test_mounts_every_volume_once(self, case):
        for _, spec in pod_specs(manifests(values(case))):
            volumes = [volume["name"] for volume in spec.get("volumes", [])]
            mounts = container(spec).get("volumeMounts", [])
            assert sorted(mount["name"] for mount in mounts) == sorted(volumes)
            assert len({mount["mountPath"] for mount in mounts}) == len(mounts)

    def test_tells_agents_which_ports_to_spare(self, case):
        """Agents read container ports and the ports of HTTP probes, and only numbers."""
        for document, spec in pod_specs(manifests(values(case))):
            if document["kind"] != "Deployment":
                continue
            ports = {port["containerPort"] for port in container(spec)["ports"]}
            set_ports = environment(spec)
            health = int(set_ports["STEADYBIT_EXTENSION_HEALTH_PORT"])
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert container(spec)[probe]["httpGet"]["port"] == health
            is_web = document["metadata"]["labels"]["app.kubernetes.io/component"] == "web"
            serving = [name for name in ("STEADYBIT_EXTENSION_PORT", "EXTENSION_EVENT_LOG_PORT") if name in set_ports]
            assert ports == {health, *([int(set_ports[name]) for name in serving] if is_web else [])}

    def test_stops_later_than_the_kit_does(self, case):
        for document, spec in pod_specs(manifests(values(case))):
            if document["kind"] == "Deployment":
                sleep = container(spec).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
                grace = int(environment(spec)["EXTENSION_GRACE_PERIOD"])
                assert spec["terminationGracePeriodSeconds"] >= sleep + grace + 10


@pytest.mark.parametrize(
    ("given", "registered"),
    [
        ({}, {"port": 8080, "protocol": "http"}),
        ({"port": 9000}, {"port": 9000, "protocol": "http"}),
        ({"registration": {"path": "/oncall"}}, {"path": "/oncall", "port": 8080, "protocol": "http"}),
        ({"tls": {"server": {"certificate": {"fromSecret": "tls"}}}}, {"port": 8080, "protocol": "https"}),
        (
            {"tls": {"server": {"certificate": {"path": "/tls.crt", "key": {"path": "/tls.key"}}}}},
            {"port": 8080, "protocol": "https"},
        ),
    ],
)
def test_agents_find_the_service(given, registered):
    service = find(manifests(given), "Service")
    assert json.loads(service["metadata"]["annotations"][ANNOTATION]) == {"extensions": [registered]}
    (port,) = service["spec"]["ports"]
    assert port["port"] == port["targetPort"] == registered["port"]


def test_agents_do_not_find_what_is_not_to_be_registered():
    assert "annotations" not in find(manifests({"registration": {"enabled": False}}), "Service")["metadata"]


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ({}, None),
        ({"extension": "announce"}, ["extensions/announce"]),
        ({"readyMade": ["pager", "announce"]}, ["extensions/pager", "extensions/announce"]),
        (
            {"extension": "announce", "readyMade": ["pager", "announce"], "handlers": {"image": ["oncall.py"]}},
            ["extensions/announce", "extensions/pager", "oncall.py"],
        ),
        ({"handlers": {"image": ["oncall.py", "company.oncall"]}}, ["oncall.py", "company.oncall"]),
        (
            {"extension": "pager", "handlers": {"inline": {"b.py": "x", "a.py": "y"}, "image": ["c.py"]}},
            ["extensions/pager", "c.py", "/etc/extension/handlers/a.py", "/etc/extension/handlers/b.py"],
        ),
        (
            {"handlers": {"inline": {"b.py": "x", "a.py": "y"}, "files": ["b.py"]}},
            ["/etc/extension/handlers/b.py"],
        ),
        (
            {"handlers": {"existingConfigMap": "mine", "files": ["b.py"]}},
            ["/etc/extension/handlers/b.py"],
        ),
    ],
)
def test_serves_what_it_is_told_to(given, command):
    spec = find(manifests(given), "Deployment")["spec"]["template"]["spec"]
    assert container(spec).get("command") == (command and ["extension-kit", "serve", *command])


def test_leaves_deliveries_to_workers_where_there_are_some():
    documents = manifests(POSTGRESQL | {"extension": "announce", "worker": {"enabled": True, "replicas": 4}})
    web, worker = (find(documents, "Deployment", ending)["spec"] for ending in ("", "-worker"))
    commands = [container(deployment["template"]["spec"])["command"] for deployment in (web, worker)]
    assert commands == [
        ["extension-kit", "serve", "--no-worker", "extensions/announce"],
        ["extension-kit", "worker", "extensions/announce"],
    ]
    assert worker["replicas"] == 4


@pytest.mark.parametrize(
    ("given", "image", "policy"),
    [
        ({}, "extension-kit:0.1.0", "IfNotPresent"),
        ({"image": {"tag": "7", "pullPolicy": "Always"}}, "extension-kit:7", "Always"),
        ({"image": {"digest": DIGEST}}, f"extension-kit@{DIGEST}", "IfNotPresent"),
        ({"image": {"digest": DIGEST, "tag": "7"}}, f"extension-kit:7@{DIGEST}", "IfNotPresent"),
        ({"global": {"image": {"registry": "r", "pullPolicy": "Never"}}}, "r/extension-kit:0.1.0", "Never"),
        (
            {"global": {"image": {"pullPolicy": "Never"}}, "image": {"registry": "s", "pullPolicy": "Always"}},
            "s/extension-kit:0.1.0",
            "Always",
        ),
    ],
)
def test_every_pod_has_the_image_that_is_asked_for(given, image, policy):
    specs = [spec for _, spec in pod_specs(manifests(POSTGRESQL | given))]
    assert len(specs) == 3
    assert {(container(spec)["image"], container(spec)["imagePullPolicy"]) for spec in specs} == {(image, policy)}


def test_openshift_is_free_to_choose_the_user():
    """What its default for pods, restricted-v2, asks for, and nothing that it refuses."""
    for _, spec in pod_specs(manifests(values("openshift") | POSTGRESQL)):
        assert spec["securityContext"].keys() & {"runAsUser", "runAsGroup", "fsGroup"} == set()
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert container(spec)["securityContext"].keys() & {"runAsUser", "runAsGroup"} == set()


def test_accounts_of_clouds_are_named_in_annotations():
    given = {"serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/oncall"}}}
    account = find(manifests(given), "ServiceAccount")
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/oncall"}


def test_labels_of_the_service_are_no_labels_of_its_pods():
    documents = manifests({"service": {"labels": {"team": "a"}}})
    assert find(documents, "Service")["metadata"]["labels"]["team"] == "a"
    assert "team" not in find(documents, "Service")["spec"]["selector"]
    assert "team" not in find(documents, "Deployment")["spec"]["template"]["metadata"]["labels"]


def test_containers_that_run_before_are_in_pods_that_stay():
    before = {"name": "wait", "image": "wait:1"}
    given = POSTGRESQL | {"extension": "announce", "worker": {"enabled": True}, "initContainers": [before]}
    found = {document["kind"]: spec.get("initContainers") for document, spec in pod_specs(manifests(given))}
    assert found == {"Deployment": [before], "Job": None, "Pod": None}


def test_one_pod_at_a_time_uses_the_file_of_sqlite():
    spec = find(manifests(), "Deployment")["spec"]
    assert spec["strategy"] == {"type": "Recreate"}
    assert spec["replicas"] == 1
    assert environment(spec["template"]["spec"])["EXTENSION_DATABASE_URL"] == "sqlite:////data/extension.db"


def test_the_number_of_pods_is_left_to_the_autoscaler():
    spec = find(manifests(POSTGRESQL | {"autoscaling": {"enabled": True}}), "Deployment")["spec"]
    assert "replicas" not in spec
    assert spec["strategy"]["type"] == "RollingUpdate"


def test_the_number_of_workers_is_left_to_keda():
    documents = manifests(values("watched"))
    worker = find(documents, "Deployment", "-worker")
    assert "replicas" not in worker["spec"]
    scaled = find(documents, "ScaledObject", "-worker")["spec"]
    assert scaled["scaleTargetRef"] == {
        "apiVersion": worker["apiVersion"], "kind": "Deployment", "name": worker["metadata"]["name"]
    }  # fmt: skip
    (trigger,) = scaled["triggers"]
    authentication = find(documents, "TriggerAuthentication", "-worker")
    assert trigger["authenticationRef"] == {"name": authentication["metadata"]["name"]}
    (parameter,) = authentication["spec"]["secretTargetRef"]
    assert parameter == {"parameter": "connection", "name": "oncall-database", "key": "url"}


def test_the_migration_uses_nothing_of_the_release_which_comes_later():
    given = values("ready-made") | POSTGRESQL | {"handlers": {"inline": {"a.py": "x"}, "image": ["b.py"]}}
    documents = manifests(given)
    job, secret = find(documents, "Job", "-migration"), find(documents, "Secret", "-migration")
    for hook in (job, secret):
        assert hook["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert int(secret["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0  # before the job
    made = {
        document["metadata"]["name"]
        for document in documents
        if document["kind"] in ("Secret", "ConfigMap", "ServiceAccount") and document is not secret
    }
    assert made == {"oncall-extension", "oncall-extension-handlers"}
    spec = job["spec"]["template"]["spec"]
    assert "serviceAccountName" not in spec
    used = json.dumps(spec["volumes"])
    assert [name for name in made if f'"{name}"' in used] == []
    assert container(spec)["command"] == ["extension-kit", "db", "upgrade", "extensions/croneye", "b.py"]


def test_modules_find_their_settings_and_secrets_in_the_migration_too():
    """They are loaded there, and may read them at once."""
    documents = manifests(values("ready-made") | POSTGRESQL)
    serving = find(documents, "Deployment")["spec"]["template"]["spec"]
    migrating = find(documents, "Job", "-migration")["spec"]["template"]["spec"]
    assert environment(migrating) == environment(serving)
    files = [
        {item["path"] for source in volume["projected"]["sources"] for item in source["secret"]["items"]}
        for spec in (serving, migrating)
        for volume in spec["volumes"]
        if volume["name"] == "secrets"
    ]
    assert files[0] == files[1] == {
        "EXTENSION_DATABASE_URL", "EXTENSION_CRONEYE_TOKEN", "EXTENSION_CRONEYE_ADMIN_PASSWORD"
    }  # fmt: skip
    assert find(documents, "Secret")["stringData"] == find(documents, "Secret", "-migration")["stringData"]


def test_no_migration_where_it_is_not_wanted():
    documents = manifests({"database": {"existingSecret": "oncall-database", "migrate": False}})
    assert not any(document["kind"] == "Job" for document in documents)
    assert "extension-kit db upgrade" in render({"database": {"existingSecret": "x", "migrate": False}})["NOTES.txt"]


def test_secrets_are_files_and_in_no_description():
    documents = manifests(
        {"secrets": {"TOKEN": {"value": "hush-hush"}, "OTHER": {"existingSecret": "mine", "key": "k"}}}
    )
    found = [document["kind"] for document in documents if "hush-hush" in json.dumps(document)]
    assert found == ["Secret"]
    assert find(documents, "Secret")["stringData"] == {"TOKEN": "hush-hush"}
    spec = find(documents, "Deployment")["spec"]["template"]["spec"]
    assert environment(spec)["TOKEN_FILE"] == "/etc/extension/secrets/TOKEN"
    sources = next(volume for volume in spec["volumes"] if volume["name"] == "secrets")["projected"]["sources"]
    assert [(source["secret"]["name"], source["secret"]["items"]) for source in sources] == [
        ("mine", [{"key": "k", "path": "OTHER"}]),
        ("oncall-extension", [{"key": "TOKEN", "path": "TOKEN"}]),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"handlers": {"inline": {"a.py": "x = 1"}}}, {"handlers": {"inline": {"a.py": "x = 2"}}}),
        ({"secrets": {"TOKEN": {"value": "one"}}}, {"secrets": {"TOKEN": {"value": "two"}}}),
    ],
)
def test_changed_configuration_starts_new_pods(before, after):
    def pod(given):
        text = json.dumps(find(manifests(given), "Deployment")["spec"]["template"])
        return hashlib.sha256(text.encode()).hexdigest()

    assert pod(before) == pod(before)
    assert pod(before) != pod(after)


@pytest.mark.parametrize(
    ("value", "text"),
    [(8388608, "8388608"), (100_000_000, "100000000"), (0.5, "0.5"), (True, "true"), ("007", "007"), ("", "")],
)
def test_settings_are_written_as_they_were_meant(value, text):
    spec = find(manifests({"settings": {"SETTING": value}}), "Deployment")["spec"]["template"]["spec"]
    assert environment(spec)["SETTING"] == text


@pytest.mark.parametrize("release", ["extension-oncall", "oncall", "x" * 53])
def test_names_are_short_enough_for_everything(release):
    given = POSTGRESQL | {"extension": "announce", "worker": {"enabled": True}, "serviceMonitor": {"enabled": True}}
    names = [document["metadata"]["name"] for document in manifests(given, release)]
    assert all(len(name) <= 63 for name in names)
    assert ("extension-oncall" in names) == (release == "extension-oncall")


SQLITE = "the database is SQLite, a file on a volume that only one pod may use"


WORKERS = POSTGRESQL | {"extension": "announce"}
BY_PROMETHEUS = {"enabled": True, "source": "prometheus", "prometheusAddress": "http://prometheus:9090"}
UNKNOWN_SERIES = "nothing says what Prometheus knows the series of this release by: set serviceMonitor.enabled to true"


REFUSED = [
    ({"eventLog": {"enabled": True}}, "nobody could log in: give secrets.EXTENSION_EVENT_LOG_PASSWORD"),
    *(
        ({"eventLog": {"enabled": True, "port": port}}, f"eventLog.port is {port}, which port or healthPort is, too")
        for port in (8080, 8081)
    ),
    (
        {"settings": {"EXTENSION_EVENT_LOG_PORT": 8082}},
        "set by the chart itself: use eventLog.enabled and eventLog.port",
    ),
    ({"replicas": 2}, f"replicas is 2, but {SQLITE}: keep it at 1, or name a Secret"),
    ({"autoscaling": {"enabled": True}}, f"autoscaling.enabled is true, but {SQLITE}: name a Secret"),
    ({"extension": "announce", "worker": {"enabled": True}}, f"worker.enabled is true, but {SQLITE}"),
    ({"worker": {"keda": {"enabled": True}}}, f"worker.keda.enabled is true, but {SQLITE}: name a Secret"),
    (
        WORKERS | {"worker": {"keda": {"enabled": True}}},
        "worker.keda.enabled is true, but worker.enabled is false, so that there are no pods of workers",
    ),
    (
        WORKERS | {"worker": {"enabled": True, "keda": {"enabled": True, "minReplicas": 9}}},
        "worker.keda.minReplicas is 9, more than worker.keda.maxReplicas, which is 8",
    ),
    (
        WORKERS | {"worker": {"enabled": True, "keda": BY_PROMETHEUS | {"prometheusAddress": ""}}},
        "worker.keda.source is prometheus, but nothing says where that is",
    ),
    (
        WORKERS | {"worker": {"enabled": True, "keda": BY_PROMETHEUS | {"deliveriesPerWorker": 2000}}},
        "worker.keda.deliveriesPerWorker is 2000, which for worker.keda.maxReplicas (8) is more than 10000 deliveries",
    ),
    (
        WORKERS | {"worker": {"enabled": True, "keda": BY_PROMETHEUS}},
        f"worker.keda.source is prometheus, but {UNKNOWN_SERIES}",
    ),
    ({"prometheusRule": {"enabled": True}}, f"prometheusRule.enabled is true, but {UNKNOWN_SERIES}"),
    (
        {"database": {"persistence": {"enabled": False, "existingClaim": "mine"}}},
        "existingClaim is given, but database.persistence.enabled is false",
    ),
    (
        POSTGRESQL | {"worker": {"enabled": True}},
        "nothing says what web pods and workers are to load, which the image's own command does not tell",
    ),
    (
        POSTGRESQL | {"autoscaling": {"enabled": True, "minReplicas": 9}},
        "autoscaling.minReplicas is 9, more than autoscaling.maxReplicas, which is 5",
    ),
    (
        POSTGRESQL | {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}},
        "resources.requests.cpu is not set, of which autoscaling.targetCPUUtilizationPercentage is a share",
    ),
    ({"enabled": False}, "enabled is false, which only the chart that depends on this one can act upon"),
    (
        {"service": {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4", "IPv6"]}},
        "service.ipFamilyPolicy is SingleStack, but service.ipFamilies names two",
    ),
    ({"healthPort": 8080}, "port and healthPort are both 8080: two different ports are needed"),
    (
        {"handlers": {"inline": {"a.py": "x"}, "existingConfigMap": "mine"}},
        "handlers.inline and handlers.existingConfigMap are both given: only one ConfigMap is mounted",
    ),
    (
        {"handlers": {"existingConfigMap": "mine"}},
        "handlers.files does not say which of its files to serve: the chart cannot look into it",
    ),
    ({"handlers": {"files": ["a.py"]}}, "handlers.files is given, but no ConfigMap to find them in"),
    (
        {"handlers": {"inline": {"a.py": "x"}, "files": ["b.py"]}},
        "handlers.files names b.py, which is not in handlers.inline",
    ),
    (
        {"tls": {"server": {"certificate": {"fromSecret": "a", "path": "/b"}}}},
        "tls.server.certificate.fromSecret and tls.server.certificate.path are both given",
    ),
    (
        {"tls": {"server": {"certificate": {"path": "/b"}}}},
        "tls.server.certificate.path and tls.server.certificate.key.path are needed together",
    ),
    (
        {"tls": {"server": {"certificate": {"key": {"path": "/b"}}}}},
        "tls.server.certificate.path and tls.server.certificate.key.path are needed together",
    ),
    (
        {"tls": {"client": {"certificates": {"fromSecrets": ["agents"]}}}},
        "asks agents for certificates, which needs TLS: set tls.server.certificate, too",
    ),
    ({"secrets": {"A": {"value": "x"}}, "settings": {"A": "y"}}, "A is in settings and in secrets"),
    ({"secrets": {"A": {}}}, "secrets.A needs either value, or existingSecret and key"),
    (
        {"secrets": {"A": {"value": "x", "existingSecret": "s", "key": "k"}}},
        "secrets.A needs either value, or existingSecret and key",
    ),
    ({"secrets": {"A": {"existingSecret": "s"}}}, "secrets.A needs existingSecret and key together"),
    ({"secrets": {"A": {"value": "x", "key": "k"}}}, "secrets.A needs existingSecret and key together"),
    (
        {"secrets": {"EXTENSION_DATABASE_URL": {"value": "postgresql://x"}}},
        "EXTENSION_DATABASE_URL is set by the chart itself: use database.existingSecret",
    ),
    (
        {"secrets": {"EXTENSION_DATABASE_DIRECT_URL": {"value": "postgresql://x"}}},
        "EXTENSION_DATABASE_DIRECT_URL is set by the chart itself: use database.direct.existingSecret",
    ),
    (
        {"database": {"direct": {"existingSecret": "x"}}},
        "database.direct.existingSecret is given, but the database is SQLite, a file on a volume that only one pod",
    ),
    (
        {"settings": {"STEADYBIT_EXTENSION_PORT": 80}},
        "STEADYBIT_EXTENSION_PORT is set by the chart itself: use port",
    ),
    (
        {"settings": {"TOKEN_FILE": "/x"}},
        "TOKEN_FILE names a file: give its content as secrets.TOKEN, which the chart mounts",
    ),
    (
        {"settings": {"STEADYBIT_EXTENSION_BASIC_USERNAME": "agent"}},
        "an annotation cannot tell agents a user name and a password: set registration.enabled to false",
    ),
]


@pytest.mark.parametrize(("given", "sentence"), REFUSED)
def test_what_cannot_work_together_is_refused_with_the_reason(given, sentence):
    with pytest.raises(helm.HelmRenderError) as refused:
        render(given)
    assert sentence in str(refused.value)


class TestTheEventLog:
    GIVEN = values("event-log")

    def test_is_served_by_the_pods_that_answer_agents(self):
        documents = manifests(self.GIVEN)
        web, worker = (
            environment(find(documents, "Deployment", ending)["spec"]["template"]["spec"]) for ending in ("", "-worker")
        )
        assert web["EXTENSION_EVENT_LOG_PORT"] == "8082"
        assert web["EXTENSION_EVENT_LOG_READ_ONLY"] == "true"
        assert web["EXTENSION_EVENT_LOG_PASSWORD_FILE"] == "/etc/extension/secrets/EXTENSION_EVENT_LOG_PASSWORD"
        assert "EXTENSION_EVENT_LOG_PORT" not in worker

    def test_is_reached_through_no_service_and_no_network(self):
        documents = manifests(self.GIVEN)
        (port,) = find(documents, "Service")["spec"]["ports"]
        assert port["port"] == 8080
        allowed = [
            port["port"] for rule in find(documents, "NetworkPolicy")["spec"]["ingress"] for port in rule["ports"]
        ]
        assert allowed == [8080, 8081]
        assert "EXTENSION_EVENT_LOG_ADDRESS" not in json.dumps(documents)  # the default is a loopback address

    def test_the_notes_say_how_to_reach_it(self):
        notes = render(self.GIVEN)["NOTES.txt"]
        command = "kubectl --namespace steadybit-agent port-forward deployment/oncall-extension 8082\n"
        assert "http://localhost:8082" in notes
        assert command in notes
        assert "port-forward" not in render()["NOTES.txt"]

    def test_its_password_may_be_a_value(self):
        password = {"EXTENSION_EVENT_LOG_PASSWORD": {"value": "correct horse"}}
        secret = find(manifests({"eventLog": {"enabled": True}, "secrets": password}), "Secret")
        assert secret["stringData"] == {"EXTENSION_EVENT_LOG_PASSWORD": "correct horse"}

    def test_a_proxy_may_take_the_place_of_a_password(self):
        header = {"EXTENSION_EVENT_LOG_TRUSTED_HEADER": "X-Forwarded-User"}
        assert manifests({"eventLog": {"enabled": True}, "settings": header})


@pytest.mark.parametrize(
    ("given", "place", "problem"),
    [
        ({"eventLog": {"password": "x"}}, "'/eventLog'", "'password' not allowed"),
        ({"replica": 2}, "''", "'replica' not allowed"),
        ({"database": {"url": "postgresql://x"}}, "'/database'", "'url' not allowed"),
        ({"enabled": "yes"}, "'/enabled'", "got string, want boolean"),
        ({"image": {"digest": "e3b0c442"}}, "'/image/digest'", "does not match pattern"),
        ({"image": {"pullPolicy": "Often"}}, "'/image/pullPolicy'", "value must be one of"),
        ({"global": {"image": {"pullPolicy": "Often"}}}, "'/global/image/pullPolicy'", "value must be one of"),
        ({"service": {"ipFamilies": ["IPv5"]}}, "'/service/ipFamilies/0'", "value must be one of 'IPv4', 'IPv6'"),
        ({"dnsConfig": {"policy": "None"}}, "'/dnsConfig'", "'policy' not allowed"),
        ({"replicas": "2"}, "'/replicas'", "got string, want integer"),
        ({"replicas": -1}, "'/replicas'", "minimum"),
        ({"port": 70_000}, "'/port'", "maximum"),
        ({"logging": {"level": "loud"}}, "'/logging/level'", "value must be one of 'TRACE'"),
        ({"handlers": {"inline": {"on-call.py": "x"}}}, "''", "invalid propertyName 'on-call.py'"),
        ({"handlers": {"image": ["--reload"]}}, "'/handlers/image/0'", "does not match pattern"),
        ({"extension": "../secrets"}, "'/extension'", "does not match pattern"),
        ({"readyMade": ["../secrets"]}, "'/readyMade/0'", "does not match pattern"),
        ({"readyMade": ["pager", "pager"]}, "'/readyMade'", "items at 0 and 1 are equal"),
        ({"readyMade": "pager"}, "'/readyMade'", "got string, want array"),
        ({"registration": {"path": "oncall"}}, "'/registration/path'", "does not match pattern"),
        ({"settings": {"my-setting": 1}}, "''", "invalid propertyName 'my-setting'"),
        ({"secrets": {"TOKEN": "plain"}}, "'/secrets/TOKEN'", "got string, want object"),
        ({"probes": {"liveness": {"httpGet": {}}}}, "'/probes/liveness'", "'httpGet' not allowed"),
        ({"worker": {"keda": {"maxReplicas": 33}}}, "'/worker/keda/maxReplicas'", "maximum"),
        ({"worker": {"keda": {"minReplicas": 0}}}, "'/worker/keda/minReplicas'", "minimum"),
        (
            {"worker": {"keda": {"source": "cpu"}}},
            "'/worker/keda/source'",
            "value must be one of 'postgresql', 'prometheus'",
        ),
        ({"seriesMatchers": '{job="a"}'}, "'/seriesMatchers'", "does not match pattern"),
        ({"prometheusRule": {"runbooks": "x#y"}}, "'/prometheusRule/runbooks'", "does not match pattern"),
        ({"database": {"persistence": {"size": "2 GB"}}}, "'/database/persistence/size'", "does not match pattern"),
    ],
)
def test_what_is_not_known_is_refused_where_it_stands(given, place, problem):
    with pytest.raises(helm.HelmError) as refused:
        render(given)
    assert f"at {place}" in str(refused.value)
    assert problem in str(refused.value)


def test_every_refusal_is_tried():
    source = (CHART / "templates/_refusals.tpl").read_text()
    sentences = re.findall(r'fail (?:\(printf )?"([^"]+)"', source)
    assert len(sentences) == source.count("{{- fail ")
    patterns = {sentence: re.sub("%[ds]", ".+", re.escape(sentence)) for sentence in sentences}
    raised = set()
    for given, _ in REFUSED:
        with pytest.raises(helm.HelmRenderError) as refused:
            render(given)
        raised |= {sentence for sentence, pattern in patterns.items() if re.search(pattern, str(refused.value))}
    assert raised == set(sentences)


@pytest.mark.parametrize("case", CASES)
def test_notes_say_only_what_is_there(case):
    given = values(case)
    notes = render(given)["NOTES.txt"]
    documents = manifests(given)
    has_test = any(document["kind"] == "Pod" for document in documents)
    assert ("helm --namespace steadybit-agent test" in notes) == has_test
    annotations = find(documents, "Service")["metadata"].get("annotations", {})
    assert ("Agents find it by themselves" in notes) == (ANNOTATION in annotations)
    lost = any("emptyDir" in volume for _, spec in pod_specs(documents) for volume in chain(spec.get("volumes", []))
               if volume["name"] == "data")  # fmt: skip
    assert ("are lost with the pod" in notes) == lost
