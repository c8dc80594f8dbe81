"""What is printed for each way of registration, and the call of the agent's API against a real server."""

import base64
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from extension_kit.agent.address import Address
from extension_kit.agent.agent_api import AgentRefusedError, agent_key, call_agent_api
from extension_kit.agent.registration import WAYS, Registration, describe
from extension_kit.cli import commands
from extension_kit.errors import ConfigurationError

KEY = "AGENT-KEY-1"
URL = "http://extension-oncall.steadybit-agent.svc.cluster.local:8080"
SOCKET = "unix:/run/steadybit/extension-oncall.sock"


def registered(url: str, **options: object) -> Registration:
    return Registration(Address.parse(url), **options)


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner(env={"STEADYBIT_AGENT_KEY": None, "STEADYBIT_AGENT_KEY_FILE": None} | environment).invoke(
        commands, ["registration", *arguments]
    )


class TestAddress:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("http://localhost:8080", ("http://localhost:8080", "http", "localhost", 8080, "")),
            ("http://localhost:8080/", ("http://localhost:8080", "http", "localhost", 8080, "")),
            ("http://oncall", ("http://oncall", "http", "oncall", 80, "")),
            ("HTTPS://oncall/some/path", ("https://oncall/some/path", "https", "oncall", 443, "/some/path")),
            ("http://[::1]:8080/", ("http://[::1]:8080", "http", "::1", 8080, "")),
            ("unix:/run/oncall.sock", ("unix:/run/oncall.sock", "unix", "", 0, "/run/oncall.sock")),
            ("unix:///run/oncall.sock", ("unix:/run/oncall.sock", "unix", "", 0, "/run/oncall.sock")),
        ],
    )
    def test_is_read_from_a_url(self, url: str, expected: tuple[object, ...]) -> None:
        address = Address.parse(url)
        assert (address.url, address.scheme, address.host, address.port, address.path) == expected

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "localhost:8080",
            "http://",
            "http://:8080",
            "http://host:0",
            "http://host:65536",
            "http://host:port",
            "http://[::1",
            "ftp://host",
            "http://host/?query",
            "http://host/#fragment",
            "http://host/a b",
            "http://host/'",
            "http://host\nkey: value",
            "http://hôst",
            "unix:",
            "unix:/",
            "unix:/run/",
            "unix:run/oncall.sock",
            "unix://host/oncall.sock",
        ],
    )
    def test_refuses_what_agents_cannot_call(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="is not a URL"):
            Address.parse(url)

    @pytest.mark.parametrize("url", ["http://tom:secret@host", "http://tom:secret/1@host", "secret@host"])
    def test_refuses_credentials_without_repeating_them(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="--basic") as refusal:
            Address.parse(url)
        assert "secret" not in str(refusal.value)

    @pytest.mark.parametrize(
        ("url", "name"),
        [
            (URL, "extension-oncall"),
            ("http://oncall.example.com", "extension-oncall"),
            ("http://On_Call:8080", "extension-on-call"),
            ("http://localhost:8090", "extension-8090"),
            ("http://192.168.1.1:8080", "extension-8080"),
            ("https://[fe80::1]", "extension-443"),
            (SOCKET, "extension-oncall"),
        ],
    )
    def test_names_files_and_manifests(self, url: str, name: str) -> None:
        assert Address.parse(url).name == name


