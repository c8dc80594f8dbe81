"""Calls of event protocols, made to real servers that behave, misbehave and are not there."""

import gzip
import socket
import threading
from importlib.metadata import version

import pytest
import trustme

from extension_kit.errors import ConfigurationError
from extension_kit.outgoing.proxies import Proxy
from extension_kit.senders.addresses import Addresses
from extension_kit.senders.http_calls import CallFailed, HttpCalls
from tests.support.receivers import LOOPBACK, TIMEOUT, drip, local_addresses, reply, silence
from tests.support.servers import free_port
from tests.support.small_proxy import SmallProxy


@pytest.fixture
def make():
    made = []

    def make(addresses=None, ca_file=None, proxy=None):
        made.append(HttpCalls(addresses or local_addresses(), ca_file=ca_file, proxy=proxy))
        return made[-1]

    yield make
    for calls in made:
        calls.close()


@pytest.fixture
def calls(make):
    return make()


@pytest.fixture
def small_proxy():
    started = []

    def start(**options):
        started.append(SmallProxy(**options))
        return started[-1]

    yield start
    for one in started:
        one.server.close()


def call(calls, url, method="POST", **more):
    return calls.call(method, url, **{"headers": {}, "body": None, "timeout": TIMEOUT, "limit": 1_000_000, **more})


def failure(calls, url, method="POST", **more):
    with pytest.raises(CallFailed) as failed:
        call(calls, url, method, **more)
    return failed.value


