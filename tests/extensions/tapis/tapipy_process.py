"""Tapis's own client in a process of its own: its dependencies do not go together with those of the other tests.

As a program, run by a Python that has tapipy, it makes the calls that come as lines of JSON and answers each with a
line: ``result`` (what the client returned), or ``error`` (the name of the exception) and ``message``. Every client has
a thread, so that clients call at the same time.
"""

import itertools
import json
import queue
import subprocess
import sys
import threading
from pathlib import Path

HERE = Path(sys.prefix) / "tapipy" / "bin" / "python"
"""Where ``make test`` installs it, beside the packages of the tests."""


class CallError(Exception):
    """The client raised; ``name`` is that of its exception, the text what it says."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Object:
    """What the client returned, with its attributes."""

    def __init__(self, attributes):
        self.__dict__.update(attributes)


class Tapipy:
    """The process; ``client`` makes clients in it."""

    def __init__(self):
        command = [str(HERE), __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self._answers = {}
        self._lock = threading.Lock()
        self._number = 0
        self._clients = itertools.count()
        threading.Thread(target=self._read, daemon=True).start()

    def client(self, url, headers):
        """Make a client of a server that sends these headers, its token among them."""
        return Client(self, next(self._clients), url, headers)

    def call(self, **call):
        answer = queue.SimpleQueue()
        with self._lock:
            self._number += 1
            self._answers[self._number] = answer
            self._process.stdin.write(json.dumps({"id": self._number, **call}) + "\n")
        reply = answer.get(timeout=60)
        if "error" in reply:
            raise CallError(reply["error"], reply["message"])
        return reply["result"]

    def close(self):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _read(self):
        for line in self._process.stdout:
            reply = json.loads(line)
            self._answers.pop(reply["id"]).put(reply)


class Client:
    """A client, whose operations are called as those of tapipy."""

    def __init__(self, process, number, url, headers):
        self._process = process
        self._number = number
        self._url = url
        self._headers = headers

    def __getattr__(self, operation):
        def call(**arguments):
            result = self._process.call(
                client=self._number, url=self._url, headers=self._headers, operation=operation, arguments=arguments
            )
            return _objects(result)

        return call


def _objects(result):
    match result:
        case {"": dict(attributes)}:
            return Object({name: _objects(value) for name, value in attributes.items()})
        case list():
            return [_objects(each) for each in result]
    return result


def _serve() -> None:
    clients: dict[int, queue.SimpleQueue] = {}
    printing = threading.Lock()

    def work(calls):
        from tapipy.tapis import Tapis

        made = None
        while (call := calls.get()) is not None:
            try:
                headers = call["headers"]
                access = headers.pop("X-Tapis-Token")
                made = made or Tapis(base_url=call["url"], tenant_id="dev", access_token=access)
                result = getattr(made.notifications, call["operation"])(**call["arguments"], _tapis_headers=headers)
                reply = {"result": _plain(result)}
            except Exception as error:
                reply = {"error": type(error).__name__, "message": str(getattr(error, "message", error))}
            with printing:
                print(json.dumps({"id": call["id"], **reply}), flush=True)

    for line in sys.stdin:
        call = json.loads(line)
        if call["client"] not in clients:
            clients[call["client"]] = queue.SimpleQueue()
            threading.Thread(target=work, args=(clients[call["client"]],), daemon=True).start()
        clients[call["client"]].put(call)


def _plain(result):
    """Objects of the client as JSON: their attributes under an empty key."""
    if type(result).__name__ == "TapisResult":
        return {"": {name: _plain(value) for name, value in vars(result).items()}}
    return [_plain(each) for each in result] if isinstance(result, list) else result


if __name__ == "__main__":
    _serve()
