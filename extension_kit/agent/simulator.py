"""The class ``Agent``: requests the registration document and sends events, as Steadybit documents its agent."""

import ssl
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import orjson

from extension_kit.agent.address import Address
from extension_kit.agent.connection import Answer, Connection, NoAnswerError
from extension_kit.agent.registration_reader import Listener, RegistrationDocument
from extension_kit.agent.report import Refusal, Report
from extension_kit.observability.printable import printable

LIMIT = 50
"""Events per interval (Steadybit's Event API, Event Consumption)."""

INTERVAL = 5.0
"""Seconds (Steadybit's Event API, Event Consumption)."""

_FIRST_ANSWER_POLL = 0.1
_LONGEST_REASON = 500


class Agent:
    """A simulated agent of one extension.

    At the beginning of every interval it requests the registration document, with its last ETag. Then it sends each
    event to every listener of its name, one request after the other, up to a number of events per interval. Events
    without a listener count, too.

    Args:
        url: the URL of the extension as in a registration: ``http://host:port/path``, ``https://...``, ``unix:/path``.
        role: ``leader``, ``follower``, or another word that listeners are restricted to, such as ``aws``.
        limit: events per interval at most.
        interval: seconds.
        fast: True to send without pauses and without that limit.
        timeout: seconds an extension has for an answer, sent as ``Request-Timeout``.
        concurrency: number of events sent at the same time; above 1, their order is not kept.
        redeliver: True to send every event twice.
        wait: seconds to wait for the first answer of the extension.
        credentials: user name and password for basic authentication.
        tls: for https; by default the system's certificates are trusted.

    Raises:
        ConfigurationError: ``url`` is not valid.
    """

    def __init__(
        self,
        url: str,
        *,
        role: str = "leader",
        limit: int = LIMIT,
        interval: float = INTERVAL,
        fast: bool = False,
        timeout: float = 10.0,
        concurrency: int = 1,
        redeliver: bool = False,
        wait: float = 0.0,
        credentials: tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._address = Address.parse(url)
        self._role = role
        self._limit = None if fast else limit
        self._interval = interval
        self._concurrency = concurrency
        self._times = 2 if redeliver else 1
        self._wait = wait
        self._connection_settings: dict[str, Any] = {
            "timeout": timeout,
            "credentials": credentials,
            "tls": tls,
            "size": concurrency,
        }

    def play(self, events: Iterable[Mapping[str, Any]], report: Report | None = None) -> Report:
        """Send all events and return.

        Args:
            events: bodies of events, read one by one as they are sent.
            report: the report to add to, so that it can be read meanwhile; by default a new one.

        Returns:
            The report. It holds the problems of the extension, such as no answer; they are not raised.
        """
        report = report or Report()
        with (
            Connection(self._address, **self._connection_settings) as connection,
            ThreadPoolExecutor(self._concurrency, "agent") as threads,
        ):
            session = _Session(connection, report)
            if self._wait_for_document(session):
                self._send_all(events, session, threads)
        return report

    def _wait_for_document(self, session: "_Session") -> bool:
        """Request the registration document until there is one; problems count only when the wait is over."""
        deadline = time.monotonic() + self._wait
        while (problem := session.refresh()) and time.monotonic() < deadline:
            time.sleep(_FIRST_ANSWER_POLL)
        if problem:
            session.report.add_problem(problem)
        return not problem

    def _send_all(self, events: Iterable[Mapping[str, Any]], session: "_Session", threads: ThreadPoolExecutor) -> None:
        report = session.report
        in_progress: set[Future[None]] = set()
        ends = time.monotonic() + self._interval
        sent = 0
        for event in events:
            if full := sent == self._limit:
                time.sleep(max(0.0, ends - time.monotonic()))
            if full or time.monotonic() >= ends:
                _await(in_progress)
                if problem := session.refresh():
                    report.add_problem(problem)
                ends, sent = time.monotonic() + self._interval, 0
                report.intervals += 1
            listeners = session.document.select(event.get("eventName"), self._role)
            report.add_event(wanted=bool(listeners))
            sent += 1
            if listeners:
                if len(in_progress) >= self._concurrency:
                    done, in_progress = wait(in_progress, return_when=FIRST_COMPLETED)
                    _await(done)
                in_progress.add(threads.submit(session.send, event, listeners * self._times))
        _await(in_progress)


def _await(in_progress: set[Future[None]]) -> None:
    for future in in_progress:
        future.result()


class _Session:
    """State of one call of ``play``: the connection, the registration document with its ETag, and the report."""

    def __init__(self, connection: Connection, report: Report) -> None:
        self._connection = connection
        self._etag: str | None = None
        self.report = report
        self.document = RegistrationDocument()

    def refresh(self) -> str | None:
        """Request the registration document if it has changed; return the problem if there is no usable answer."""
        self._connection.renew()
        try:
            answer = self._connection.index(self._etag)
        except NoAnswerError as error:
            return f"{self._connection.url} does not answer: {error}"
        if answer.status == 304 and self._etag:
            return None
        if answer.status != 200:
            return f"{self._connection.url} gives no registration document: {answer.status} {_reason(answer)}"
        self._etag = answer.headers.get("ETag")
        self.document = RegistrationDocument.parse(answer.body)
        for problem in self.document.problems:
            self.report.add_problem(problem)
        return None

    def send(self, event: Mapping[str, Any], listeners: list[Listener]) -> None:
        """Send an event to listeners, one after the other."""
        body = orjson.dumps(event)
        for listener in listeners:
            self._send(event, body, listener)

    def _send(self, event: Mapping[str, Any], body: bytes, listener: Listener) -> None:
        def refused(outcome: str, reason: str) -> Refusal:
            return Refusal(str(event.get("eventName")), str(event.get("id")), listener.endpoint, outcome, reason)

        try:
            answer = self._connection.send(listener.method, listener.path, body)
        except NoAnswerError as error:
            self.report.add_refused(refused("no answer", str(error)), None)
            return
        # Nothing but 200 counts as success (Steadybit's kits call every other status an error).
        if answer.status == 200:
            known = answer.headers.get("Extension-Duplicate") == "true"
            self.report.add_accepted(listener.endpoint, answer.seconds, known=known)
        else:
            self.report.add_refused(refused(str(answer.status), _reason(answer)), answer.seconds)


def _reason(answer: Answer) -> str:
    """Return an extension's reason for a refusal, in one line."""
    try:
        problem = orjson.loads(answer.body)
        problems = "; ".join([f"{error['pointer'] or '/'} {error['message']}" for error in problem.get("errors") or ()])
        said = (problem.get("title"), problem.get("detail"), problems)
        parts = [part for part in said if isinstance(part, str) and part]
        text = " ".join([*(part if part.endswith(".") else f"{part}." for part in parts[:-1]), *parts[-1:]])
    except (orjson.JSONDecodeError, AttributeError, TypeError, KeyError):
        text = answer.body.decode(errors="replace")
    text = printable(text)
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + " ..."
