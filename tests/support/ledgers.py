"""Ledgers: the files in which the functions of tests/apps write down their runs."""

from collections import Counter

from tests.support.waiting import wait_until


def lines(ledger, word):
    return [line.split()[1:] for line in ledger.read_text().splitlines() if line.startswith(f"{word} ")]


def ended(ledger):
    return [event_id for event_id, *_ in lines(ledger, "end")]


def wait_for_all(accepted, ledger):
    """Wait until all events have been handled, for as long as some are."""
    while missing := set(accepted) - set(ended(ledger)):
        wait_until(lambda missing=missing: missing & set(ended(ledger)))


def run_event(event, key, number, name="experiment.execution.created"):
    return event(name, id=f"{key}-{number}", execution_id=key)


def strictly_ordered(ledger):
    """Whether no run of an event began before the one before it, of the same experiment run, had ended."""
    done = Counter()
    for line in ledger.read_text().splitlines():
        word, event_id, _ = line.split()
        key, _, number = event_id.partition("-")
        if word == "end":
            done[key] = max(done[key], int(number) + 1)
        elif int(number) > done[key]:
            return False
    return True


class Since:
    """What is added to a file from now on."""

    def __init__(self, path):
        self._path = path
        self._begin = path.stat().st_size

    def read_text(self):
        with self._path.open() as file:
            file.seek(self._begin)
            return file.read()