class TestWhatIsSent:
    def test_a_request_has_what_was_given_and_little_more(self, calls, receiver):
        there = receiver()
        call(calls, there.url("/hook?a=1&b=%20"), "PUT", headers={"X-Own": "1"}, body=b'{"a": 1}')
        (request,) = there.requests
        assert (request.method, request.path, request.body) == ("PUT", "/hook?a=1&b=%20", b'{"a": 1}')
        assert request.headers == {
            "host": f"receiver.test:{there.port}",
            "user-agent": f"extension-kit/{version('extension-kit')}",
            "content-length": "8",
            "accept-encoding": "identity",
            "x-own": "1",
        }

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD", "OPTIONS", "M-SEARCH"])
    @pytest.mark.parametrize("body", [b"{}", b"", None], ids=["body", "empty", "none"])
    def test_any_method_with_and_without_a_body(self, calls, receiver, method, body):
        there = receiver()
        assert call(calls, there.url(), method, body=body).status == 200
        (request,) = there.requests
        assert (request.method, request.body) == (method, body or b"")
        length = request.headers.get("content-length")
        assert length == ("2" if body else "0" if body == b"" or method in ("POST", "PUT", "PATCH") else None)

    @pytest.mark.parametrize("name", ["user-agent", "USER-AGENT", "accept-encoding", "Accept-Encoding"])
    def test_a_given_header_replaces_that_of_every_call_in_any_case_of_letters(self, calls, receiver, name):
        there = receiver()
        assert call(calls, there.url(), headers={name: "mine"}).status == 200
        assert there.requests[0].headers[name.lower()] == "mine"  # the receiver refuses a header that is there twice

    def test_the_last_of_two_spellings_of_a_header_is_sent(self, calls, receiver):
        there = receiver()
        call(calls, there.url(), headers={"Content-Type": "text/plain", "content-type": "application/json"})
        assert there.requests[0].headers["content-type"] == "application/json"

    def test_headers_may_have_all_of_latin_1(self, calls, server):
        heads = []

        def answer(connection):
            heads.append(connection.recv(65536))
            connection.sendall(reply())

        there = server(answer)
        call(calls, f"http://receiver.test:{there.port}", headers={"X-City": "Zürich\t1"})
        assert b"\r\nX-City: Z\xfcrich\t1\r\n" in heads[0]

    def test_the_fragment_is_not_sent_and_odd_characters_are_encoded(self, calls, receiver):
        there = receiver()
        call(calls, there.url("/a b/ü?q=ä#part"))
        assert there.requests[0].path == "/a%20b/%C3%BC?q=%C3%A4"

    @pytest.mark.parametrize("rest", ["", "?", "?a=1", "#part"])
    def test_without_a_path_it_is_the_root(self, calls, receiver, rest):
        there = receiver()
        call(calls, there.url(rest))
        assert there.requests[0].path == {"?a=1": "/?a=1", "?": "/?"}.get(rest, "/")

    @pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
    def test_ipv6(self, make):
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
            heads = []

            def answer():
                connection, _ = listening.accept()
                with connection:
                    heads.append(connection.recv(65536).split(b"\r\n"))
                    connection.sendall(reply())

            thread = threading.Thread(target=answer)
            thread.start()
            port = listening.getsockname()[1]
            assert call(make(Addresses(LOOPBACK)), f"http://[::1]:{port}/").status == 200
            thread.join(TIMEOUT)
        assert f"Host: [::1]:{port}".encode() in heads[0]


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("headers", "said"),
        [
            ({"X-A": "s3cret\r\nX-B: 2"}, "the value of the header X-A"),
            ({"X-A": "s3cret\r\n X-B: 2"}, "the value of the header X-A"),
            ({"X-A": "s3cret\nX-B: 2"}, "the value of the header X-A"),
            ({"X-A": "s3cret\rX-B: 2"}, "the value of the header X-A"),
            ({"X-A": "s3cret\x00"}, "the value of the header X-A"),
            ({"X-A": "s3cret €"}, "the value of the header X-A"),
            ({"User-Agent": "s3cret\n"}, "the value of the header User-Agent"),
            ({"X-A: s3cret\r\nX-B": "2"}, "the name of a header"),
            ({"X-Ä": "s3cret"}, "the name of a header"),
            ({"X A": "s3cret"}, "the name of a header"),
            ({"": "s3cret"}, "the name of a header"),
            ({"Host": "s3cret.test"}, "the header Host is set by the call"),
            ({"hOST": "s3cret.test"}, "the header hOST is set by the call"),
            ({"Content-Length": "3"}, "the header Content-Length is set by the call"),
            ({"content-length": "3"}, "the header content-length is set by the call"),
            ({"Transfer-Encoding": "chunked"}, "the header Transfer-Encoding is set by the call"),
        ],
    )
    def test_headers_that_would_break_the_request(self, calls, receiver, headers, said):
        there = receiver()
        error = failure(calls, there.url(), headers=headers, body=b"{}")
        assert str(error).startswith(said)
        assert (error.code, error.may_repeat, error.unreachable) == ("", False, False)
        assert "s3cret" not in str(error)
        assert there.server.accepted == 0

    @pytest.mark.parametrize(
        "method", ["", "get", "GET /other HTTP/1.1\r\nX-A: 1\r\n", "GET /other", "GET\n", "CONNECT", "GÄT", "-GET"]
    )
    def test_methods_that_are_none(self, calls, receiver, method):
        there = receiver()
        error = failure(calls, there.url(), method)
        assert (str(error), error.may_repeat) == ("the method is not valid", False)
        assert there.server.accepted == 0

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("", "the URL needs http or https and a host"),
            ("/s3cret", "the URL needs http or https and a host"),
            ("receiver.test/s3cret", "the URL needs http or https and a host"),
            ("ftp://receiver.test/s3cret", "the URL needs http or https and a host"),
            ("file:///s3cret", "the URL needs http or https and a host"),
            ("http:///s3cret", "the URL needs http or https and a host"),
            ("http://receiver.test:0/s3cret", "the URL needs http or https and a host"),
            ("http://receiver..test/s3cret", "the URL needs http or https and a host"),
            ("http://receiver.test%0d%0aX-A:1/s3cret", "the URL is not valid"),
            ("http://receiver.test:99999/s3cret", "the URL is not valid"),
            ("http://receiver.test:port/s3cret", "the URL is not valid"),
            ("http://[::1/s3cret", "the URL is not valid"),
            ("http://[fe80::1%25eth0]/s3cret", "the URL needs http or https and a host"),
            ("http://anna:s3cret@receiver.test/", "the URL has a user name or password"),
            ("http://s3cret@receiver.test/", "the URL has a user name or password"),
        ],
    )
    def test_urls_that_cannot_be_used(self, calls, url, said):
        error = failure(calls, url)
        assert (str(error), error.code, error.may_repeat, error.unreachable) == (said, "", False, False)
        assert "s3cret" not in str(error)

    def test_this_machine_unless_it_is_allowed(self, make, receiver):
        there, calls = receiver(), make(Addresses())
        for host in ("127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]"):
            error = failure(calls, there.url(host=host))
            assert "has no public address" in str(error), host
            assert (error.may_repeat, error.unreachable) == (False, False)
        assert there.server.accepted == 0

    def test_authorities_that_cannot_be_used(self, make, tmp_path):
        with pytest.raises(ConfigurationError, match=r"nothing\.pem"):
            make(ca_file=str(tmp_path / "nothing.pem"))