class TestKubernetes:
    @pytest.mark.parametrize(
        ("url", "annotation"),
        [
            # The value that Steadybit's documentation shows, byte for byte.
            ("http://oncall:8080/", '{"extensions":[{"port":8080,"protocol":"http"}]}'),
            ("https://oncall", '{"extensions":[{"port":443,"protocol":"https"}]}'),
            ("http://oncall:8080/a/b", '{"extensions":[{"port":8080,"protocol":"http","path":"/a/b"}]}'),
        ],
    )
    def test_annotates_the_service(self, url: str, annotation: str) -> None:
        service, _ = yaml.safe_load_all(registered(url).kubernetes())
        assert service["kind"] == "Service"
        assert service["metadata"] == {
            "name": "extension-oncall",
            "annotations": {"steadybit.com/extension-auto-registration": annotation},
        }

    def test_labels_deployment_and_pod_and_declares_the_ports(self) -> None:
        _, deployment = yaml.safe_load_all(registered("http://oncall:8090").kubernetes())
        labels = {"steadybit.com/extension": "true", "steadybit.com/discovery-disabled": "true"}
        pod = deployment["spec"]["template"]
        (container,) = pod["spec"]["containers"]
        assert deployment["metadata"]["labels"] == pod["metadata"]["labels"] == labels
        assert container["ports"] == [{"containerPort": 8090}]
        assert container["livenessProbe"]["httpGet"] == {"path": "/health/liveness", "port": 8081}
        assert container["readinessProbe"]["httpGet"] == {"path": "/health/readiness", "port": 8081}

    def test_says_which_namespace_agents_look_into(self) -> None:
        assert "agent.extensions.autoregistration.namespace" in registered(URL).kubernetes()


class TestEnvironment:
    def test_names_the_url(self) -> None:
        lines = registered(f"{URL}/").env().splitlines()
        assert lines[1:] == [f"STEADYBIT_AGENT_EXTENSIONS_REGISTRATIONS_0_URL={URL}"]

    def test_leaves_room_for_credentials_and_counts(self) -> None:
        variables = [line for line in registered(URL, index=2, basic=True).env().splitlines() if line[0] != "#"]
        assert variables == [
            f"STEADYBIT_AGENT_EXTENSIONS_REGISTRATIONS_2_URL={URL}",
            "STEADYBIT_AGENT_EXTENSIONS_REGISTRATIONS_2_BASIC_USERNAME=",
            "STEADYBIT_AGENT_EXTENSIONS_REGISTRATIONS_2_BASIC_PASSWORD=",
        ]


class TestFile:
    @pytest.mark.parametrize(
        ("url", "content"),
        [
            ("http://localhost:8080", {"url": "http://localhost:8080", "types": ["EVENT"]}),
            (SOCKET, {"unixSocket": "/run/steadybit/extension-oncall.sock", "types": ["EVENT"]}),
        ],
    )
    def test_names_the_endpoint(self, url: str, content: dict[str, object]) -> None:
        assert yaml.safe_load(registered(url).file()) == content

    def test_says_where_it_goes(self) -> None:
        assert "/etc/steadybit/extensions.d/extension-oncall.yaml" in registered(SOCKET).file().splitlines()[0]


class TestEcs:
    def test_tags_the_task(self) -> None:
        text = registered("http://oncall:8090").ecs()
        tags = json.loads("{" + text[text.index('"tags"') :] + "}")["tags"]
        assert {tag["key"]: tag["value"] for tag in tags} == {
            "steadybit_extension_port": "8090",
            "steadybit_extension_type": "EVENT",
            "steadybit.com/discovery-disabled": "true",
        }
        assert "STEADYBIT_EXTENSION_TASK_FAMILIES" in text

    @pytest.mark.parametrize("url", ["https://oncall", "http://oncall/path", SOCKET])
    def test_refuses_what_the_agent_would_not_call(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="without TLS and without a path; use --env or --agent-api"):
            registered(url).ecs()


class TestAgentApi:
    def test_body_is_what_auto_registration_sends(self) -> None:
        # The body that Steadybit's own auto-registration for Kubernetes sends, byte for byte.
        expected = (
            '{"url":"http://192.168.1.1:8080","restrictedPorts":{"8080":"ContainerPort","8081":"LivenessProbe",'
            '"8082":"ReadinessProbe"},"restrictedIps":["192.168.1.1"]}'
        )
        ports = {8080: "ContainerPort", 8081: "LivenessProbe", 8082: "ReadinessProbe"}
        text = registered("http://192.168.1.1:8080", restricted_ports=ports, restricted_ips=["192.168.1.1"]).agent_api()
        assert text.splitlines()[-1] == expected

    def test_body_is_small_without_restrictions(self) -> None:
        assert registered(URL).body() == {"url": URL}
        assert registered(SOCKET).body() == {"unixSocket": "/run/steadybit/extension-oncall.sock"}


