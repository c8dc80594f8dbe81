"""Requests of functions, made to real servers that behave, misbehave and are not there."""

import os
import random
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from extension_kit import ConfigurationError, GiveUp, NotReady, RetryLater, http
from tests.support.certificates import authority, ca_file, tls_for
from tests.support.receivers import TIMEOUT, drip, receiver, reply, server, silence
from tests.support.servers import free_port
from tests.support.small_proxy import SmallProxy

__all__ = ["authority", "ca_file", "receiver", "server", "tls_for"]  # fixtures
TOKEN = "glsa_0123456789abcdef"
ERRORS = (GiveUp, NotReady, RetryLater, http.CallFailed)


@pytest.fixture(autouse=True)
def allowed(monkeypatch):
    monkeypatch.setenv("EXTENSION_DELIVERY_ALLOW_NETWORKS", "127.0.0.0/8,::1/128")
    monkeypatch.setenv("EXTENSION_DELIVERY_TIMEOUT", str(TIMEOUT))


def client_of(there, path="", **options):
    return http.Client(there.url(path, "127.0.0.1"), **options)


def failure(client, path="/", method="GET", **options):
    with pytest.raises(ERRORS) as failed:
        client.request(method, path, **options)
    return failed.value


class TestWhatIsSent:
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
    def test_every_method_has_a_function(self, receiver, method):
        there = receiver()
        client = client_of(there, headers={"Authorization": f"Bearer {TOKEN}"})
        assert getattr(client, method.lower())("/api", headers={"X-Own": "1"}).status == 200
        (request,) = there.requests
        assert (request.method, request.path) == (method, "/api")
        assert (request.headers["authorization"], request.headers["x-own"]) == (f"Bearer {TOKEN}", "1")

    def test_json_is_encoded_and_named(self, receiver):
        there = receiver()
        client_of(there).post("/", json={"a": "ä"})
        (request,) = there.requests
        assert (request.body, request.headers["content-type"]) == ('{"a":"ä"}'.encode(), "application/json")

    def test_a_content_type_of_ones_own_stays(self, receiver):
        there = receiver()
        client_of(there, headers={"content-type": "application/vnd.own+json"}).post("/", json=[])
        assert there.requests[0].headers["content-type"] == "application/vnd.own+json"

    def test_bytes_are_sent_as_they_are(self, receiver):
        there = receiver()
        client_of(there).put("/", content=b"\x00\xff")
        assert there.requests[0].body == b"\x00\xff"
        assert "content-type" not in there.requests[0].headers

    def test_one_request_has_one_body(self, receiver):
        there = receiver()
        with pytest.raises(TypeError, match="not both"):
            client_of(there).post("/", json={}, content=b"")
        assert there.requests == []

    @pytest.mark.parametrize(
        ("base", "path", "sent"),
        [
            ("", "", "/"),
            ("", "api", "/api"),
            ("/", "/api", "/api"),
            ("/grafana", "/api?a=1", "/grafana/api?a=1"),
            ("/grafana/", "api", "/grafana/api"),
            ("/grafana", "?a=1", "/grafana?a=1"),
            ("/grafana", "//evil.test/x", "/grafana//evil.test/x"),
            ("", "@evil.test/x", "/@evil.test/x"),
            ("", ":1/x", "/:1/x"),
            ("", "\\evil.test", "/%5Cevil.test"),
            ("", "a b\r\nX-Evil: 1", "/a%20b%0D%0AX-Evil:%201"),
        ],
    )
    def test_a_path_follows_the_base(self, receiver, base, path, sent):
        there = receiver()
        client_of(there, base).get(path)
        assert there.requests[0].path == sent
        assert "x-evil" not in there.requests[0].headers

    def test_parameters_are_encoded(self, receiver):
        there = receiver()
        params = {"q": "a b&c", "n": 1, "yes": True, "none": None, "tags": ["x", "y"]}
        client_of(there).get("/s?a=1#part", params=params)
        assert there.requests[0].path == "/s?a=1&q=a+b%26c&n=1&yes=true&tags=x&tags=y"

    def test_a_whole_url_of_the_same_origin_is_called(self, receiver):
        there = receiver()
        client_of(there, "/api").get(there.url("/next?page=2", "127.0.0.1").replace("http", "HTTP"))
        assert there.requests[0].path == "/next?page=2"

    @pytest.mark.parametrize(
        "url",
        [
            "http://127.0.0.1:1/",
            "https://127.0.0.1:{port}/",
            "http://127.0.0.2:{port}/",
            "http://user@127.0.0.1:{port}/",
            "http://127.0.0.1:{port}@127.0.0.2/",
            "http://127.0.0.1:{port}.evil.test/",
            "ftp://127.0.0.1:{port}/",
            "http://",
        ],
    )
    def test_headers_go_to_no_other_origin(self, receiver, url):
        there = receiver()
        error = failure(client_of(there, headers={"Authorization": TOKEN}), url.format(port=there.port))
        assert isinstance(error, GiveUp)
        assert "give a path" in str(error)
        assert there.requests == []

    @pytest.mark.parametrize("bad", [{"X-A": "1\r\nX-B: 2"}, {"X A": "1"}, {"Host": "evil.test"}])
    def test_headers_that_cannot_be_sent_are_not_tried_again(self, receiver, bad):
        there = receiver()
        assert isinstance(failure(client_of(there), headers=bad), GiveUp)
        assert there.requests == []

    def test_connections_are_kept_and_shared_by_clients(self, receiver):
        there = receiver()
        for _ in range(3):
            client_of(there).get("/")
        assert there.server.accepted == 1


