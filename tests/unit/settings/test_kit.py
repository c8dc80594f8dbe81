"""The kit's own settings: defaults, what goes together, misspelt names, and the table of the README."""

import dataclasses
import os
from ipaddress import ip_network

import pytest

from extension_kit.errors import SettingError
from extension_kit.settings.declare import TEXT, TRUE_OR_FALSE, Section, setting
from extension_kit.settings.environment import idle_variables, unknown_variables
from extension_kit.settings.kit import EVENT_LOG, SERVE, WORKER, WSGI, Settings
from extension_kit.settings.readme_table import settings_markdown, settings_table, with_settings_table

CERT, KEY = "STEADYBIT_EXTENSION_TLS_SERVER_CERT", "STEADYBIT_EXTENSION_TLS_SERVER_KEY"
CLIENT_CAS = "STEADYBIT_EXTENSION_TLS_CLIENT_CAS"
USERNAME, PASSWORD = "STEADYBIT_EXTENSION_BASIC_USERNAME", "STEADYBIT_EXTENSION_BASIC_PASSWORD"
NETWORKS, SENDER = "EXTENSION_DELIVERY_ALLOW_NETWORKS", "EXTENSION_SMTP_SENDER"
PORT, HEALTH_PORT = "STEADYBIT_EXTENSION_PORT", "STEADYBIT_EXTENSION_HEALTH_PORT"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment without any setting."""
    for variable in os.environ:
        if variable.startswith(("EXTENSION_", "STEADYBIT_")):
            monkeypatch.delenv(variable)
    return monkeypatch


@dataclasses.dataclass(frozen=True)
class OtherSettings:
    quiet: bool = setting("EXTENSION_PULP_QUIET", True, TRUE_OR_FALSE, "Say less.")
    url: str = setting("EXTENSION_PULP_URL", "", TEXT, "Where it is.")


def test_defaults() -> None:
    assert Settings.from_environment() == Settings()
    assert dataclasses.asdict(Settings()) == {
        "port": 8080,
        "health_port": 8081,
        "bind_address": "::",
        "unix_socket": "",
        "unix_socket_mode": "0660",
        "tls_server_cert": "",
        "tls_server_key": "",
        "tls_client_cas": (),
        "basic_username": "",
        "basic_password": "",
        "validation": "tolerant",
        "log_level": "info",
        "log_format": "text",
        "log_color": None,
        "revision": "",
        "web_workers": 1,
        "web_threads": 16,
        "queue_limit": 1000,
        "worker_threads": 16,
        "worker_async_attempts": 1000,
        "worker_niceness": None,
        "function_timeout": 60.0,
        "stalled_after": 30.0,
        "max_body_bytes": 8_388_608,
        "max_inflight_megabytes": 64,
        "request_timeout": 30.0,
        "read_timeout": 30.0,
        "write_timeout": 30.0,
        "grace_period": 20.0,
        "max_connections": 1000,
        "keep_alive": 75.0,
        "duplicate_window": 3600.0,
        "duplicate_limit": 10_000,
        "database_url": "sqlite:///./extension.db",
        "database_direct_url": "",
        "store_timeout": 5.0,
        "retention_days": 30,
        "retention_megabytes": 1000,
        "delivery_timeout": 15.0,
        "delivery_allow_networks": (),
        "delivery_ca_file": "",
        "delivery_ca_folder": "",
        "delivery_proxy": "",
        "smtp_host": "",
        "smtp_port": 0,
        "smtp_security": "starttls",
        "smtp_username": "",
        "smtp_password": "",
        "smtp_sender": "",
        "event_log_port": None,
        "event_log_address": "127.0.0.1",
        "event_log_password": "",
        "event_log_open": "",
        "event_log_read_only": False,
        "event_log_raw": False,
        "event_log_trusted_header": "",
        "event_log_trusted_proxies": (),
        "event_log_hosts": (),
    }


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        (PORT, "9090", "port", 9090),
        (HEALTH_PORT, "0", "health_port", 0),
        ("EXTENSION_BIND_ADDRESS", "0.0.0.0", "bind_address", "0.0.0.0"),
        ("STEADYBIT_EXTENSION_UNIX_SOCKET", "/run/x.sock", "unix_socket", "/run/x.sock"),
        ("STEADYBIT_EXTENSION_VALIDATION", "Strict", "validation", "strict"),
        ("STEADYBIT_LOG_LEVEL", "WARNING", "log_level", "warn"),
        ("STEADYBIT_LOG_LEVEL", "Trace", "log_level", "trace"),
        ("STEADYBIT_LOG_FORMAT", "JSON", "log_format", "json"),
        ("STEADYBIT_LOG_COLOR", "true", "log_color", True),
        ("STEADYBIT_LOG_COLOR", "false", "log_color", False),
        ("EXTENSION_REQUEST_TIMEOUT", "2.5", "request_timeout", 2.5),
        (
            NETWORKS,
            "10.0.0.0/8, fd00::/8,",
            "delivery_allow_networks",
            (ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
        ),
        (NETWORKS, "127.0.0.1", "delivery_allow_networks", (ip_network("127.0.0.1/32"),)),
        ("EXTENSION_EVENT_LOG_PORT", "0", "event_log_port", 0),
        ("EXTENSION_EVENT_LOG_PASSWORD", "12345678", "event_log_password", "12345678"),
        ("EXTENSION_EVENT_LOG_OPEN", "Loopback", "event_log_open", "loopback"),
        ("EXTENSION_EVENT_LOG_TRUSTED_HEADER", "X-Forwarded-User", "event_log_trusted_header", "X-Forwarded-User"),
        ("EXTENSION_EVENT_LOG_HOSTS", "Events.example.com., log,", "event_log_hosts", ("events.example.com", "log")),
        ("EXTENSION_DELIVERY_TIMEOUT", "300", "delivery_timeout", 300.0),
        ("EXTENSION_SMTP_SECURITY", "TLS", "smtp_security", "tls"),
        ("EXTENSION_UNIX_SOCKET_MODE", "666", "unix_socket_mode", "0666"),
        (SENDER, "a@b.example", "smtp_sender", "a@b.example"),
        (SENDER, "Team A <a@b.example>", "smtp_sender", "Team A <a@b.example>"),
        ("EXTENSION_DATABASE_URL", "sqlite:////data/x.db", "database_url", "sqlite:////data/x.db"),
        ("EXTENSION_DATABASE_URL", "postgresql://h/d", "database_url", "postgresql+psycopg://h/d"),
        ("EXTENSION_DATABASE_URL", "postgres://u:p@h/d?a=b", "database_url", "postgresql+psycopg://u:p@h/d?a=b"),
    ],
)
def test_variables(environment: pytest.MonkeyPatch, variable: str, text: str, field: str, value: object) -> None:
    environment.setenv(variable, text)

    assert Settings.from_environment() == dataclasses.replace(Settings(), **{field: value})


def test_tls_variables(environment: pytest.MonkeyPatch) -> None:
    environment.setenv(CERT, "/tls/tls.crt")
    environment.setenv(KEY, "/tls/tls.key")
    environment.setenv(CLIENT_CAS, "/tls/ca.crt, /tls/more")

    settings = Settings.from_environment()

    assert settings.tls_server_cert == "/tls/tls.crt"
    assert settings.tls_server_key == "/tls/tls.key"
    assert settings.tls_client_cas == ("/tls/ca.crt", "/tls/more")


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({PORT: "abc"}, f'{PORT} is "abc": a whole number from 0 to 65535 is allowed'),
        ({PORT: "65536"}, f'{PORT} is "65536": a whole number from 0 to 65535 is allowed'),
        (
            {"STEADYBIT_LOG_LEVEL": "loud"},
            'STEADYBIT_LOG_LEVEL is "loud": trace, debug, info, warn or error is allowed',
        ),
        *(
            (
                {"EXTENSION_UNIX_SOCKET_MODE": mode},
                f'EXTENSION_UNIX_SOCKET_MODE is "{mode}": an octal number such as 0660 is allowed',
            )
            for mode in ("0o660", "rw", "980", "1777", "66")
        ),
        ({CERT: "a"}, f"{KEY} is not set: a TLS server key must be provided when TLS is enabled"),
        ({KEY: "a"}, f"{CERT} is not set: a TLS server certificate must be provided when TLS is enabled"),
        (
            {CLIENT_CAS: "a"},
            f"{CERT} is not set: a TLS server certificate must be provided when TLS is enabled; "
            f"{KEY} is not set: a TLS server key must be provided when TLS is enabled",
        ),
        ({USERNAME: "a"}, f"{PASSWORD} is not set: it must be provided with {USERNAME}"),
        ({PASSWORD: "hush"}, f"{USERNAME} is not set: it must be provided with {PASSWORD}"),
        ({USERNAME: "a:b", PASSWORD: "hush"}, f'{USERNAME} is "a:b": a name without a colon is allowed'),
        (
            {NETWORKS: "10.0.0.1/8"},
            f'{NETWORKS} is "10.0.0.1/8": networks such as 10.0.0.0/8 or fd00::/8, separated by commas is allowed',
        ),
        (
            {"EXTENSION_DELIVERY_TIMEOUT": "301"},
            'EXTENSION_DELIVERY_TIMEOUT is "301": a number of seconds from 0.1 to 300 is allowed',
        ),
        ({SENDER: "oncall"}, f'{SENDER} is "oncall": an address such as Oncall <oncall@example.com> is allowed'),
        ({"EXTENSION_SMTP_HOST": "mail"}, f"{SENDER} is not set: it must be provided with EXTENSION_SMTP_HOST"),
        (
            {"EXTENSION_SMTP_USERNAME": "kit"},
            "EXTENSION_SMTP_PASSWORD is not set: it must be provided with EXTENSION_SMTP_USERNAME",
        ),
        (
            {"EXTENSION_SMTP_PASSWORD": "hush"},
            "EXTENSION_SMTP_USERNAME is not set: it must be provided with EXTENSION_SMTP_PASSWORD",
        ),
        ({PORT: "8081"}, f"{PORT} and {HEALTH_PORT} are both 8081: two different ports are allowed"),
        *(
            (
                {variable: "8090", "EXTENSION_EVENT_LOG_PORT": "8090"},
                f"{variable} and EXTENSION_EVENT_LOG_PORT are both 8090: two different ports are allowed",
            )
            for variable in (PORT, HEALTH_PORT)
        ),
        (
            {"EXTENSION_EVENT_LOG_PASSWORD": "hush123"},
            "EXTENSION_EVENT_LOG_PASSWORD cannot be used: it has fewer than 8 characters",
        ),
        (
            {"EXTENSION_EVENT_LOG_OPEN": "true"},
            'EXTENSION_EVENT_LOG_OPEN is "true": loopback is allowed',
        ),
        (
            {"EXTENSION_EVENT_LOG_TRUSTED_HEADER": "X_Forwarded_User"},
            'EXTENSION_EVENT_LOG_TRUSTED_HEADER is "X_Forwarded_User": the name of a header, such as X-Forwarded-User '
            "is allowed",
        ),
        (
            {"EXTENSION_EVENT_LOG_HOSTS": "https://events.example.com"},
            'EXTENSION_EVENT_LOG_HOSTS is "https://events.example.com": names such as events.example.com, without '
            "ports, separated by commas is allowed",
        ),
        (
            {PORT: "x", "EXTENSION_WEB_WORKERS": "0"},
            f'{PORT} is "x": a whole number from 0 to 65535 is allowed; '
            'EXTENSION_WEB_WORKERS is "0": a whole number from 1 to 256 is allowed',
        ),
    ],
)
def test_problems(environment: pytest.MonkeyPatch, variables: dict[str, str], problem: str) -> None:
    for variable, value in variables.items():
        environment.setenv(variable, value)

    with pytest.raises(SettingError) as refused:
        Settings.from_environment()

    assert str(refused.value) == problem


@pytest.mark.parametrize("url", ["hush", "//hush", "sqlite:///:memory:", "sqlite:///hush?mode=memory"])
def test_database_urls_are_not_shown(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("EXTENSION_DATABASE_URL", url)

    with pytest.raises(SettingError) as refused:
        Settings.from_environment()

    assert str(refused.value) == (
        "EXTENSION_DATABASE_URL is set to something else: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE "
        "(in the password, @ is %40) is allowed"
    )
    assert "hush" not in repr(Settings(database_url="postgresql://u:hush@h/d"))


def test_a_database_of_another_kind_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("EXTENSION_DATABASE_URL", "mysql+pymysql://u:hush@h/d")

    with pytest.raises(SettingError) as refused:
        Settings.from_environment()

    assert str(refused.value) == (
        "EXTENSION_DATABASE_URL cannot be used: mysql is not supported, write sqlite:///FILE or "
        "postgresql://USER:PASSWORD@HOST/DATABASE (in the password, @ is %40)"
    )


@pytest.mark.parametrize(
    "variables",
    [
        {PORT: "0", HEALTH_PORT: "0", "EXTENSION_EVENT_LOG_PORT": "0"},
        {PORT: "8081", "UNIX_SOCKET": "/run/x.sock", "EXTENSION_EVENT_LOG_PORT": "8081"},
    ],
)
def test_ports_that_do_not_collide(environment: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for variable, value in variables.items():
        environment.setenv(variable.replace("UNIX", "STEADYBIT_EXTENSION_UNIX"), value)

    assert Settings.from_environment().port == int(variables[PORT])


@pytest.mark.parametrize(
    ("url", "given", "niceness"),
    [
        ("sqlite:///./extension.db", None, 0),
        ("postgresql://localhost/extension", None, 10),
        ("sqlite:///./extension.db", 5, 5),
        ("postgresql://localhost/extension", 0, 0),
    ],
)
def test_the_niceness_of_a_worker_is_that_of_its_store(url: str, given: int | None, niceness: int) -> None:
    assert Settings(database_url=url, worker_niceness=given).niceness_beside_server == niceness


def test_the_passwords_are_not_shown() -> None:
    settings = Settings(basic_username="agent", basic_password="hush", smtp_username="kit", smtp_password="hush")

    assert "agent" in repr(settings)
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("STEADYBIT_EXTENSION_PROT", "STEADYBIT_EXTENSION_PORT"),
        ("STEADYBIT_EXTENSION_HEALTHPORT", "STEADYBIT_EXTENSION_HEALTH_PORT"),
        ("STEADYBIT_EXTENSION_LOG_LEVEL", "STEADYBIT_LOG_LEVEL"),
        ("STEADYBIT_LOG_LEVL", "STEADYBIT_LOG_LEVEL"),
        ("STEADYBIT_EXTENSION_WEB_WORKERS", "EXTENSION_WEB_WORKERS"),
        ("EXTENSION_PORT", "STEADYBIT_EXTENSION_PORT"),
        ("EXTENSION_PULP_URI", "EXTENSION_PULP_URL"),
    ],
)
def test_misspelt_variables(environment: pytest.MonkeyPatch, variable: str, hint: str) -> None:
    environment.setenv(variable, "1")

    assert unknown_variables({"EXTENSION_PULP_URL"}) == [f"{variable} is not a setting: did you mean {hint}?"]


def test_variables_like_nothing_known_are_reported_under_our_prefix_alone(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("EXTENSION_FLUX_CAPACITOR", "1")
    environment.setenv("STEADYBIT_EXTENSION_API_KEY", "an extension's own setting")
    environment.setenv("OTHER_EXTENSION_PORT", "1")

    assert unknown_variables() == ["EXTENSION_FLUX_CAPACITOR is not a setting"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        (PORT, "8080"),
        ("STEADYBIT_EXTENSION_BASIC_PASSWORD_FILE", "/secret"),
        ("EXTENSION_PULP_URL", "http://pulp"),
        ("EXTENSION_PULP_URL_FILE", "/url"),
        ("EXTENSION_DELIVERY_CA_FILE", "/ca.pem"),
        # Kubernetes, for services called "extension-oncall" and "extension-health"
        ("EXTENSION_ONCALL_SERVICE_HOST", "10.0.0.1"),
        ("EXTENSION_ONCALL_SERVICE_PORT", "80"),
        ("EXTENSION_ONCALL_SERVICE_PORT_HTTP", "80"),
        ("EXTENSION_ONCALL_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("EXTENSION_ONCALL_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("EXTENSION_HEALTH_PORT", "tcp://10.0.0.1:80"),
    ],
)
def test_variables_that_are_not_misspelt(environment: pytest.MonkeyPatch, variable: str, value: str) -> None:
    environment.setenv(variable, value)

    assert unknown_variables({"EXTENSION_PULP_URL"}) == []


def test_table() -> None:
    table = {row.variable: (row.default, row.meaning) for row in settings_table(Settings)}

    assert len(table) == len(dataclasses.fields(Settings))
    assert table[PORT] == (
        "8080",
        "Port that agents call. 0 takes any free port. Allowed: a whole number from 0 to 65535.",
    )
    assert table["EXTENSION_GRACE_PERIOD"][0] == "20"
    assert table[CLIENT_CAS][0] == table[CERT][0] == table["STEADYBIT_LOG_COLOR"][0] == ""
    assert settings_table(OtherSettings) == [
        ("", "EXTENSION_PULP_QUIET", "true", "", "Say less. Allowed: true or false."),
        ("", "EXTENSION_PULP_URL", "", "", "Where it is."),
    ]


def test_defaults_in_the_table_are_allowed_values(environment: pytest.MonkeyPatch) -> None:
    for row in settings_table(Settings):
        environment.setenv(row.variable, row.default)

    assert Settings.from_environment() == Settings()


def test_markdown() -> None:
    assert settings_markdown(OtherSettings) == (
        "<!-- settings -->\n"
        "| variable | default | meaning |\n"
        "|---|---|---|\n"
        "| `EXTENSION_PULP_QUIET` | `true` | Say less. Allowed: true or false. |\n"
        "| `EXTENSION_PULP_URL` |  | Where it is. |\n"
        "<!-- /settings -->"
    )


def test_markdown_of_sections() -> None:
    pager = Section("Pager", ("serve", "WSGI"))

    @dataclasses.dataclass(frozen=True)
    class Sections:
        url: str = pager.setting("PAGER_URL", "", TEXT, "Pager's address.")
        loud: bool = pager.setting("PAGER_LOUD", True, TRUE_OR_FALSE, "It rings.", acts_in=("worker",))
        door: str = setting("DOOR", "front", TEXT, "Name of a door.", section="Doors", acts_in=("worker",))

    assert settings_markdown(Sections) == (
        "<!-- settings -->\n"
        "### Pager\n\n"
        "| variable | default | acts in | meaning |\n"
        "|---|---|---|---|\n"
        "| `PAGER_URL` |  | serve, WSGI | Pager's address. |\n"
        "| `PAGER_LOUD` | `true` | worker | It rings. Allowed: true or false. |\n\n"
        "### Doors\n\n"
        "| variable | default | acts in | meaning |\n"
        "|---|---|---|---|\n"
        "| `DOOR` | `front` | worker | Name of a door. |\n\n"
        "<!-- /settings -->"
    )
    assert {line.count("|") for line in settings_markdown(Settings).splitlines()[1:-1]} == {0, 5}
    titles = [line for line in settings_markdown(Settings).splitlines() if line.startswith("#")]
    assert len(titles) == len(set(titles))


def test_every_setting_of_the_kit_acts_somewhere() -> None:
    acts_in = {row.variable: row.acts_in for row in settings_table(Settings)}

    assert set(", ".join(acts_in.values()).split(", ")) == {SERVE, WORKER, EVENT_LOG, WSGI}
    assert acts_in[PORT] == "serve"
    assert acts_in[HEALTH_PORT] == "serve, worker"
    assert acts_in["EXTENSION_WORKER_THREADS"] == "worker, WSGI"
    assert acts_in["EXTENSION_DATABASE_URL"] == "serve, worker, event-log, WSGI"
    assert acts_in["EXTENSION_EVENT_LOG_PORT"] == "serve, event-log"


@pytest.mark.parametrize(
    ("program", "variables", "sentence"),
    [
        (
            WSGI,
            {PORT: "80", "EXTENSION_WEB_THREADS": "1", "EXTENSION_WORKER_THREADS": "1"},
            f"{PORT} does nothing under WSGI: `extension-kit event-log` serves the event log, and addresses, TLS, "
            "connections and log lines are up to the WSGI server",
        ),
        (
            WSGI,
            {"STEADYBIT_LOG_LEVEL": "warn", CERT + "_FILE": "/a", PORT: "80", KEY: ""},
            f"{PORT}, {CERT}_FILE and STEADYBIT_LOG_LEVEL do nothing under WSGI: `extension-kit event-log` serves the "
            "event log, and addresses, TLS, connections and log lines are up to the WSGI server",
        ),
        (WSGI, {USERNAME: "a", "EXTENSION_GRACE_PERIOD": "1", "STEADYBIT_EXTENSION_OTHER": "1"}, ""),
        (
            WORKER,
            {PORT: "80", HEALTH_PORT: "81", USERNAME: "a", "EXTENSION_WORKER_THREADS": "1"},
            f"{PORT} and {USERNAME} do nothing in a worker: `extension-kit serve` heeds the settings of requests",
        ),
        (
            SERVE,
            {PORT: "80", "EXTENSION_WORKER_THREADS": "1", "EXTENSION_DATABASE_URL": "x"},
            "EXTENSION_WORKER_THREADS does nothing in a server without a worker: `extension-kit worker` heeds the "
            "settings of deliveries",
        ),
        (SERVE, {}, ""),
        (
            EVENT_LOG,
            {"EXTENSION_EVENT_LOG_PORT": "80", "EXTENSION_DATABASE_URL": "x", PORT: "80"},
            f"{PORT} does nothing in an event log: `extension-kit serve` and `extension-kit worker` heed the other "
            "settings",
        ),
    ],
)
def test_settings_that_do_not_act(
    environment: pytest.MonkeyPatch, program: str, variables: dict[str, str], sentence: str
) -> None:
    for variable, value in variables.items():
        environment.setenv(variable, value)

    assert idle_variables(program) == sentence


def test_a_stale_table_is_renewed() -> None:
    readme = "# Title\n\n<!-- settings -->\nstale\n<!-- /settings -->\n\nMore.\n"

    renewed = with_settings_table(readme, Settings)

    assert renewed == f"# Title\n\n{settings_markdown(Settings)}\n\nMore.\n"
    assert with_settings_table(renewed, Settings) == renewed


@pytest.mark.parametrize(
    "readme",
    ["no table", "<!-- settings --> no end", "<!-- settings --><!-- /settings --><!-- settings --><!-- /settings -->"],
)
def test_a_text_without_one_table(readme: str) -> None:
    with pytest.raises(ValueError):
        with_settings_table(readme, Settings)