class TestWays:
    @pytest.mark.parametrize("way", ["kubernetes", "env"])
    def test_some_know_no_sockets(self, way: str) -> None:
        with pytest.raises(ConfigurationError, match="use --file or --agent-api"):
            describe(registered(SOCKET), [way])

    @pytest.mark.parametrize("way", ["kubernetes", "file", "ecs", "agent-api"])
    def test_only_the_environment_carries_credentials(self, way: str) -> None:
        with pytest.raises(ConfigurationError, match="--env only"):
            describe(registered(URL, basic=True), [way])

    def test_all_are_described_where_none_is_asked_for(self) -> None:
        text = describe(registered(URL), [])
        headings = [line for line in text.splitlines() if line.startswith("## ")]
        assert headings == [f"## {heading}" for heading, _ in WAYS.values()]
        assert "Not possible" not in text

    def test_the_reason_stands_where_one_is_closed(self) -> None:
        sections = describe(registered(SOCKET), []).split("## ")[1:]
        closed = {section.splitlines()[0] for section in sections if "# Not possible: " in section}
        assert closed == {"Kubernetes", "Environment of the agent", "Amazon ECS"}


class TestAgentKey:
    @pytest.fixture(autouse=True)
    def _no_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("STEADYBIT_AGENT_KEY", raising=False)
        monkeypatch.delenv("STEADYBIT_AGENT_KEY_FILE", raising=False)

    def test_comes_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STEADYBIT_AGENT_KEY", KEY)
        assert agent_key() == KEY

    def test_comes_from_a_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "key").write_text(f"{KEY}\n")
        monkeypatch.setenv("STEADYBIT_AGENT_KEY_FILE", str(tmp_path / "key"))
        assert agent_key() == KEY

    def test_is_asked_for(self) -> None:
        with pytest.raises(ConfigurationError, match="set STEADYBIT_AGENT_KEY or STEADYBIT_AGENT_KEY_FILE"):
            agent_key()

    def test_file_that_cannot_be_read_is_named(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("STEADYBIT_AGENT_KEY_FILE", str(tmp_path / "missing"))
        with pytest.raises(ConfigurationError, match=r"STEADYBIT_AGENT_KEY_FILE is .*missing"):
            agent_key()


class Agent(ThreadingHTTPServer):
    """The agent's API as far as registrations go; records what it is asked and answers as it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), AgentHandler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: list[tuple[str, str, str | None, str | None, bytes]] = []
        self.status, self.answer, self.location = 200, b"", ""


class AgentHandler(BaseHTTPRequestHandler):
    server: Agent

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = (self.headers["Authorization"], self.headers["Content-Type"])
        self.server.requests.append((self.command, self.path, *headers, body))
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    do_POST = do_DELETE = do_GET = _answer

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def agent() -> Iterator[Agent]:
    with Agent() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class TestCallAgentApi:
    @pytest.mark.parametrize("method", ["POST", "DELETE"])
    @pytest.mark.parametrize("prefix", ["", "/", "/agent", "/agent/"])
    def test_sends_the_registration(self, agent: Agent, method: str, prefix: str) -> None:
        call_agent_api(method, agent.url + prefix, registered(URL), KEY)
        credentials = "Basic " + base64.b64encode(f"_:{KEY}".encode()).decode()
        path = f"{prefix.rstrip('/')}/extensions"
        assert agent.requests == [(method, path, credentials, "application/json", b'{"url":"%s"}' % URL.encode())]

    @pytest.mark.parametrize("status", [201, 204])
    def test_takes_any_success(self, agent: Agent, status: int) -> None:
        agent.status = status
        call_agent_api("POST", agent.url, registered(URL), KEY)

    def test_says_that_the_key_is_wrong(self, agent: Agent) -> None:
        agent.status = 401
        with pytest.raises(AgentRefusedError, match="answered 401: the agent key is wrong"):
            call_agent_api("POST", agent.url, registered(URL), KEY)

    @pytest.mark.parametrize(
        ("status", "answer", "shown"),
        [
            (400, b'{"title": "no such url"}', 'answered 400: {"title": "no such url"}'),
            (500, b"", "answered 500: (no text)"),
            (503, b"a\r\n\x1b[31mb\x00\xff", "answered 503: a [31mb \ufffd"),
            (422, b"x" * 5000, "answered 422: " + "x" * 500),
            (403, b"key " + KEY.encode(), "answered 403: key ***"),
        ],
    )
    def test_repeats_what_the_agent_says(self, agent: Agent, status: int, answer: bytes, shown: str) -> None:
        agent.status, agent.answer = status, answer
        with pytest.raises(AgentRefusedError) as refusal:
            call_agent_api("POST", agent.url, registered(URL), KEY)
        assert str(refusal.value) == f"the agent at {agent.url} {shown}"

    @pytest.mark.parametrize("status", [301, 302, 307])
    def test_follows_no_redirect(self, agent: Agent, status: int) -> None:
        agent.status, agent.location = status, f"{agent.url}/elsewhere"
        with pytest.raises(AgentRefusedError, match=f"answered {status}"):
            call_agent_api("POST", agent.url, registered(URL), KEY)
        assert len(agent.requests) == 1

    def test_says_that_nobody_listens(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with pytest.raises(
                AgentRefusedError, match=r"no answer from .*refused; is this the agent's API \(port 42899"
            ):
                call_agent_api("POST", f"http://127.0.0.1:{unused.getsockname()[1]}", registered(URL), KEY)

    def test_gives_up_on_an_agent_that_does_not_answer(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(AgentRefusedError, match="timed out"):
            call_agent_api("POST", f"http://127.0.0.1:{silent.getsockname()[1]}", registered(URL), KEY, timeout=0.2)

    def test_refuses_what_is_no_agent(self) -> None:
        with pytest.raises(ConfigurationError, match="expected http://AGENT:42899"):
            call_agent_api("POST", SOCKET, registered(URL), KEY)

    def test_refuses_an_extension_with_credentials(self, agent: Agent) -> None:
        with pytest.raises(ConfigurationError, match="--env only"):
            call_agent_api("POST", agent.url, registered(URL, basic=True), KEY)
        assert agent.requests == []


class TestCommand:
    def test_prints_all_ways(self) -> None:
        result = run(URL)
        assert (result.exit_code, result.stdout) == (0, describe(registered(URL), []))

    def test_prints_the_ways_that_are_asked_for(self) -> None:
        result = run("--env", "--index", "1", "--basic", URL)
        assert result.stdout == registered(URL, index=1, basic=True).env()
        result = run(
            "--file", "--agent-api", "--restricted-port", "8081", "LivenessProbe", "--restricted-ip", "::1", URL
        )
        extension = registered(URL, restricted_ports={8081: "LivenessProbe"}, restricted_ips=["::1"])
        assert result.stdout == f"{extension.file()}\n{extension.agent_api()}"

    @pytest.mark.parametrize("option", ["--kubernetes", "--env", "--file", "--ecs", "--agent-api"])
    def test_has_an_option_for_each_way(self, option: str) -> None:
        assert run(option, URL).stdout == WAYS[option[2:]][1](registered(URL))

    @pytest.mark.parametrize(("option", "method"), [("--register", "POST"), ("--unregister", "DELETE")])
    def test_tells_an_agent(self, agent: Agent, option: str, method: str) -> None:
        result = run(option, agent.url, URL, STEADYBIT_AGENT_KEY=KEY)
        assert result.exit_code == 0
        assert URL in result.stdout
        assert [request[0] for request in agent.requests] == [method]

    def test_fails_when_the_agent_refuses(self, agent: Agent) -> None:
        agent.status = 401
        result = run("--register", agent.url, URL, STEADYBIT_AGENT_KEY=KEY)
        assert result.exit_code == 1
        assert "the agent key is wrong" in result.stderr
        assert KEY not in result.output

    @pytest.mark.parametrize(
        "options",
        [("--register", "http://a", "--unregister", "http://a"), ("--register", "http://a", "--env")],
    )
    def test_does_one_thing_at_a_time(self, options: tuple[str, ...]) -> None:
        result = run(*options, URL, STEADYBIT_AGENT_KEY=KEY)
        assert result.exit_code == 2
        assert "cannot be combined" in result.stderr
