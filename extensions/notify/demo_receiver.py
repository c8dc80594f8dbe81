"""A receiver for the demonstration: prints the messages that apprise sends as JSON.

Usage: ``demo_receiver.py FILE``. Its port is written to the file; it ends when the file is removed.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    """Prints messages."""

    timeout = 5

    def do_POST(self) -> None:
        """Print a message."""
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(f"\n[{message['type']}] {message['title']}\n{message['message']}", flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing more."""


def main(file: Path) -> None:
    """Receive messages until the file is removed."""
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.timeout = 0.5
        file.write_text(str(server.server_port))
        while file.exists():
            server.handle_request()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