class TestAnswers:
    @pytest.mark.parametrize("status", [200, 201, 204, 299, 304, 400, 401, 404, 410, 429, 500, 503])
    def test_every_status_is_an_answer(self, calls, receiver, status):
        body = b"" if status in (204, 304) else b"said so"
        there = receiver(answer=lambda request: reply(status, body))
        answer = call(calls, there.url())
        assert (answer.status, answer.body, answer.complete) == (status, body, True)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_redirects_are_not_followed(self, calls, receiver, status):
        other = receiver()
        there = receiver(answer=lambda request: reply(status, Location=other.url()))
        answer = call(calls, there.url())
        assert (answer.status, dict(answer.headers)["Location"]) == (status, other.url())
        assert other.server.accepted == 0

    def test_headers_are_told_in_order_and_several_times(self, calls, receiver):
        head = (
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-City: Z\xfcrich\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
        )
        there = receiver(answer=lambda request: head)
        assert call(calls, there.url()).headers == [
            ("Set-Cookie", "a=1"),
            ("X-City", "Zürich"),
            ("Set-Cookie", "b=2"),
            ("Content-Length", "0"),
        ]

    def test_a_body_is_as_it_was_sent(self, calls, receiver):
        packed = gzip.compress(b"x" * 1000)
        there = receiver(answer=lambda request: reply(200, packed, Content_Encoding="gzip"))
        assert call(calls, there.url(), headers={"Accept-Encoding": "gzip"}).body == packed

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
        ],
        ids=["length", "chunked", "interim"],
    )
    @pytest.mark.parametrize(("limit", "body"), [(100, b"abcde"), (4, b"abcd"), (0, b"")])
    def test_no_more_than_the_limit_is_read(self, calls, receiver, answer, limit, body):
        there = receiver(answer=lambda request: answer)
        found = call(calls, there.url(), limit=limit)
        assert (found.status, found.body, found.complete) == (200, body, limit == 100)

    def test_a_body_of_exactly_the_limit_is_complete(self, calls, receiver):
        there = receiver(answer=lambda request: reply(200, b"abcde"))
        found = call(calls, there.url(), limit=5)
        assert (found.body, found.complete) == (b"abcde", True)

    def test_a_body_without_end_is_cut_at_the_limit(self, calls, receiver):
        there = receiver(answer=lambda request: drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 10_000))
        found = call(calls, there.url(), limit=25_000)
        assert (found.status, found.body, found.complete) == (200, b"x" * 25_000, False)
        assert isinstance(there.server.ended.get(timeout=TIMEOUT), OSError)  # the connection is not kept

    @pytest.mark.parametrize(
        "head",
        [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"],
        ids=["length", "to the end"],
    )
    def test_a_body_that_drips_past_the_deadline_is_no_answer(self, calls, receiver, head):
        there = receiver(answer=lambda request: drip(head))
        error = failure(calls, there.url(), timeout=0.3)
        assert (str(error), error.may_repeat, error.unreachable) == ("receiver.test: timed out", True, False)
        assert isinstance(there.server.ended.get(timeout=TIMEOUT), OSError)

    @pytest.mark.parametrize(
        "start",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ],
        ids=["length", "chunk", "chunks"],
    )
    def test_a_body_that_breaks_off_is_no_answer(self, calls, receiver, start):
        there = receiver(answer=lambda request: lambda connection: connection.sendall(start))
        error = failure(calls, there.url())
        assert (str(error), error.may_repeat) == ("receiver.test: the answer broke off", True)

    def test_a_body_of_malformed_chunks_is_no_answer(self, calls, receiver):
        start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n"
        there = receiver(answer=lambda request: lambda connection: connection.sendall(start))
        error = failure(calls, there.url())
        assert error.may_repeat
        assert str(error).startswith("receiver.test: the answer ")

    def test_the_answer_to_head_has_a_length_and_no_body(self, calls, receiver):
        there = receiver(answer=lambda request: b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(2):
            found = call(calls, there.url(), "HEAD")
            assert (found.status, found.body, found.complete) == (200, b"", True)
            assert ("Content-Length", "1000") in found.headers
        assert there.server.accepted == 1

    def test_an_answer_before_the_body_was_read_counts(self, calls, server):
        def refuse_early(connection):
            connection.recv(1000)
            connection.sendall(reply(413))  # what follows is never read: the connection is reset

        there = server(refuse_early)
        assert call(calls, f"http://receiver.test:{there.port}", body=b"0" * 10_000_000).status == 413


class TestFailures:
    def test_a_refused_connection_has_its_code(self, calls):
        error = failure(calls, f"http://receiver.test:{free_port()}")
        assert str(error) == "receiver.test: Connection refused"
        assert (error.code, error.may_repeat, error.unreachable) == ("ECONNREFUSED", True, True)

    def test_a_name_that_is_unknown(self, make):
        def unknown(host, port):
            raise socket.gaierror(-3, "again")

        error = failure(make(Addresses(LOOPBACK, unknown)), "http://receiver.test/s3cret")
        assert str(error) == "receiver.test cannot be resolved"
        assert (error.code, error.may_repeat, error.unreachable) == ("", True, True)

    @pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
    def test_silence_until_the_deadline(self, make, receiver, tls_for, ca_file, encrypted):
        there = receiver(tls=tls_for("receiver.test") if encrypted else None, answer=lambda request: silence)
        error = failure(make(ca_file=ca_file), there.url(), timeout=0.3)
        assert (str(error), error.may_repeat, error.unreachable) == ("receiver.test: timed out", True, False)
        assert there.server.ended.get(timeout=TIMEOUT) is None  # it saw the connection's end

    @pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX-Long: "], ids=["status", "header"])
    def test_an_answer_that_drips_is_cut_off(self, calls, receiver, start):
        there = receiver(answer=lambda request: drip(start))
        error = failure(calls, there.url(), timeout=0.3)
        assert (str(error), error.may_repeat, error.unreachable) == ("receiver.test: timed out", True, False)
        assert isinstance(there.server.ended.get(timeout=TIMEOUT), OSError)

    @pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"220 s3cret ESMTP\r\n", b"HTTP/1.1 abc OK\r\n\r\n"])
    def test_what_is_not_http_is_not_repeated(self, calls, receiver, said):
        def say(connection):
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)
            silence(connection)

        error = failure(calls, receiver(answer=lambda request: say).url("/s3cret"))
        assert str(error) == "receiver.test: the answer is not HTTP"
        assert error.__cause__ is None
        assert (error.code, error.may_repeat, error.unreachable) == ("", True, False)

    def test_a_server_that_hangs_up_was_asked_once(self, calls, receiver):
        there = receiver(answer=lambda request: lambda connection: None)
        error = failure(calls, there.url("/s3cret"), headers={"Authorization": "Bearer s3cret"}, body=b"s3cret")
        assert (error.may_repeat, error.unreachable) == (True, False)
        assert str(error).startswith("receiver.test: ")
        assert "s3cret" not in str(error)
        assert len(there.requests) == 1


