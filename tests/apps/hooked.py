"""An extension under a WSGI server, with hooks of its user: Flask answers every request."""

from flask import Flask

from extension_kit import wsgi


def create_app(target: str) -> Flask:
    app = wsgi.create_app(target)
    app.before_request(lambda: None)
    return app