class TestAnswers:
    def test_a_success_has_all_of_the_answer(self, receiver):
        there = receiver(answer=lambda request: reply(201, b'{"id": 7}', Content_Type="application/json"))
        response = client_of(there).post("/", json={})
        assert (response.status, response.content, response.text) == (201, b'{"id": 7}', '{"id": 7}')
        assert response.json() == {"id": 7}
        assert response.headers["content-TYPE"] == "application/json"
        assert "id" not in repr(response)

    @pytest.mark.parametrize(
        ("kind", "body", "text"),
        [
            ("text/plain; charset=latin-1", b"\xe4", "ä"),
            ("text/plain; charset=none-such", "ä".encode(), "ä"),
            ("text/plain", b"\xff", "\ufffd"),
            (None, b"a", "a"),
        ],
    )
    def test_text_has_the_character_set_of_the_answer(self, receiver, kind, body, text):
        there = receiver(answer=lambda request: reply(200, body, Content_Type=kind))
        assert client_of(there).get("/").text == text

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b"\xff", b"NaN"])
    def test_an_answer_that_is_not_json_says_where_to_look(self, receiver, body):
        there = receiver(answer=lambda request: reply(200, body))
        response = client_of(there).get("/")
        with pytest.raises(http.CallFailed, match=r"127\.0\.0\.1 answered 200, but not in JSON: check that the URL"):
            response.json()

    def test_a_long_answer_is_cut_and_is_no_json(self, receiver):
        there = receiver(answer=lambda request: reply(200, b'"' + b"a" * http.MAX_ANSWER + b'"'))
        response = client_of(there).get("/")
        assert (len(response.content), response.is_complete) == (http.MAX_ANSWER, False)
        with pytest.raises(http.CallFailed, match="ask for less"):
            response.json()

    @pytest.mark.parametrize(
        ("status", "expected"),
        [(300, GiveUp), (302, GiveUp), (400, GiveUp), (404, GiveUp), (409, GiveUp), (410, GiveUp), (422, GiveUp)]
        + [(401, NotReady), (403, NotReady)]
        + [(each, http.CallFailed) for each in (408, 425, 429, 500, 502, 503, 504, 599)],
    )
    def test_other_statuses_are_raised_as_what_becomes_of_the_delivery(self, receiver, status, expected):
        there = receiver(answer=lambda request: reply(status, b"no such dashboard"))
        error = failure(client_of(there))
        assert type(error) is expected
        assert str(status) in str(error)
        assert str(error).endswith(": no such dashboard")
        assert "127.0.0.1" in str(error)

    def test_a_redirect_is_not_followed(self, receiver):
        other = receiver()
        there = receiver(answer=lambda request: reply(302, Location=other.url("/", "127.0.0.1")))
        error = failure(client_of(there, headers={"Authorization": TOKEN}))
        assert "redirects are not followed: use the URL" in str(error)
        assert other.requests == []

    @pytest.mark.parametrize("status", [304, 404, 401, 500])
    def test_accepted_statuses_are_returned(self, receiver, status):
        there = receiver(answer=lambda request: reply(status))
        assert client_of(there).get("/", accept=(status,)).status == status

    @pytest.mark.parametrize("status", [429, 503])
    def test_retry_after_is_heeded(self, receiver, status):
        there = receiver(answer=lambda request: reply(status, b"slow down", Retry_After=120))
        error = failure(client_of(there))
        assert isinstance(error, RetryLater)
        assert (error.seconds, str(error)) == (120, f"127.0.0.1 answered {status}: slow down")

    def test_retry_after_may_be_a_date(self, receiver):
        at = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
        there = receiver(answer=lambda request: reply(429, Retry_After=at))
        assert 3000 < failure(client_of(there)).seconds <= 3600

    @pytest.mark.parametrize("value", ["", "soon", "-5", "0", "1e400", "9" * 400, "nan"])
    def test_a_retry_after_without_meaning_is_not_heeded(self, receiver, value):
        there = receiver(answer=lambda request: reply(429, Retry_After=value))
        error = failure(client_of(there))
        assert isinstance(error, http.CallFailed) or error.seconds <= 86400

    def test_the_longest_wait_is_a_day(self, receiver):
        there = receiver(answer=lambda request: reply(503, Retry_After=10**9))
        assert failure(client_of(there)).seconds == 86400

    def test_500_with_retry_after_has_the_schedule(self, receiver):
        there = receiver(answer=lambda request: reply(500, Retry_After=5))
        assert isinstance(failure(client_of(there)), http.CallFailed)


