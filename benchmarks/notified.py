"""A webhook of Tapis's and Pulp's notifications: counts them until all that are wanted have come, and answers 200.

It runs in a process of its own (``python -m benchmarks.notified``), and says and counts what ``benchmarks.receiver``
does: the key of a notification is its subscription and the event's subject, its number the event's place in its series
(or, without one, the number that the event has as data). The subscription of a notification of Pulp is the path, and
its subject the repository.
"""

import sys

import orjson
import uvloop

from benchmarks.receiver import serve


def _notification(head: bytes, body: bytes) -> tuple[str, int]:
    notification = orjson.loads(body)
    if "payload" in notification:
        payload = notification["payload"]
        return f"{head.split(b' ', 2)[1].decode()} {payload['repo_id']}", payload["number"]
    event = notification["event"]
    number = event["seriesSeqCount"] if event["seriesId"] else int(event["data"])
    return f"{notification['subscriptionName']} {event['subject']}", number


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), _notification))
