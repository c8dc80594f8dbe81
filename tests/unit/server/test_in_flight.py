"""The room for bodies and for answers, and who has to go when it is taken."""

import asyncio
import threading
import time

import pytest

from extension_kit.server.in_flight import SMALL, InFlight, Unsent
from extension_kit.server.request_bodies import Buffered, DisconnectedError, NoRoomError, in_chunks, read

LIMIT = 1000_000


@pytest.fixture
def room():
    return InFlight(LIMIT, decoded=InFlight(LIMIT))


class TestRoomForBodies:
    def test_it_is_taken_and_given_back(self, room):
        holds = [room.hold(300_000, lambda: None) for _ in range(4)]
        assert [hold.refused for hold in holds] == [False, False, False, True]
        holds[0].release()
        holds[0].release()  # once is enough
        assert not room.hold(300_000, lambda: None).refused
        assert room.hold(300_000, lambda: None).refused

    def test_a_body_that_is_larger_than_all_of_it_is_taken_alone(self, room):
        first = room.hold(2 * LIMIT, lambda: None)
        assert not first.refused
        assert room.hold(1, lambda: None).refused
        first.release()
        small = room.hold(100_000, lambda: None)
        assert room.hold(2 * LIMIT, lambda: None).refused
        assert not small.refused

    def test_one_of_unknown_size_takes_room_as_it_grows(self, room):
        other = room.hold(LIMIT - 100_000, lambda: None)
        dropped = []
        hold = room.hold(0, lambda: dropped.append(True))
        assert hold.take(SMALL)
        assert hold.counted == 0
        assert hold.take(90_000 - SMALL)
        assert hold.counted == 90_000
        assert not hold.take(20_000)
        assert (hold.refused, hold.counted, dropped) == (True, 0, [True])
        assert not hold.take(1)
        assert not room.hold(100_000, lambda: None).refused
        assert not other.refused

    def test_one_that_lags_gives_way_and_one_that_is_complete_does_not(self, room, monkeypatch):
        dropped = []
        complete, quick, slow = (room.hold(300_000, lambda name=name: dropped.append(name)) for name in "cqs")
        complete.complete()
        quick.take(299_000)
        assert room.hold(300_000, lambda: None).refused
        later = time.monotonic() + 2  # the quick one has come at more than 256 kB a second, after a second
        monkeypatch.setattr(time, "monotonic", lambda: later)
        assert not room.hold(300_000, lambda: None).refused
        assert dropped == ["s"]
        assert [hold.refused for hold in (complete, quick, slow)] == [False, False, True]

    def test_it_is_given_back_from_any_thread(self, room):
        hold = room.hold(LIMIT, lambda: None)
        thread = threading.Thread(target=hold.release)
        thread.start()
        thread.join()
        assert not room.hold(LIMIT, lambda: None).refused

    def test_what_is_made_of_a_body_is_counted_too(self, room):
        async def receive(body):
            return {"type": "http.request", "body": body}

        def hold_and_read(body):
            hold = room.hold(len(body), lambda: None)
            asyncio.run(read(hold, len(body), lambda: receive(body), LIMIT))
            return hold

        held = hold_and_read(b"[" + b"[]," * 10_000 + b"0]")  # 30 kB, which become more than a megabyte
        with pytest.raises(NoRoomError):
            hold_and_read(b"[" + b"[]," * 10_000 + b"0]")
        held.release()
        hold_and_read(b"[" + b"[]," * 10_000 + b"0]")


class TestRoomForAnswers:
    def test_the_oldest_go_when_they_are_too_much(self):
        gone = []
        unsent = Unsent(100)
        clients = [lambda name=name: gone.append(name) for name in "abcd"]
        unsent.add(clients[0], 60)
        unsent.add(clients[1], 40)
        assert gone == []
        unsent.remove(clients[0])
        unsent.add(clients[2], 50)
        unsent.add(clients[3], 200)  # alone, it may have any size
        assert gone == ["b", "c"]


class TestBuffered:
    def run(self, messages, headers=()):
        """What an application gets of a request whose body comes in messages."""
        messages = iter(messages)
        got = []

        async def receive():
            return next(messages)

        async def application(scope, receive, send):
            got.extend([dict(scope["headers"]), await receive(), await receive()])

        scope = {"type": "http", "headers": list(headers)}
        asyncio.run(Buffered(application, limit=5)(scope, receive, None))
        headers, first, second = got
        assert second == {"type": "http.disconnect"}
        assert first["more_body"] is False
        return headers, first["body"]

    def part(self, body, more):
        return {"type": "http.request", "body": body, "more_body": more}

    def test_chunks_become_a_body_with_a_length(self):
        headers = [(b"a", b"b"), (b"transfer-encoding", b"chunked")]
        parts = [self.part(b"ab", True), self.part(b"", True), self.part(b"cd", False)]
        assert self.run(parts, headers) == ({b"a": b"b", b"content-length": b"4"}, b"abcd")

    def test_a_request_without_a_body_stays_one(self):
        assert self.run([self.part(b"", False)]) == ({}, b"")

    @pytest.mark.parametrize(
        ("header", "length"), [((b"content-length", b"70"), b"70"), ((b"transfer-encoding", b"chunked"), b"6")]
    )
    def test_a_body_over_the_limit_is_left_out_and_seen_to_be(self, header, length):
        assert self.run([self.part(b"abcdefg", True)], [header]) == ({b"content-length": length}, b"")

    def test_of_a_client_that_leaves_the_application_hears_nothing(self):
        with pytest.raises(DisconnectedError):
            self.run([self.part(b"ab", True), {"type": "http.disconnect"}])


class TestHandedOff:
    def test_an_answer_in_many_parts_becomes_few_and_is_closed(self):
        closed = []

        class Parts:
            def __iter__(self):
                return iter([b"ab"] * 5)

            def close(self):
                closed.append(True)

        application = in_chunks(lambda environ, start_response: Parts(), size=5)
        assert list(application({}, None)) == [b"ababab", b"abab"]
        assert closed == [True]