class TestNoAnswer:
    def test_nobody_listens(self):
        error = failure(http.Client(f"http://127.0.0.1:{free_port()}"))
        assert (type(error), error.unreachable) == (http.CallFailed, True)
        assert str(error) == "127.0.0.1: Connection refused"

    def test_a_silent_server(self, server):
        there = server(silence)
        error = failure(http.Client(f"http://127.0.0.1:{there.port}", timeout=0.1))
        assert str(error) == "127.0.0.1: timed out"

    def test_an_answer_that_never_ends(self, receiver):
        there = receiver(answer=lambda request: drip(reply(200, b"", Content_Length=10**9)))
        assert str(failure(client_of(there, timeout=0.3))) == "127.0.0.1: timed out"

    def test_an_address_that_is_not_allowed_names_the_setting(self, receiver, monkeypatch):
        there = receiver()
        monkeypatch.delenv("EXTENSION_DELIVERY_ALLOW_NETWORKS")
        error = failure(client_of(there))
        assert isinstance(error, http.CallFailed)
        assert str(error).endswith("a network has to be allowed with EXTENSION_DELIVERY_ALLOW_NETWORKS")
        assert there.requests == []

    def test_a_server_with_an_unknown_authority(self, receiver, tls_for):
        there = receiver(tls=tls_for("127.0.0.1"))
        assert "TLS" in str(failure(client_of(there)))

    def test_the_authorities_of_the_setting_are_trusted(self, receiver, tls_for, ca_file, monkeypatch):
        monkeypatch.setenv("EXTENSION_DELIVERY_CA_FILE", str(ca_file))
        there = receiver(tls=tls_for("127.0.0.1"))
        assert client_of(there).get("/").status == 200

    def test_the_proxy_of_the_setting_is_used_and_its_password_is_never_told(self, receiver, monkeypatch):
        there = receiver(answer=lambda request: reply(400, b"secret-of-proxy"))
        proxy = SmallProxy(credentials="kit:secret-of-proxy")
        monkeypatch.setenv("EXTENSION_DELIVERY_PROXY", proxy.url("kit:secret-of-proxy"))
        try:
            error = failure(client_of(there))
        finally:
            proxy.server.close()
        assert proxy.asked == [f"GET http://127.0.0.1:{there.port}/"]
        assert str(error) == "127.0.0.1 answered 400: ***"


