"""Circuit breaker: openings, probes and the waits between them."""

import threading
from itertools import pairwise

import pytest

from extension_kit.senders.circuit_breaker import CircuitBreaker


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def circuit(clock):
    return CircuitBreaker(failures=3, first_wait=10, max_wait=60, clock=clock)


def fail(circuit, key="a", times=3):
    for _ in range(times):
        circuit.record(key, "failed")


def wait_out(circuit, clock, key="a"):
    """Advance the clock by the wait for a target; return the seconds."""
    seconds = circuit.wait(key)
    clock.now += seconds
    return seconds


def test_an_unknown_target_is_tried(circuit):
    assert circuit.wait("a") == 0
    assert len(circuit) == 0


def test_a_circuit_opens_after_some_failures_in_a_row(circuit):
    fail(circuit, times=2)
    assert circuit.wait("a") == 0
    fail(circuit, times=1)
    assert circuit.wait("a") == pytest.approx(10, rel=0.11)
    assert circuit.wait("b") == 0


@pytest.mark.parametrize("result", ["delivered", "refused"])
def test_an_answer_in_between_begins_the_count_anew(circuit, result):
    fail(circuit, times=2)
    circuit.record("a", result)
    fail(circuit, times=2)
    assert circuit.wait("a") == 0


def test_one_probe_is_let_through_at_the_end_of_a_wait(circuit, clock):
    fail(circuit)
    wait_out(circuit, clock)
    assert circuit.wait("a") == 0
    assert circuit.wait("a") > 0
    circuit.record("a", "delivered")
    assert [circuit.wait("a") for _ in range(5)] == [0] * 5
    assert len(circuit) == 0


def test_open_circuits_are_listed_those_that_stay_so_longest_first(circuit, clock):
    fail(circuit, "half", times=2)
    for key, times in {"a": 3, "b": 3, "c": 3}.items():
        fail(circuit, key, times)
    assert sorted(key for key, _ in circuit.open_circuits(10)) == ["a", "b", "c"]
    clock.now += 11
    assert circuit.open_circuits(10) == []  # any of them may be tried
    assert circuit.wait("b") == circuit.wait("c") == 0  # probes
    circuit.record("b", "failed")
    ((key, seconds),) = circuit.open_circuits(1)
    assert (key, seconds) == ("b", pytest.approx(20, rel=0.11))
    assert [key for key, _ in circuit.open_circuits(10)] == ["b", "c"]


def test_during_a_probe_the_others_wait_for_the_first_wait_at_most(circuit, clock):
    fail(circuit)
    for _ in range(3):
        wait_out(circuit, clock)
        assert circuit.wait("a") == 0
        circuit.record("a", "failed")
    wait_out(circuit, clock)
    assert circuit.wait("a") == 0
    assert 0 < circuit.wait("a") <= 10


def test_callers_that_share_a_target_take_turns_with_the_probe(circuit, clock):
    """A caller that always fails must not prevent the others from trying."""
    fail(circuit)
    probes = []
    for _ in range(12):
        clock.now += max(0.1, min(circuit.wait("a", by, peek=True) for by in "xyz"))
        for by in "xyz":  # always in this order
            if circuit.wait("a", by) == 0:
                probes.append(by)
                circuit.record("a", "failed")
    assert set(probes) > {"x"}
    assert all(first != second for first, second in pairwise(probes))


def test_the_same_caller_probes_again_if_no_other_has_asked_or_comes_in_time(circuit, clock):
    fail(circuit)
    for _ in range(3):
        clock.now += circuit.wait("a", "x")
        assert circuit.wait("a", "x") == 0
        circuit.record("a", "failed")
    assert circuit.wait("a", "y") > 0
    clock.now += circuit.wait("a", "x")
    assert 0 < circuit.wait("a", "x") <= 10
    clock.now += 10
    assert circuit.wait("a", "x") == 0


def test_a_peek_takes_no_probe(circuit, clock):
    fail(circuit)
    wait_out(circuit, clock)
    assert [circuit.wait("a", peek=True) for _ in range(2)] == [0, 0]
    assert circuit.wait("a") == 0
    assert circuit.wait("a", peek=True) > 0


def test_each_failed_probe_doubles_the_wait_up_to_the_maximum(circuit, clock):
    fail(circuit)
    for expected in (10, 20, 40, 60, 60, 60):
        assert wait_out(circuit, clock) == pytest.approx(expected, rel=0.11)
        assert circuit.wait("a") == 0
        circuit.record("a", "failed")


def test_after_a_very_long_time_of_failures_the_wait_is_still_the_maximum(circuit, clock):
    fail(circuit)
    for _ in range(3000):
        wait_out(circuit, clock)
        assert circuit.wait("a") == 0
        circuit.record("a", "failed")
    assert circuit.wait("a") == pytest.approx(60, rel=0.11)


def test_waits_vary_so_that_targets_are_not_probed_together(circuit):
    for key in range(50):
        fail(circuit, key)
    waits = {circuit.wait(key) for key in range(50)}
    assert len(waits) == 50
    assert min(waits) >= 9
    assert max(waits) <= 11


def test_attempts_from_before_the_opening_do_not_prolong_the_wait(circuit, clock):
    fail(circuit, times=30)
    assert wait_out(circuit, clock) <= 11
    circuit.wait("a")
    circuit.record("a", "failed")
    assert circuit.wait("a") <= 22


def test_a_delivery_that_began_before_the_opening_closes_the_circuit(circuit):
    fail(circuit)
    circuit.record("a", "delivered")
    assert circuit.wait("a") == 0


def test_a_probe_without_a_result_is_replaced(circuit, clock):
    fail(circuit)
    wait_out(circuit, clock)
    assert circuit.wait("a") == 0
    assert 0 < circuit.wait("a") <= 11
    clock.now += 11
    assert circuit.wait("a") == 0


def test_it_remembers_a_bounded_number_of_targets_those_that_failed_last(clock):
    circuit = CircuitBreaker(failures=1, limit=3, clock=clock)
    for key in "abc":
        fail(circuit, key, times=1)
    fail(circuit, "a", times=1)
    fail(circuit, "d", times=1)
    assert len(circuit) == 3
    assert [key for key in "abcd" if circuit.wait(key)] == ["a", "c", "d"]


def test_of_many_threads_one_gets_the_probe(circuit, clock):
    fail(circuit)
    wait_out(circuit, clock)
    barrier, let_through = threading.Barrier(16), []

    def ask():
        barrier.wait(20)
        if circuit.wait("a") == 0:
            let_through.append(True)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert let_through == [True]


def test_by_itself_it_uses_a_real_clock():
    circuit = CircuitBreaker(failures=1, first_wait=1000)
    circuit.record("a", "failed")
    assert 0 < circuit.wait("a") <= 1100
