"""A collector for the demonstration: takes spans over HTTP, and draws each trace when its run has ended.

Usage: demo_collector.py FILE. It writes its port into the file, and ends when that is removed.
"""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

_WIDTH = 40  # characters of the bars

Trace = dict[bytes, Span]


def draw(trace: Trace, span: Span, depth: int = 0) -> str:
    """Draw a span and those below it: names at the left, and bars for the time that they took."""
    root = next(each for each in trace.values() if not each.parent_span_id)
    whole = max(root.end_time_unix_nano - root.start_time_unix_nano, 1)
    begin = (span.start_time_unix_nano - root.start_time_unix_nano) * _WIDTH // whole
    end = (span.end_time_unix_nano - root.start_time_unix_nano) * _WIDTH // whole
    bar = " " * begin + "█" * max(end - begin, 1)
    took = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
    failed = "  ERROR " + span.status.message if span.status.code == Status.StatusCode.STATUS_CODE_ERROR else ""
    name = "  " * depth + span.name
    lines = [f"{name:<44.44} {bar:<{_WIDTH + 1}} {took:6.1f} s{failed}"]
    below = [each for each in trace.values() if each.parent_span_id == span.span_id]
    lines += [draw(trace, each, depth + 1) for each in sorted(below, key=lambda each: each.start_time_unix_nano)]
    return "\n".join(lines)


class Collector(HTTPServer):
    """Collector at any free port of this machine.

    Args:
        file: gets the port.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.traces: dict[bytes, Trace] = {}
        self._file = file
        file.write_text(f"{self.server_port}")

    def service_actions(self) -> None:
        """End this process if the file has been removed; called twice a second."""
        if not self._file.exists():
            sys.exit()


class _Request(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    trace = self.server.traces.setdefault(span.trace_id, {})
                    is_known = trace.get(span.span_id) == span
                    trace[span.span_id] = span
                    if not span.parent_span_id and not is_known:
                        print(f"\nTrace {span.trace_id.hex()}\n{draw(trace, span)}", flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


if __name__ == "__main__":
    Collector(Path(sys.argv[1])).serve_forever()
