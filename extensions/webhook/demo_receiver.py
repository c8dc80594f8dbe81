"""A receiver for the demonstration: checks the signatures of CloudEvents and prints them.

Usage: ``demo_receiver.py SECRET FILE``. Its URL is written to the file; it ends when the file is removed.
"""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook, WebhookVerificationError


def handler_of(secret: str) -> type[BaseHTTPRequestHandler]:
    """Return the handler of requests that have to be signed with a secret."""
    webhook = Webhook(secret)

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_POST(self) -> None:
            """Print a CloudEvent, or refuse it with 401."""
            headers, body = dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))
            try:
                webhook.verify(body, headers)
            except WebhookVerificationError:
                self.send_error(401)
                return
            event = from_http_event(HTTPMessage(headers, body))
            print(f"{event.get_type()} {event.get_subject()} of {event.get_source()}: signature valid", flush=True)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Print nothing more."""

    return Handler


def main(secret: str, file: Path) -> None:
    """Receive events until the file is removed."""
    with HTTPServer(("127.0.0.1", 0), handler_of(secret)) as server:
        server.timeout = 0.5
        file.write_text(f"http://127.0.0.1:{server.server_port}/")
        while file.exists():
            server.handle_request()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
