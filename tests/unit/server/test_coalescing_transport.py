"""What is written to a client, and when."""

import asyncio

import pytest

from extension_kit.server.coalescing_transport import CoalescingTransport


class Transport:
    def __init__(self):
        self.sent = []
        self.closed = False

    def write(self, data):
        assert not self.closed
        self.sent.append(data)

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed


@pytest.fixture
def transport():
    return Transport()


def in_loop(act, transport):
    async def main():
        act(CoalescingTransport(transport, asyncio.get_running_loop()))
        sent = [*transport.sent]
        await asyncio.sleep(0)
        return sent

    return asyncio.run(main())


def test_a_head_and_a_body_are_sent_as_one(transport):
    def answer(coalescing):
        coalescing.write(b"head ")
        coalescing.write(b"body")

    assert in_loop(answer, transport) == [b"head body"]
    assert transport.sent == [b"head body"]


def test_a_head_without_a_body_goes_by_itself(transport):
    assert in_loop(lambda coalescing: coalescing.write(b"head"), transport) == []
    assert transport.sent == [b"head"]


@pytest.mark.parametrize("body", [b"", b"body"])
def test_nothing_is_lost_when_the_connection_is_closed(transport, body):
    def answer(coalescing):
        coalescing.write(b"head ")
        coalescing.write(body)
        coalescing.close()
        assert coalescing.is_closing()

    assert in_loop(answer, transport) == [b"head " + body]
    assert transport.sent == [b"head " + body]


def test_what_is_written_at_once_comes_after_a_head_that_is_held(transport):
    def answer(coalescing):
        coalescing.write(b"head")
        coalescing.write_at_once(b", another answer")

    assert in_loop(answer, transport) == [b"head, another answer"]
    assert transport.sent == [b"head, another answer"]


def test_three_parts_stay_in_order(transport):
    def answer(coalescing):
        for part in (b"1", b"2", b"3"):
            coalescing.write(part)

    assert in_loop(answer, transport) == [b"12"]
    assert transport.sent == [b"12", b"3"]