class TestTls:
    def test_the_own_authorities_are_trusted_and_no_others(self, make, receiver, tls_for, ca_file):
        known = receiver(tls=tls_for("receiver.test"))
        unknown = receiver(tls=tls_for("receiver.test", by=trustme.CA()))
        assert call(make(ca_file=ca_file), known.url()).status == 200
        for calls, there in ((make(ca_file=ca_file), unknown), (make(), known)):
            error = failure(calls, there.url())
            assert str(error).startswith("receiver.test: TLS: ")
            assert (error.code, error.may_repeat, error.unreachable) == ("", True, False)
        assert (len(known.requests), len(unknown.requests)) == (1, 0)

    def test_the_certificate_has_to_be_for_the_name(self, make, receiver, tls_for, ca_file):
        there = receiver(tls=tls_for("other.test"))
        assert "certificate is not valid for" in str(failure(make(ca_file=ca_file), there.url()))
        assert there.requests == []

    def test_plain_http_where_tls_is_expected(self, calls, server):
        there = server(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad\r\n\r\n"))
        error = failure(calls, f"https://receiver.test:{there.port}/")
        assert str(error).startswith("receiver.test: ")


class TestProxy:
    def unresolved(self, host, port):
        raise AssertionError(f"{host} is the proxy's to resolve")

    @pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
    def test_calls_go_through_it(self, make, small_proxy, receiver, tls_for, ca_file, encrypted):
        there = receiver(tls=tls_for("receiver.test") if encrypted else None, answer=lambda request: reply(200, b"ok"))
        proxy = small_proxy(credentials="kit:s3cret")
        calls = make(Addresses((), self.unresolved), ca_file, Proxy.parse(proxy.url("kit:s3cret")))
        for _ in range(2):
            answer = call(calls, there.url("/hook"), body=b"{}")
            assert (answer.status, answer.body) == (200, b"ok")
        way = f"receiver.test:{there.port}"
        assert proxy.asked == ([f"CONNECT {way}"] if encrypted else [f"POST http://{way}/hook"] * 2)
        assert [request.body for request in there.requests] == [b"{}"] * 2
        assert not any("proxy-authorization" in request.headers for request in there.requests)

    def test_a_caller_cannot_take_the_place_of_its_credentials(self, make, small_proxy, receiver):
        there, proxy = receiver(), small_proxy(credentials="kit:s3cret")
        calls = make(Addresses((), self.unresolved), proxy=Proxy.parse(proxy.url("kit:s3cret")))
        assert call(calls, there.url("/hook"), headers={"proxy-authorization": "Basic bWluZQ=="}).status == 200

    def test_one_that_is_not_there(self, make):
        proxy = Proxy.parse(f"http://kit:s3cret@127.0.0.1:{free_port()}")
        error = failure(make(proxy=proxy), "http://receiver.test/")
        assert str(error) == "receiver.test: through the proxy 127.0.0.1: Connection refused"
        assert (error.may_repeat, error.unreachable) == (True, False)

    def test_one_that_refuses(self, make, small_proxy):
        proxy = Proxy.parse(small_proxy(credentials="kit:right").url("kit:s3cret"))
        error = failure(make(proxy=proxy), "https://receiver.test/")
        assert str(error) == "receiver.test: the proxy 127.0.0.1 answered 407"


class TestConnections:
    @pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
    def test_one_is_used_again(self, make, receiver, tls_for, ca_file, encrypted):
        there = receiver(tls=tls_for("receiver.test") if encrypted else None, answer=lambda request: reply(500, b"no"))
        calls = make(ca_file=ca_file)
        for method in ("POST", "GET", "DELETE"):
            assert call(calls, there.url(), method).body == b"no"
        assert there.server.accepted == 1

    def test_one_with_the_rest_of_an_answer_is_not_used_again(self, calls, receiver):
        there = receiver(answer=lambda request: reply(200, b"abcde"))
        assert [call(calls, there.url(), limit=3).body for _ in range(3)] == [b"abc"] * 3
        assert there.server.accepted == 3

    def test_one_that_the_server_has_closed_is_replaced_before_anything_is_sent(self, calls, receiver):
        def close(connection):
            connection.sendall(reply(200, b"bye"))

        there = receiver(answer=lambda request: close)
        for number in (1, 2, 3):
            assert call(calls, there.url()).body == b"bye"
            there.server.ended.get(timeout=TIMEOUT)
            assert len(there.requests) == number

    def test_nothing_is_sent_again_when_a_kept_one_breaks(self, calls, receiver):
        there = receiver(answer=lambda request: reply() if request.path == "/first" else lambda connection: None)
        assert call(calls, there.url("/first")).status == 200
        error = failure(calls, there.url("/second"))
        assert (error.may_repeat, error.unreachable) == (True, False)
        assert [request.path for request in there.requests] == ["/first", "/second"]
        assert there.server.accepted == 1

    def test_those_that_are_kept_are_closed_at_the_end(self, make, receiver):
        there, calls = receiver(), make()
        call(calls, there.url())
        assert there.server.ended.empty()
        calls.close()
        assert there.server.ended.get(timeout=TIMEOUT) is None

    def test_calls_at_the_same_time_get_their_own_answers(self, calls, receiver):
        there = receiver(answer=lambda request: reply(200, request.body))
        bodies, got = [b"%d" % number for number in range(40)], {}

        def make_calls(mine):
            for body in mine:
                got[body] = call(calls, there.url(), body=body).body

        threads = [threading.Thread(target=make_calls, args=(bodies[number::8],)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        assert got == {body: body for body in bodies}
        assert there.server.accepted <= 8