class TestSecrets:
    def test_what_an_answer_repeats_of_the_request_is_hidden(self, receiver):
        def echo(request):
            said = b" ".join([request.path.encode(), str(request.headers).encode(), request.body])
            return reply(400, said)

        there = receiver(answer=echo)
        client = client_of(there, "/services/T0000001", headers={"Authorization": f"Bearer {TOKEN}"})
        error = failure(
            client, "/B0000001", "POST", params={"key": "query-secret"}, json={"routing_key": "routing-secret-0001"}
        )
        text = "".join(traceback.format_exception(error)) + repr(error) + repr(client)
        for secret in (TOKEN, "T0000001", "B0000001", "query-secret", "routing-secret-0001"):
            assert secret not in text.replace(repr(secret), "")
        assert "***" in str(error)

    def test_tokens_of_others_in_an_answer_are_hidden(self, receiver):
        there = receiver(answer=lambda request: reply(403, b'{"session_token": "abc", "why": "role"}'))
        assert str(failure(client_of(there))) == (
            '127.0.0.1 refuses the credentials (403): {"session_token": ***, "why": "role"}'
        )

    def test_a_long_answer_is_shortened_to_one_line(self, receiver):
        there = receiver(answer=lambda request: reply(400, b"a\r\n\x1b[31mb" * 10_000))
        assert len(str(failure(client_of(there)))) < 1200
        assert str(failure(client_of(there))).isprintable()

    def test_the_text_of_a_client_is_its_origin(self):
        made = http.Client("https://Grafana.test/s3cret-path", headers={"Authorization": TOKEN})
        assert repr(made) == "Client('https://grafana.test:443')"


class TestArguments:
    @pytest.mark.parametrize(
        "url",
        [
            *["", "grafana", "ftp://a.test", "https://", "https://user:s3cret@a.test", "https://a.test?key=s3cret"],
            *["https://a.test/#s3cret", "https://a.test:0", "https://a.test:s3cret", "https://a b"],
        ],
    )
    def test_a_url_that_cannot_be_called_is_refused_at_once(self, url):
        with pytest.raises(ConfigurationError, match="a URL such as https://") as refused:
            http.Client(url)
        assert "s3cret" not in str(refused.value)

    @pytest.mark.parametrize("value", ["s3cret\n", "s3cret €", "s3cret\r\nX-B: 1"])
    def test_a_header_that_cannot_be_sent_is_refused_at_once(self, value):
        with pytest.raises(ConfigurationError, match="the value of the header Authorization") as refused:
            http.Client("https://a.test", headers={"Authorization": value})
        assert "s3cret" not in str(refused.value)

    @pytest.mark.parametrize("timeout", [0, -1, 301, float("nan"), True, "5"])
    def test_the_timeout_is_a_number_of_seconds(self, timeout):
        with pytest.raises(ConfigurationError, match="the timeout is a number of seconds up to 300"):
            http.Client("https://a.test", timeout=timeout)

    def test_a_client_reads_no_setting_before_its_first_request(self, monkeypatch):
        monkeypatch.setenv("EXTENSION_DELIVERY_TIMEOUT", "none")
        made = http.Client("https://a.test")
        with pytest.raises(ConfigurationError, match="EXTENSION_DELIVERY_TIMEOUT"):
            made.get("/")


def test_a_forked_process_has_connections_of_its_own(receiver):
    there = receiver()
    client = client_of(there)
    client.get("/")
    child = os.fork()
    if child == 0:
        os._exit(0 if client.get("/child").status == 200 else 1)
    assert os.waitpid(child, 0)[1] == 0
    client.get("/parent")
    assert [request.path for request in there.requests] == ["/", "/child", "/parent"]
    ports = [request.peer for request in there.requests]
    assert ports[0] == ports[2] != ports[1]


def test_hostile_answers_end_in_a_known_error_or_a_response(server):
    """Bytes that are almost an answer: mutations of one, and garbage."""
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    sound = reply(429, b'{"error": "slow down"}', Retry_After=3, Content_Type="application/json")
    answers = []
    for _ in range(200):
        answer = bytearray(sound)
        for _ in range(chance.randrange(1, 12)):
            place = chance.randrange(len(answer))
            answer[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(4))
        answers.append(bytes(answer))
    left = list(answers)

    def talk(connection):
        connection.recv(65536)
        connection.sendall(left.pop())

    there = server(talk)
    client = http.Client(f"http://127.0.0.1:{there.port}", timeout=TIMEOUT)
    for _ in answers:
        try:
            assert client.get("/").text is not None
        except ERRORS as error:
            assert str(error).startswith("127.0.0.1"), f"seed {seed}"  # noqa: PT017
